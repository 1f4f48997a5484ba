import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { FormatError } from '../../base/errors.ts'
import { parseRunFile, readRunFile, runFileJsonSchema, runFileSchema } from './run_file.ts'

const docs = (name: string): string => fileURLToPath(new URL(`../../../docs/${name}`, import.meta.url))

const refusal = (text: string): string => {
  try {
    parseRunFile(text, 'm.yaml')
  } catch (error) {
    assert.ok(error instanceof FormatError, String(error))
    return error.message
  }
  return assert.fail(`accepted: ${text}`)
}

describe("a machine's file", () => {
  it('has an example that is one, and says every kind of thing', () => {
    const example = readRunFile(docs('machine.example.yaml'))
    assert.equal(example.name, 'db')
    assert.deepEqual(example.publish, ['6379:6379', '127.0.0.1:8080:80'])
    const unsaid = Object.keys(runFileSchema.shape).filter((key) => !(key in example))
    assert.deepEqual(unsaid, ['arbiter', 'hosts', 'secret', 'gatewayListen', 'translate', 'allowFaults'])
  })

  it('is published as the JSON Schema that the program checks by', () => {
    // Write it with: ./understudy schema >docs/machine.schema.json
    assert.equal(readFileSync(docs('machine.schema.json'), 'utf8'), runFileJsonSchema())
  })

  it('may be empty', () => {
    for (const text of ['', '# nothing\n', '{}', '---\n']) assert.deepEqual(parseRunFile(text, 'm.yaml'), {})
  })

  it('is refused with the line of an unknown key, and the key that was meant', () => {
    assert.equal(
      refusal('name: db\n\nmemroy: 1G\n'),
      'm.yaml: line 3: there is no key memroy: is memory meant?',
    )
    assert.equal(
      refusal('settings:\n  ack: executed\n  suspicionMS2: 5\n'),
      'm.yaml: line 3: there is no key suspicionMS2 of settings: is suspicionMs meant?',
    )
    assert.match(refusal('quorum: 3\n'), /^m\.yaml: line 1: there is no key quorum: there are name, image, /)
    assert.equal(refusal('ack: executed\n'), 'm.yaml: line 1: there is no key ack: it is a key of settings')
  })

  it('is refused with the line and the name of a wrong value', () => {
    assert.match(refusal('name: db\nharts: many\n'), /^m\.yaml: line 2: harts: /)
    assert.match(refusal('harts: 99\n'), /^m\.yaml: line 1: harts: /)
    assert.match(
      refusal('publish:\n  - 1:1\n  - http\n'),
      /^m\.yaml: line 3: publish\.1: write \[HOST:\]PORT/,
    )
    assert.match(refusal('settings:\n\n  ack: never\n'), /^m\.yaml: line 3: settings\.ack: /)
    assert.match(refusal('memory: 1024\n'), /^m\.yaml: line 1: memory: /)
    assert.match(refusal('- name\n'), /^m\.yaml: line 1: /)
  })

  it('is refused with the line of what is no YAML, or says a thing twice', () => {
    assert.match(refusal('name: db\nname: other\n'), /^m\.yaml: line 2: /)
    assert.match(refusal('name: "db\n'), /^m\.yaml: line \d+: /)
    assert.match(refusal('name: db\n\timage: x\n'), /^m\.yaml: line 2: /)
  })

  it('is refused in one line where a key is a collection', () => {
    assert.match(refusal('? ? \n'), /^m\.yaml: line 1: there is no key \{ \? \}: /)
  })

  it('may not make more of itself than it is', () => {
    const layers = Array.from({ length: 12 }, (_, i) => {
      const items = Array(10).fill(i === 0 ? '"x"' : `*a${i - 1}`)
      return `a${i}: &a${i} [${items.join(', ')}]`
    })
    assert.match(refusal(layers.join('\n')), /^m\.yaml: /)
  })

  it('is taken or refused, whatever it is, and never more than that', () => {
    const piece = fc.constantFrom(
      ...[
        'name: ',
        'settings:\n',
        '  ack: ',
        'received',
        '- ',
        '\n',
        '&a ',
        '*a',
        '{',
        ']',
        '? ',
        '!!binary ',
        '"',
      ],
    )
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.array(piece, { maxLength: 30 }).map((pieces) => pieces.join('')),
    )
    fc.assert(
      fc.property(text, (content) => {
        try {
          parseRunFile(content, 'm.yaml')
        } catch (error) {
          assert.ok(error instanceof FormatError, String((error as Error).stack))
          assert.ok(!error.message.includes('\n'), error.message)
        }
      }),
      { numRuns: 200 },
    )
  })
})

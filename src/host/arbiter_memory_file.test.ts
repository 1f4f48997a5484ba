import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import fc from 'fast-check'
import { FormatError } from '../base/errors.ts'
import { encodeAscii } from '../base/text.ts'
import type { Known } from './arbiter_memory.ts'
import {
  decodeArbiterMemory,
  encodeArbiterMemory,
  readArbiterMemory,
  writeArbiterMemory,
} from './arbiter_memory_file.ts'
import { checksumOf, isSameDecision } from './decision_record.ts'

let directory: string
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'arbiter-memory-test-'))
})
after(async () => {
  await rm(directory, { recursive: true })
})

const known = fc.record({
  identity: fc.option(fc.stringMatching(/^[ -~]{0,40}$/), { nil: undefined }),
  decision: fc.option(
    fc.record({ epoch: fc.integer({ min: 1, max: 0xffff_ffff }), text: fc.stringMatching(/^[ -~]{1,60}$/) }),
    { nil: undefined },
  ),
})

test('what was seen is read as it was written', async () => {
  const path = join(directory, 'memory')
  assert.equal(await readArbiterMemory(path, 'web'), undefined)
  await fc.assert(
    fc.asyncProperty(known, async (seen) => {
      await writeArbiterMemory(path, 'web', seen)
      const { identity, decision } = (await readArbiterMemory(path, 'web'))!
      assert.equal(identity, seen.identity)
      assert.ok(isSameDecision(decision, seen.decision))
    }),
    { numRuns: 30 },
  )
})

test('the longest decision fits, and more is not read at all', async () => {
  const path = join(directory, 'large')
  const seen: Known = { identity: 'x', decision: { epoch: 1, text: '"'.repeat(4096) } }
  await writeArbiterMemory(path, 'web', seen)
  assert.deepEqual(await readArbiterMemory(path, 'web'), seen)
  await writeFile(path, new Uint8Array(100_000))
  await assert.rejects(readArbiterMemory(path, 'web'), /^FormatError: .*100000 bytes are too many/)
})

test('any change of a byte is refused', () => {
  const text = encodeArbiterMemory('web', { identity: 'one', decision: { epoch: 7, text: 'seven' } })
  fc.assert(
    fc.property(fc.nat(text.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const bytes = encodeAscii(text)
      bytes[at]! ^= change
      assert.throws(() => decodeArbiterMemory(bytes, 'web', 'memory'), FormatError)
    }),
  )
})

test('a line of another meaning is refused, though its checksum is right', () => {
  const good = {
    decision: null,
    identity: null,
    kind: 'understudy-arbiter-memory',
    machine: 'web',
    version: 1,
  }
  const decode = (fields: unknown): Known => {
    const line = JSON.stringify(fields)
    return decodeArbiterMemory(encodeAscii(`${line}\n${checksumOf(line)}\n`), 'web', 'memory')
  }
  assert.deepEqual(decode(good), { identity: undefined, decision: undefined })
  for (const [change, reason] of [
    [{ kind: 'other' }, /not what was seen/],
    [{ version: 2 }, /version 2/],
    [{ machine: 'db' }, /belongs to machine db/],
    [{ identity: 5 }, /not what was seen/],
    [{ decision: 'text' }, /damaged/],
    [{ extra: 1 }, /canonical/],
  ] as const) {
    assert.throws(() => decode({ ...good, ...change }), reason)
  }
  const line = JSON.stringify({ ...good, decision: 'X' }).replace('X', '\\u00e9')
  const bytes = encodeAscii(`${line}\n${checksumOf(line)}\n`)
  assert.throws(() => decodeArbiterMemory(bytes, 'web', 'memory'), FormatError)
})

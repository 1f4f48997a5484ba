import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { decodeJson, encodeJson, type JsonObject } from './canonical_json.ts'
import { FormatError } from './errors.ts'
import { decodeAscii, encodeAscii } from './text.ts'

test('any JSON object comes back', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (value) => {
      const expected = JSON.parse(JSON.stringify(value)) as JsonObject
      assert.deepEqual(decodeJson(encodeJson(expected), 'test'), expected)
    }),
    { numRuns: 30 },
  )
})

test('the order in which members were added does not show', () => {
  assert.equal(
    decodeAscii(encodeJson({ b: [1, { d: 'é', c: null }], a: true })),
    '{"a":true,"b":[1,{"c":null,"d":"\\u00e9"}]}',
  )
})

test('what is no JSON object is refused', () => {
  for (const text of ['', '[]', 'null', '{', '{"a":1}x']) {
    assert.throws(() => decodeJson(encodeAscii(text), 'header'), FormatError)
  }
})

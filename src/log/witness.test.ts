import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { FormatError } from '../base/errors.ts'
import { encodeWitnessEntry, encodeWitnessHeader, WitnessDecoder, type WitnessEntry } from './witness.ts'

const RAM_PAGES = 1 << 19
const HEADER = { life: 7, ramPages: RAM_PAGES }

const entries: fc.Arbitrary<WitnessEntry[]> = fc.array(
  fc.record(
    {
      index: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      position: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      state: fc.uint8Array({ maxLength: 100 }),
      pages: fc
        .uniqueArray(fc.nat(RAM_PAGES - 1), { maxLength: 50 })
        .chain((pages) =>
          fc
            .array(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), { minLength: 50, maxLength: 50 })
            .map((hashes) => pages.sort((a, b) => a - b).map((page, i) => ({ page, hash: hashes[i]! }))),
        ),
    },
    { noNullPrototype: true },
  ),
  { maxLength: 5 },
)

function encode(list: readonly WitnessEntry[]): Uint8Array {
  return Buffer.concat([encodeWitnessHeader(HEADER), ...list.map(encodeWitnessEntry)])
}

function decode(bytes: Uint8Array, pieceBytes = bytes.length): WitnessEntry[] {
  const decoder = new WitnessDecoder('w')
  const found: WitnessEntry[] = []
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    decoder.push(bytes.subarray(at, at + pieceBytes))
    for (let entry = decoder.next(); entry !== undefined; entry = decoder.next()) found.push(entry)
  }
  assert.deepEqual(decoder.header, bytes.length < 24 ? undefined : HEADER)
  return found
}

test('witnesses come back as they were written, whatever the pieces they arrive in', () => {
  const property = fc.property(entries, fc.integer({ min: 1, max: 200 }), (list, pieceBytes) => {
    assert.deepEqual(decode(encode(list), pieceBytes), list)
  })
  fc.assert(property, { numRuns: 100 })
})

const sample = (index: bigint): WitnessEntry => ({
  ...{ index, position: index * 100n, state: Uint8Array.of(1, 2, 3) },
  pages: [
    { page: 0, hash: 5n },
    { page: 1, hash: 2n ** 64n - 1n },
    { page: RAM_PAGES - 1, hash: 0n },
  ],
})

test('a file that is cut off gives its whole entries', () => {
  const list = [sample(1n), sample(2n), sample(3n)]
  const whole = encode(list)
  for (let length = 0; length < whole.length; length++) {
    const found = decode(whole.subarray(0, length))
    assert.ok(found.length < 3)
    assert.deepEqual(found, list.slice(0, found.length))
  }
})

test('a flipped bit anywhere is refused', () => {
  const list = [sample(1n), sample(2n)]
  const whole = encode(list)
  for (let bit = 0; bit < whole.length * 8; bit++) {
    const damaged = whole.slice()
    damaged[bit >> 3]! ^= 1 << (bit & 7)
    assert.throws(() => decode(damaged), FormatError, `bit ${bit}`)
  }
})

test('a page beyond the RAM is refused', () => {
  const pages = [{ page: RAM_PAGES, hash: 1n }]
  assert.throws(() => decode(encode([{ ...sample(1n), pages }])), /page 524288 of a machine that has 524288/)
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { FormatError } from '../base/errors.ts'
import { encodeWitnessEntry, encodeWitnessHeader, WitnessDecoder, type WitnessEntry } from './witness.ts'

const RAM_PAGES = 1 << 19
const HEADER = { life: 7, ramPages: RAM_PAGES }

const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })

const entries: fc.Arbitrary<WitnessEntry[]> = fc.array(
  fc
    .tuple(u64, u64, fc.uint8Array({ maxLength: 100 }), fc.dictionary(fc.nat(RAM_PAGES - 1).map(String), u64))
    .map(([index, position, state, hashes]) => {
      const pages = Object.keys(hashes).map(Number)
      return { index, position, state, pages, hashes: BigUint64Array.from(Object.values(hashes)) }
    }),
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
  pages: [0, 1, RAM_PAGES - 1],
  hashes: BigUint64Array.of(5n, 2n ** 64n - 1n, 0n),
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
  const beyond = { ...sample(1n), pages: [RAM_PAGES], hashes: BigUint64Array.of(1n) }
  assert.throws(() => decode(encode([beyond])), /page 524288 of a machine that has 524288/)
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { crc32c } from './crc32c.ts'
import { hash64 } from './hash64.ts'
import { encodeAscii } from './text.ts'

/** One bit at a time, straight from the definition. */
function crc32cBitwise(bytes: Uint8Array): number {
  let crc = 0xffff_ffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f6_3b78 : 0)
  }
  return ~crc >>> 0
}

test('CRC-32C gives the values of RFC 3720', () => {
  assert.equal(crc32c(encodeAscii('123456789')), 0xe306_9283)
  assert.equal(crc32c(new Uint8Array(32)), 0x8a91_36aa)
  assert.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8_ab43)
})

test('CRC-32C agrees with its definition, whole and in two parts', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 70 }), fc.nat(70), (bytes, cut) => {
      assert.equal(crc32c(bytes), crc32cBitwise(bytes))
      assert.equal(crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut))), crc32c(bytes))
    }),
  )
})

test('every input bit flips each bit of the hash about half of the time', () => {
  const flips = new Uint32Array(64)
  const bytes = Uint8Array.from({ length: 27 }, (_, i) => i * 37)
  const original = hash64(bytes)
  const bits = bytes.length * 8
  for (let bit = 0; bit < bits; bit++) {
    bytes[bit >> 3]! ^= 1 << (bit & 7)
    const difference = hash64(bytes) ^ original
    bytes[bit >> 3]! ^= 1 << (bit & 7)
    for (let i = 0; i < 64; i++) flips[i]! += Number((difference >> BigInt(i)) & 1n)
  }
  // 216 trials: the standard deviation is 7.3; five of them leave one false alarm in a million.
  for (const count of flips) assert.ok(Math.abs(count - bits / 2) < 37, `${count} of ${bits}`)
})

test('inputs of structure do not collide in either half of the hash more than chance allows', () => {
  const inputs: Uint8Array[] = []
  for (let i = 0; i < 4096; i++) {
    inputs.push(new Uint8Array(i))
    const sparse = new Uint8Array(512)
    sparse[i >> 3] = 1 << (i & 7)
    inputs.push(sparse)
    const counter = new Uint8Array(16)
    new DataView(counter.buffer).setUint32(8, i + 1, true)
    inputs.push(counter)
  }
  const hashes = inputs.map((input) => hash64(input))
  assert.equal(new Set(hashes).size, inputs.length)
  // 12288 values of 32 bits collide 0.02 times on average.
  for (const shift of [0n, 32n]) {
    assert.ok(new Set(hashes.map((hash) => BigInt.asUintN(32, hash >> shift))).size >= inputs.length - 2)
  }
})

test('the hash depends on all of the seed and on nothing but the bytes', () => {
  const bytes = Uint8Array.from({ length: 100 }, (_, i) => i)
  assert.notEqual(hash64(bytes, 1), hash64(bytes))
  assert.notEqual(hash64(bytes, 2 ** 32), hash64(bytes))
  const shifted = new Uint8Array(101)
  shifted.set(bytes, 1)
  assert.equal(hash64(shifted.subarray(1)), hash64(bytes))
})

test('the hash of given bytes never changes, since logs hold it', () => {
  assert.equal(hash64(new Uint8Array(0)), 0xdaa92d3ee561eaean)
  assert.equal(hash64(encodeAscii('understudy')), 0xd51429a08c906a98n)
})

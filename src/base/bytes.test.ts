import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { ByteQueue, ByteReader, ByteWriter, concatenate } from './bytes.ts'
import { FormatError } from './errors.ts'

const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })

test('a varint of any width comes back, and both widths write the same bytes', () => {
  const edges = [
    0n,
    127n,
    128n,
    2n ** 28n - 1n,
    2n ** 28n,
    2n ** 32n,
    2n ** 53n - 1n,
    2n ** 53n,
    2n ** 64n - 1n,
  ]
  const check = (value: bigint): void => {
    const writer = new ByteWriter(1)
    writer.varint64(value)
    assert.equal(writer.length, Math.max(1, Math.ceil(value.toString(2).length / 7)))
    const reader = new ByteReader(writer.finish(), 'test')
    assert.equal(reader.varint64(), value)
    reader.finish()
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      assert.throws(() => new ByteReader(writer.finish(), 'test').varint(), FormatError)
      return
    }
    const narrow = new ByteWriter()
    narrow.varint(Number(value))
    assert.deepEqual(narrow.finish(), writer.finish())
    assert.equal(new ByteReader(narrow.finish(), 'test').varint(), Number(value))
  }
  edges.forEach(check)
  fc.assert(fc.property(u64, check))
  fc.assert(fc.property(fc.integer({ min: 0, max: 63 }), (bit) => check(1n << BigInt(bit))))
})

test('a varint that is longer than it needs, or than 64 bits, is refused', () => {
  for (const bytes of [[0x80, 0], [0xff, 0x80, 0], Array(10).fill(0xff), [...Array(9).fill(0xff), 2]]) {
    assert.throws(
      () => new ByteReader(Uint8Array.from(bytes), 'log', 7).varint64(),
      /^FormatError: log: byte 7: /,
    )
  }
})

test('a number above its limit is refused at its first byte', () => {
  const reader = new ByteReader(Uint8Array.of(0, 0x80, 0x08), 'log', 100)
  reader.u8()
  assert.throws(() => reader.varint(1023), /byte 101: a number above its limit 1023/)
})

test('reading past the end names the end', () => {
  const reads: ((reader: ByteReader) => unknown)[] = [
    (reader) => reader.u16(),
    (reader) => reader.u32(),
    (reader) => reader.u64(),
    (reader) => reader.varint(),
    (reader) => reader.bytes(2),
  ]
  for (const read of reads) {
    assert.throws(() => read(new ByteReader(Uint8Array.of(0x80), 'file', 40)), /file: byte 41: cut off/)
  }
})

test('fixed widths are little-endian', () => {
  const writer = new ByteWriter(1)
  writer.u8(1)
  writer.u16(0x0302)
  writer.u32(0x0706_0504)
  writer.u64(0x0f0e_0d0c_0b0a_0908n)
  assert.deepEqual(
    writer.finish(),
    Uint8Array.from({ length: 15 }, (_, i) => i + 1),
  )
})

test('a queue gives the stream back, however it was cut', () => {
  const pieces = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 60 })
  fc.assert(
    fc.property(pieces, fc.integer({ min: 1, max: 50 }), (parts, unit) => {
      const queue = new ByteQueue()
      const seen: number[] = []
      for (const part of parts) {
        queue.push(part)
        for (let taken = queue.peek(unit); taken !== undefined; taken = queue.peek(unit)) {
          seen.push(...taken)
          queue.skip(unit)
          assert.equal(queue.offset, seen.length)
        }
      }
      seen.push(...queue.peek(queue.length)!)
      assert.deepEqual(
        seen,
        parts.flatMap((part) => [...part]),
      )
    }),
  )
})

test('pieces are put one behind the other, in a place of their own', () => {
  const piece = Uint8Array.of(1, 2)
  const whole = concatenate([piece, new Uint8Array(0), piece.subarray(1)])
  piece.fill(9)
  assert.deepEqual(whole, Uint8Array.of(1, 2, 2))
  assert.deepEqual(concatenate([]), new Uint8Array(0))
})

/**
 * Bytes going out and coming in: a writer that grows, a reader that checks every bound, and a queue for streams.
 *
 * Fixed-width numbers are little-endian. A varint carries 7 bits in each byte, lowest first, the top bit set on all
 * but the last (LEB128). Only the shortest form of a number is accepted, so that equal values are equal bytes. Numbers
 * up to 2^53 - 1 never touch a BigInt on the way; both widths share one encoding.
 */
import { assert } from './assert.ts'
import { FormatError } from './errors.ts'

const LOW_28_BITS = 0xfff_ffff
const TWO_TO_28 = 2 ** 28
const TWO_TO_56 = 1n << 56n
const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER)

/** The largest value of an unsigned 64-bit number. */
export const U64_MAX = 0xffff_ffff_ffff_ffffn

export class ByteWriter {
  #buffer: Uint8Array
  #view: DataView
  #length = 0

  constructor(capacity = 256) {
    this.#buffer = new Uint8Array(capacity)
    this.#view = new DataView(this.#buffer.buffer)
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length
  }

  u8(value: number): void {
    this.#reserve(1)
    this.#buffer[this.#length++] = value
  }

  u16(value: number): void {
    this.#reserve(2)
    this.#view.setUint16(this.#length, value, true)
    this.#length += 2
  }

  u32(value: number): void {
    this.#reserve(4)
    this.#view.setUint32(this.#length, value, true)
    this.#length += 4
  }

  u64(value: bigint): void {
    this.#reserve(8)
    this.#view.setBigUint64(this.#length, value, true)
    this.#length += 8
  }

  /** A varint of an integer from 0 to 2^53 - 1. */
  varint(value: number): void {
    assert(value >= 0 && Number.isSafeInteger(value), `not a varint: ${value}`)
    this.#reserve(10)
    this.#unchecked(value)
  }

  /** A varint of an unsigned 64-bit integer; the same bytes as `varint` where both apply. */
  varint64(value: bigint): void {
    assert(value >= 0n && value <= U64_MAX, `not an unsigned 64-bit number: ${value}`)
    this.#reserve(10)
    if (value <= MAX_SAFE) {
      this.#unchecked(Number(value))
      return
    }
    this.#fourGroups(Number(value & BigInt(LOW_28_BITS)))
    this.#unchecked(Number(value >> 28n))
  }

  /** Raw bytes, without a length. */
  bytes(value: Uint8Array): void {
    this.#reserve(value.length)
    this.#buffer.set(value, this.#length)
    this.#length += value.length
  }

  /** Everything written so far, as a copy. */
  finish(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#buffer.subarray(0, this.#length))
  }

  /** What has been written so far, without a copy: valid until the next write. */
  written(): Uint8Array {
    return this.#buffer.subarray(0, this.#length)
  }

  /** Forgets everything and keeps the memory. */
  reset(): void {
    this.#length = 0
  }

  #unchecked(value: number): void {
    let rest = value
    while (rest > LOW_28_BITS) {
      const low = rest % TWO_TO_28
      this.#fourGroups(low)
      rest = (rest - low) / TWO_TO_28
    }
    while (rest >= 0x80) {
      this.#buffer[this.#length++] = (rest & 0x7f) | 0x80
      rest >>>= 7
    }
    this.#buffer[this.#length++] = rest
  }

  /** Four groups of 7 bits with more to follow. */
  #fourGroups(low: number): void {
    this.#buffer[this.#length++] = (low & 0x7f) | 0x80
    this.#buffer[this.#length++] = ((low >>> 7) & 0x7f) | 0x80
    this.#buffer[this.#length++] = ((low >>> 14) & 0x7f) | 0x80
    this.#buffer[this.#length++] = (low >>> 21) | 0x80
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#buffer.length) return
    const grown = new Uint8Array(Math.max(this.#buffer.length * 2, this.#length + count))
    grown.set(this.#buffer.subarray(0, this.#length))
    this.#buffer = grown
    this.#view = new DataView(grown.buffer)
  }
}

/** Reads bytes that may be anything: whatever does not fit throws a FormatError naming the byte offset. */
export class ByteReader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #what: string
  readonly #base: number
  #position = 0
  #low = 0
  #middle = 0
  #high = 0

  /** `what` names the bytes in errors; `base` is the offset of the first of them in the file or stream. */
  constructor(bytes: Uint8Array, what: string, base = 0) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#what = what
    this.#base = base
  }

  /** Offset of the next byte, in the file or stream. */
  get offset(): number {
    return this.#base + this.#position
  }

  /** Bytes not read yet. */
  get remaining(): number {
    return this.#bytes.length - this.#position
  }

  u8(): number {
    return this.#bytes[this.#take(1)]!
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true)
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true)
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true)
  }

  /** A varint of at most `max` (at most 2^53 - 1). */
  varint(max = Number.MAX_SAFE_INTEGER): number {
    const start = this.#position
    this.#parts()
    const value = this.#low + this.#middle * TWO_TO_28
    if (this.#high !== 0 || value > max) throw this.error(`a number above its limit ${max}`, start)
    return value
  }

  /** A varint of up to 64 bits. */
  varint64(): bigint {
    this.#parts()
    if (this.#high === 0 && this.#middle < 1 << 25) return BigInt(this.#low + this.#middle * TWO_TO_28)
    return BigInt(this.#low) + (BigInt(this.#middle) << 28n) + BigInt(this.#high) * TWO_TO_56
  }

  /** The next `count` bytes, as a view. */
  bytes(count: number): Uint8Array {
    const start = this.#take(count)
    return this.#bytes.subarray(start, start + count)
  }

  /** Throws unless everything has been read. */
  finish(): void {
    if (this.remaining !== 0) throw this.error(`${this.remaining} bytes too many`)
  }

  /** An error about the byte at `position` of this reader, by default the next one. */
  error(problem: string, position = this.#position): FormatError {
    return new FormatError(`${this.#what}: byte ${this.#base + position}: ${problem}`)
  }

  #take(count: number): number {
    const start = this.#position
    if (count > this.#bytes.length - start) throw this.error('cut off', this.#bytes.length)
    this.#position = start + count
    return start
  }

  /** Reads a varint as three parts of 28, 28 and 8 bits. */
  #parts(): void {
    const start = this.#position
    this.#low = this.#bytes[this.#take(1)]!
    this.#middle = 0
    this.#high = 0
    if (this.#low < 0x80) return
    this.#low &= 0x7f
    for (let group = 1; ; group++) {
      const byte = this.#bytes[this.#take(1)]!
      if (group === 10 || (group === 9 && byte > 1)) throw this.error('a number above 64 bits', start)
      const shift = 7 * (group & 3)
      if (group < 4) this.#low |= (byte & 0x7f) << shift
      else if (group < 8) this.#middle |= (byte & 0x7f) << shift
      else this.#high |= (byte & 0x7f) << shift
      if (byte >= 0x80) continue
      if (byte === 0) throw this.error('a number in more bytes than it needs', start)
      return
    }
  }
}

/** Bytes of a stream that arrive in arbitrary pieces and are taken in units. */
export class ByteQueue {
  #buffer = new Uint8Array(0)
  #start = 0
  #end = 0
  #offset = 0

  /** Bytes waiting. */
  get length(): number {
    return this.#end - this.#start
  }

  /** Offset of the first waiting byte in the stream. */
  get offset(): number {
    return this.#offset
  }

  /** Appends a copy of `bytes`. */
  push(bytes: Uint8Array): void {
    const length = this.length
    if (this.#end + bytes.length > this.#buffer.length) {
      const room = length + bytes.length
      // Moving down is enough where half of the buffer is free; else it doubles, so that a byte is moved a few times.
      // The first piece gets the room that it needs: many queues never see a second one.
      const target = room * 2 <= this.#buffer.length ? this.#buffer : new Uint8Array(this.#grown(room))
      target.set(this.#buffer.subarray(this.#start, this.#end))
      this.#buffer = target
      this.#start = 0
      this.#end = length
    }
    this.#buffer.set(bytes, this.#end)
    this.#end += bytes.length
  }

  #grown(room: number): number {
    return this.#buffer.length === 0 ? room : Math.max(room * 2, 4096)
  }

  /** The first `count` waiting bytes as a view, valid until the next push; undefined while there are fewer. */
  peek(count: number): Uint8Array | undefined {
    if (count > this.length) return undefined
    return this.#buffer.subarray(this.#start, this.#start + count)
  }

  /** Drops the first `count` waiting bytes. */
  skip(count: number): void {
    assert(count <= this.length, 'skipping bytes that have not arrived')
    this.#start += count
    this.#offset += count
  }
}

/** The pieces, one behind the other. */
export function concatenate(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(pieces.reduce((length, piece) => length + piece.length, 0))
  let at = 0
  for (const piece of pieces) {
    whole.set(piece, at)
    at += piece.length
  }
  return whole
}

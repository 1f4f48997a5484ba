/** Bytes that wait for acknowledgement, in a ring that grows to what is needed and is given back when it is empty. */
import { assert } from '../../base/assert.ts'

const CAPACITY_MIN = 4096
/** Thousands of connections are idle most of the time: what is larger than this does not stay. */
const CAPACITY_KEPT = 16 * 1024
const EMPTY = new Uint8Array(0)

export class SendBuffer {
  #ring: Uint8Array = EMPTY
  #start = 0
  #length = 0

  get length(): number {
    return this.#length
  }

  /** Appends a copy. */
  push(bytes: Uint8Array): void {
    this.#reserve(this.#length + bytes.length)
    const end = (this.#start + this.#length) % this.#ring.length
    const first = Math.min(bytes.length, this.#ring.length - end)
    this.#ring.set(bytes.subarray(0, first), end)
    this.#ring.set(bytes.subarray(first), 0)
    this.#length += bytes.length
  }

  /** Copies `length` bytes from `offset` on into `target` at `at`. */
  copy(offset: number, length: number, target: Uint8Array, at: number): void {
    assert(offset >= 0 && offset + length <= this.#length, 'bytes that are not in the buffer')
    if (length === 0) return
    const start = (this.#start + offset) % this.#ring.length
    const first = Math.min(length, this.#ring.length - start)
    target.set(this.#ring.subarray(start, start + first), at)
    if (first < length) target.set(this.#ring.subarray(0, length - first), at + first)
  }

  /** Forgets the first `count` bytes. */
  drop(count: number): void {
    assert(count <= this.#length, 'dropping bytes that are not there')
    this.#length -= count
    if (this.#length > 0) {
      this.#start = (this.#start + count) % this.#ring.length
      return
    }
    this.#start = 0
    if (this.#ring.length > CAPACITY_KEPT) this.#ring = EMPTY
  }

  clear(): void {
    this.#ring = EMPTY
    this.#start = 0
    this.#length = 0
  }

  #reserve(length: number): void {
    if (length <= this.#ring.length) return
    let capacity = Math.max(CAPACITY_MIN, this.#ring.length)
    while (capacity < length) capacity *= 2
    const grown = new Uint8Array(capacity)
    this.copy(0, this.#length, grown, 0)
    this.#ring = grown
    this.#start = 0
  }
}

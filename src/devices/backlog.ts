/**
 * Input that has arrived but that the guest has not made room for yet. It is bounded, so that an outside that
 * sends more than the guest reads cannot grow a snapshot without end, and it is state, since the guest will
 * read it.
 */
import { assert } from '../base/assert.ts'
import { concatenate } from '../base/bytes.ts'
import type { StateReader, StateWriter } from '../base/state.ts'
import { loadLimitedBytes } from './fields.ts'

/** How many bytes of console input wait at most: a paste of a long file still fits. */
export const INPUT_BACKLOG_MAX = 64 * 1024

/** Bytes in the order of arrival, at most `max`. */
export class ByteBacklog {
  readonly #max: number
  #bytes = new Uint8Array(0)
  #start = 0

  constructor(max: number) {
    this.#max = max
  }

  get length(): number {
    return this.#bytes.length - this.#start
  }

  /** Appends what fits and returns how many bytes at the end of `bytes` did not. */
  push(bytes: Uint8Array): number {
    const kept = bytes.subarray(0, this.#max - this.length)
    this.#bytes = concatenate([this.#bytes.subarray(this.#start), kept])
    this.#start = 0
    return bytes.length - kept.length
  }

  /** Removes the first `count` bytes, which must be there. */
  take(count: number): Uint8Array {
    assert(count <= this.length, 'more bytes taken from a backlog than it holds')
    const taken = this.#bytes.slice(this.#start, this.#start + count)
    this.#start += count
    return taken
  }

  clear(): void {
    this.#bytes = new Uint8Array(0)
    this.#start = 0
  }

  save(writer: StateWriter, name: string): void {
    writer.bytes(name, this.#bytes.subarray(this.#start))
  }

  load(reader: StateReader, name: string): void {
    this.#bytes = Uint8Array.from(loadLimitedBytes(reader, name, this.#max))
    this.#start = 0
  }
}

/**
 * The batches that a follower has not acknowledged: to be sent again when its channel broke, and the measure of how
 * far behind it is.
 */
import { assert } from '../base/assert.ts'

interface SentBatch {
  readonly bytes: Uint8Array
  readonly firstIndex: bigint
  readonly nextIndex: bigint
}

export class SentLog {
  /** Batches that may have to be sent again, in order. */
  #unacknowledged: SentBatch[] = []
  /** When the batches were logged that the follower has not executed, in order. */
  #unexecuted: { readonly nextIndex: bigint; readonly atMs: number; readonly bytes: number }[] = []
  #unacknowledgedBytes = 0
  #unexecutedBytes = 0
  #nextIndex: bigint
  #acked: bigint
  #executed: bigint

  /** Empty, from the record `nextIndex` on: whatever is before is at the follower. */
  constructor(nextIndex: bigint) {
    this.#nextIndex = nextIndex
    this.#acked = nextIndex
    this.#executed = nextIndex
  }

  /** Index behind the last record. */
  get nextIndex(): bigint {
    return this.#nextIndex
  }

  /** The follower holds all records before. */
  get acked(): bigint {
    return this.#acked
  }

  /** The follower has executed all records before. */
  get executed(): bigint {
    return this.#executed
  }

  /** Bytes of the batches that the follower has not acknowledged. */
  get unacknowledgedBytes(): number {
    return this.#unacknowledgedBytes
  }

  /** Bytes of the batches that the follower has not executed: they wait here, on their way or in its memory. */
  get unexecutedBytes(): number {
    return this.#unexecutedBytes
  }

  push(bytes: Uint8Array, firstIndex: bigint, nextIndex: bigint, atMs: number): void {
    assert(firstIndex === this.#nextIndex, `a batch from ${firstIndex} after ${this.#nextIndex}`)
    this.#unacknowledged.push({ bytes, firstIndex, nextIndex })
    this.#unexecuted.push({ nextIndex, atMs, bytes: bytes.length })
    this.#unacknowledgedBytes += bytes.length
    this.#unexecutedBytes += bytes.length
    this.#nextIndex = nextIndex
  }

  /** Takes note of an acknowledgement; false if it is of what was never sent. Older ones change nothing. */
  onAck(received: bigint, executed: bigint): boolean {
    if (received > this.#nextIndex || executed > received) return false
    if (received > this.#acked) this.#acked = received
    if (executed > this.#executed) this.#executed = executed
    let acked = 0
    while (acked < this.#unacknowledged.length && this.#unacknowledged[acked]!.nextIndex <= this.#acked) {
      this.#unacknowledgedBytes -= this.#unacknowledged[acked++]!.bytes.length
    }
    if (acked > 0) this.#unacknowledged.splice(0, acked)
    let done = 0
    while (done < this.#unexecuted.length && this.#unexecuted[done]!.nextIndex <= this.#executed) {
      this.#unexecutedBytes -= this.#unexecuted[done++]!.bytes
    }
    if (done > 0) this.#unexecuted.splice(0, done)
    return true
  }

  /** The batches from record `index` on, or undefined if they are gone or `index` is within one. */
  from(index: bigint): Uint8Array[] | undefined {
    if (index === this.#nextIndex) return []
    const start = this.#unacknowledged.findIndex((batch) => batch.firstIndex === index)
    return start < 0 ? undefined : this.#unacknowledged.slice(start).map((batch) => batch.bytes)
  }

  /** How long the oldest record that the follower has not executed has been waiting, in milliseconds. */
  lagMs(nowMs: number): number {
    const oldest = this.#unexecuted[0]
    return oldest === undefined ? 0 : Math.max(0, nowMs - oldest.atMs)
  }
}

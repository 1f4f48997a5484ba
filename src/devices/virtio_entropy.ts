/**
 * The virtio entropy device (virtio 1.2, section 5.4). It has no randomness of its own: every byte comes from
 * outside, at a logged position, so that all copies of a machine read the same.
 *
 * Each chain that the driver offers is asked for by `request` and waits until `supply` brings bytes. Waiting
 * chains are state; a restored machine asks again for `wanted` bytes.
 */
import type { StateReader, StateWriter } from '../base/state.ts'
import { loadLimited } from './fields.ts'
import type { VirtioFunction, VirtioTransport } from './virtio_mmio.ts'
import { loadSegments, type Segment, saveSegments, scatter } from './virtqueue.ts'

/** The most that one chain is filled with; a driver that wants more asks again. */
export const ENTROPY_BYTES_MAX = 4096

const QUEUE_SIZE = 16

export interface VirtioEntropyOptions {
  /** The guest waits for this many bytes more, 1 to 4096. */
  readonly request: (bytes: number) => void
}

interface WaitingChain {
  readonly head: number
  readonly writable: readonly Segment[]
  /** How many bytes were asked for. */
  readonly wanted: number
}

export class VirtioEntropy implements VirtioFunction {
  readonly deviceId = 4
  readonly queueSizes = [QUEUE_SIZE]
  readonly features = 0n
  readonly #request: (bytes: number) => void
  #transport!: VirtioTransport
  #waiting: WaitingChain[] = []

  constructor(options: VirtioEntropyOptions) {
    this.#request = options.request
  }

  attach(transport: VirtioTransport): void {
    this.#transport = transport
  }

  /** How many bytes the guest waits for. */
  get wanted(): number {
    return this.#waiting.reduce((sum, chain) => sum + chain.wanted, 0)
  }

  /**
   * Brings random bytes, which go to the waiting chains in order. A chain that gets only a part is given back
   * with that part. Returns how many bytes nobody waited for; they are discarded.
   */
  supply(bytes: Uint8Array): number {
    let position = 0
    while (position < bytes.length && this.#waiting.length > 0) {
      const chain = this.#waiting.shift()!
      const piece = bytes.subarray(position, position + chain.wanted)
      position += piece.length
      this.#fill(chain, piece)
    }
    return bytes.length - position
  }

  config(): Uint8Array {
    return new Uint8Array(0)
  }

  notified(): void {
    const queue = this.#transport.queue(0)
    for (const chain of queue.takeAll()) {
      const wanted = Math.min(chain.writableBytes, ENTROPY_BYTES_MAX)
      if (wanted === 0) {
        // Section 5.4.6.1: a driver must not offer a buffer that cannot be filled.
        queue.break()
        return
      }
      this.#waiting.push({ head: chain.head, writable: chain.writable, wanted })
      this.#request(wanted)
    }
  }

  reset(): void {
    this.#waiting = []
  }

  save(writer: StateWriter): void {
    writer.section('entropy', 1, () => {
      writer.u32('waiting', this.#waiting.length)
      for (const chain of this.#waiting) {
        writer.u32('head', chain.head)
        writer.u32('wanted', chain.wanted)
        saveSegments(writer, 'writable', chain.writable)
      }
    })
  }

  load(reader: StateReader): void {
    reader.section('entropy', 1, () => {
      const count = loadLimited(reader, 'waiting', QUEUE_SIZE)
      this.#waiting = Array.from({ length: count }, () => ({
        head: loadLimited(reader, 'head', QUEUE_SIZE - 1),
        wanted: loadLimited(reader, 'wanted', ENTROPY_BYTES_MAX),
        writable: loadSegments(reader, 'writable', QUEUE_SIZE, this.#transport.memory),
      }))
    })
  }

  #fill(chain: WaitingChain, bytes: Uint8Array): void {
    const queue = this.#transport.queue(0)
    if (!queue.ready) return
    scatter(this.#transport.memory, chain.writable, 0, bytes)
    queue.giveBack([{ head: chain.head, written: bytes.length }])
  }
}

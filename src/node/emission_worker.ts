/**
 * A worker that emits what a machine translates, while that executes the guest (machine/translator/emission_thread.ts).
 *
 * It starts with the first order, does not keep the process running, and ends when nothing has been ordered for some seconds, since it
 * takes 20 MB, and holds the machine's memories: the next order starts another one then. Both sides agree on that by words that they share.
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads'
import type { EmissionParts, RegionOrder } from '../machine/translator/emission.ts'
import type {
  BatchLimits,
  EmissionAnswer,
  EmissionThread,
  EmissionThreadStarter,
} from '../machine/translator/emission_thread.ts'

export type EmissionCommand =
  | { readonly kind: 'order'; readonly order: RegionOrder }
  | { readonly kind: 'finish' }
  | { readonly kind: 'cancel'; readonly life: number }

/** Answers belong to the life that began with the last cancellation. */
export type EmissionReport =
  | { readonly kind: 'answer'; readonly answer: EmissionAnswer; readonly life: number }
  | { readonly kind: 'failure'; readonly error: unknown }

/** The words that are shared: how many commands have been sent, or ENDED; how many reports have been received. */
export const WORD = { commands: 0, received: 1 } as const
export const ENDED = -1

export interface EmissionWorkerData {
  readonly port: MessagePort
  readonly words: Int32Array<SharedArrayBuffer>
  readonly parts: EmissionParts
  readonly limits: BatchLimits
  readonly life: number
  /** Regions of workers before it, whose names are taken. */
  readonly regions: number
}

export const emissionWorker: EmissionThreadStarter = (parts, limits) => new EmissionWorker(parts, limits)

/** The worker that runs, or ran last. */
interface Running {
  readonly port: MessagePort
  readonly words: Int32Array<SharedArrayBuffer>
}

class EmissionWorker implements EmissionThread {
  readonly #parts: EmissionParts
  readonly #limits: BatchLimits
  #running: Running | undefined
  /** What workers that have ended had said, and nobody received. */
  #unreceived: EmissionReport[] = []
  #life = 0
  #regions = 0

  constructor(parts: EmissionParts, limits: BatchLimits) {
    this.#parts = parts
    this.#limits = limits
  }

  order(order: RegionOrder): void {
    while (!this.#send({ kind: 'order', order })) {
      for (let report = this.#receive(); report !== undefined; report = this.#receive())
        this.#unreceived.push(report)
      this.#running = this.#start()
    }
  }

  finish(): void {
    this.#send({ kind: 'finish' })
  }

  cancel(): void {
    this.#life++
    this.#send({ kind: 'cancel', life: this.#life })
  }

  take(): EmissionAnswer | undefined {
    for (;;) {
      const report = this.#unreceived.shift() ?? this.#receive()
      if (report === undefined) return undefined
      if (report.kind === 'failure') throw report.error
      if (report.life === this.#life) return report.answer
    }
  }

  #receive(): EmissionReport | undefined {
    if (this.#running === undefined) return undefined
    const received = receiveMessageOnPort(this.#running.port)
    if (received === undefined) return undefined
    const report = received.message as EmissionReport
    Atomics.add(this.#running.words, WORD.received, 1)
    if (report.kind === 'answer') this.#regions += report.answer.module?.regions.length ?? 0
    return report
  }

  /** Whether there was a worker to send it to; one that has ended has answered all. */
  #send(command: EmissionCommand): boolean {
    if (this.#running === undefined) return false
    const { port, words } = this.#running
    const sent = Atomics.load(words, WORD.commands)
    if (sent === ENDED || Atomics.compareExchange(words, WORD.commands, sent, sent + 1) !== sent) return false
    port.postMessage(command)
    return true
  }

  #start(): Running {
    const { port1, port2 } = new MessageChannel()
    const words = new Int32Array(new SharedArrayBuffer(8))
    const { layout, linkage, memories } = this.#parts
    const bufferOf = ({ buffer }: { readonly buffer: ArrayBufferLike }) => ({ buffer })
    const shared = { ...memories, tables: bufferOf(memories.tables), ram: bufferOf(memories.ram) }
    const workerData: EmissionWorkerData = {
      ...{ port: port2, words, parts: { layout, linkage, memories: shared } },
      ...{ limits: this.#limits, life: this.#life, regions: this.#regions },
    }
    const worker = new Worker(new URL('./emission_worker_thread.ts', import.meta.url), {
      ...{ workerData, transferList: [port2] },
      resourceLimits: { maxYoungGenerationSizeMb: 2 },
    })
    worker.unref()
    port1.unref()
    // What it says itself comes by the port.
    worker.on('error', (error) => {
      throw error
    })
    return { port: port1, words }
  }
}

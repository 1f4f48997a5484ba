/** A worker that emits what a machine translates, while that executes the guest (machine/translator/emission_thread.ts). */
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads'
import type { EmissionParts, RegionOrder } from '../machine/translator/emission.ts'
import type {
  BatchLimits,
  EmissionAnswer,
  EmissionThread,
  EmissionThreadStarter,
} from '../machine/translator/emission_thread.ts'

/** Answers belong to the life that began with the last cancellation. */
export type EmissionCommand =
  | { readonly kind: 'order'; readonly order: RegionOrder; readonly taken: number }
  | { readonly kind: 'finish' }
  | { readonly kind: 'cancel'; readonly life: number }

export type EmissionReport =
  | { readonly kind: 'answer'; readonly answer: EmissionAnswer; readonly life: number }
  | { readonly kind: 'failure'; readonly error: unknown }

export interface EmissionWorkerData {
  readonly port: MessagePort
  readonly parts: EmissionParts
  readonly limits: BatchLimits
  readonly life: number
}

export const emissionWorker: EmissionThreadStarter = (parts, limits) => new EmissionWorker(parts, limits)

/** It does not keep the process running. The worker starts with the first order. */
class EmissionWorker implements EmissionThread {
  readonly #parts: EmissionParts
  readonly #limits: BatchLimits
  #port: MessagePort | undefined
  #life = 0
  #taken = 0

  constructor(parts: EmissionParts, limits: BatchLimits) {
    this.#parts = parts
    this.#limits = limits
  }

  order(order: RegionOrder): void {
    this.#port ??= this.#start()
    this.#send({ kind: 'order', order, taken: this.#taken })
  }

  finish(): void {
    this.#send({ kind: 'finish' })
  }

  cancel(): void {
    this.#life++
    this.#taken = 0
    this.#send({ kind: 'cancel', life: this.#life })
  }

  take(): EmissionAnswer | undefined {
    if (this.#port === undefined) return undefined
    for (;;) {
      const received = receiveMessageOnPort(this.#port)
      if (received === undefined) return undefined
      const report = received.message as EmissionReport
      if (report.kind === 'failure') throw report.error
      if (report.life !== this.#life) continue
      this.#taken++
      return report.answer
    }
  }

  #send(command: EmissionCommand): void {
    this.#port?.postMessage(command)
  }

  #start(): MessagePort {
    const { port1, port2 } = new MessageChannel()
    const { layout, linkage, memories } = this.#parts
    const bufferOf = ({ buffer }: { readonly buffer: ArrayBufferLike }) => ({ buffer })
    const shared = { ...memories, tables: bufferOf(memories.tables), ram: bufferOf(memories.ram) }
    const parts: EmissionParts = { layout, linkage, memories: shared }
    const workerData: EmissionWorkerData = { port: port2, parts, limits: this.#limits, life: this.#life }
    const worker = new Worker(new URL('./emission_worker_thread.ts', import.meta.url), {
      ...{ workerData, transferList: [port2] },
      resourceLimits: { maxYoungGenerationSizeMb: 8 },
    })
    worker.unref()
    port1.unref()
    // What it says itself comes by the port.
    worker.on('error', (error) => {
      throw error
    })
    return port1
  }
}

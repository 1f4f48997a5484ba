/**
 * A worker that emits what a machine translates, while that executes the guest (machine/translator/emission_thread.ts).
 *
 * It starts with the first order, or before there is a machine where something is kept for it, does not keep the process running, and ends when
 * nothing has been ordered and nothing found for some seconds, since it takes 20 MB, and holds the machine's memories: orders that are worth it, or a program
 * that begins, start another one then. Both sides agree on that by words that they share.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads'
import { assert } from '../base/assert.ts'
import type { EmissionParts, RegionOrder } from '../machine/translator/emission.ts'
import type {
  BatchLimits,
  EmissionAnswer,
  EmissionThread,
  EmissionThreadStarter,
} from '../machine/translator/emission_thread.ts'

export type EmissionCommand =
  /** The first. */
  | { readonly kind: 'begin'; readonly machine: MachineToEmitFor }
  | { readonly kind: 'order'; readonly order: RegionOrder }
  | { readonly kind: 'meet'; readonly pages: readonly number[] }
  | { readonly kind: 'finish' }
  /** No command comes any more. */
  | { readonly kind: 'close' }
  | { readonly kind: 'cancel'; readonly life: number }

/** Answers belong to the life that began with the last cancellation. */
export type EmissionReport =
  | { readonly kind: 'answer'; readonly answer: EmissionAnswer; readonly life: number }
  | { readonly kind: 'failure'; readonly error: unknown }

/** The words that are shared: how many commands have been sent, or ENDED; how many reports have been received, and sent. */
export const WORD = { commands: 0, received: 1, reports: 2 } as const
export const ENDED = -1

export interface MachineToEmitFor {
  readonly parts: EmissionParts
  readonly limits: BatchLimits
  readonly life: number
  /** Regions of workers before, whose names are taken. */
  readonly regions: number
  /** Whether there has been a worker for it before; then what it has met since, of which it will tell. */
  readonly isAgain: boolean
  readonly met: readonly number[]
}

export interface EmissionWorkerData {
  readonly port: MessagePort
  readonly words: Int32Array<SharedArrayBuffer>
  /** The directory in which regions are kept (kept_regions_file.ts). */
  readonly keptIn: string | undefined
  /** It ends when it has had nothing to do for so long. */
  readonly restMs: number
}

const REST_MS = 3000

/** Emission in a worker that keeps nothing. */
export const emissionWorker: EmissionThreadStarter = (parts, limits) => new EmissionWorker(parts, limits)

/** Emission for one machine that keeps what has been emitted, if it is told where. What there is is wanted soon: it takes a while to begin. */
export class KeepingEmission {
  readonly #directory: string | undefined
  readonly #restMs: number
  readonly #first: Running | undefined
  #worker: EmissionWorker | undefined

  constructor(directory: string | undefined, restMs = REST_MS) {
    this.#directory = directory
    this.#restMs = restMs
    if (directory !== undefined) this.#first = startWorker(directory, restMs)
  }

  readonly start: EmissionThreadStarter = (parts, limits) => {
    assert(this.#worker === undefined, 'it is for one machine')
    this.#worker = new EmissionWorker(parts, limits, {
      ...{ keptIn: this.#directory, restMs: this.#restMs, first: this.#first },
    })
    return this.#worker
  }

  /** The machine has stopped for good. Waits until what has been emitted is kept, but not for long. */
  async close(): Promise<void> {
    if (this.#directory !== undefined) await this.#worker?.close()
  }
}

/**
 * A worker is started for so many pages that are met for the first time in so short a time, as a program's that begins: an idle machine
 * meets a few.
 */
const MET_MIN = 64
const MET_MS = 1000

/** To write what is kept takes a tenth of a second. */
const CLOSE_MS = 3000

/** The worker that runs, or ran last. */
interface Running {
  readonly port: MessagePort
  readonly words: Int32Array<SharedArrayBuffer>
  readonly ended: Promise<void>
  /** Keeps the process running or not. */
  readonly worker: Worker
}

class EmissionWorker implements EmissionThread {
  readonly #parts: EmissionParts
  readonly #limits: BatchLimits
  #running: Running | undefined
  /** What workers that have ended had said, and nobody received. */
  #unreceived: EmissionReport[] = []
  #life = 0
  #regions = 0
  readonly #keptIn: string | undefined
  readonly #restMs: number
  #isAgain = false
  /** Pages that no worker has been told of, met since then. */
  #met: number[] = []
  #metSince = 0
  /** Those that some worker has been told of in this life. */
  readonly #told = new Set<number>()

  constructor(
    parts: EmissionParts,
    limits: BatchLimits,
    {
      keptIn,
      restMs = REST_MS,
      first,
    }: { keptIn?: string | undefined; restMs?: number; first?: Running | undefined } = {},
  ) {
    this.#parts = parts
    this.#limits = limits
    this.#keptIn = keptIn
    this.#restMs = restMs
    this.#running = first
    if (first !== undefined) this.#begin()
  }

  /** The first starts with the first order. */
  get isReady(): boolean {
    return !this.#isAgain || this.#isRunning
  }

  order(order: RegionOrder): void {
    this.#sendSurely({ kind: 'order', order })
    this.#tellMet()
  }

  meet(pages: readonly number[]): void {
    if (this.#keptIn === undefined) return
    const now = performance.now()
    if (now - this.#metSince > MET_MS) {
      this.#met = []
      this.#metSince = now
    }
    // A page that is met again may have other code. For that no worker is started.
    this.#met.push(...(this.#isRunning ? pages : pages.filter((page) => !this.#told.has(page))))
    this.#tellMet()
  }

  #tellMet(): void {
    if (this.#met.length === 0) return
    const command: EmissionCommand = { kind: 'meet', pages: this.#met }
    if (this.#met.length >= MET_MIN) this.#sendSurely(command)
    else if (!this.#send(command)) return
    for (const page of this.#met) this.#told.add(page)
    this.#met = []
  }

  get #isRunning(): boolean {
    return this.#running !== undefined && Atomics.load(this.#running.words, WORD.commands) !== ENDED
  }

  finish(): void {
    this.#send({ kind: 'finish' })
  }

  cancel(): void {
    this.#life++
    this.#told.clear()
    this.#send({ kind: 'cancel', life: this.#life })
  }

  async close(): Promise<void> {
    if (!this.#send({ kind: 'close' })) return
    const { worker, ended } = this.#running!
    worker.ref()
    await Promise.race([ended, sleep(CLOSE_MS, undefined, { ref: false })])
    worker.unref()
  }

  get hasAnswer(): boolean {
    if (this.#unreceived.length > 0) return true
    if (this.#running === undefined) return false
    const { words } = this.#running
    return Atomics.load(words, WORD.reports) !== Atomics.load(words, WORD.received)
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

  /** Sends it to a new worker if there is none. */
  #sendSurely(command: EmissionCommand): void {
    while (!this.#send(command)) {
      for (let report = this.#receive(); report !== undefined; report = this.#receive())
        this.#unreceived.push(report)
      this.#running = startWorker(this.#keptIn, this.#restMs)
      this.#begin()
    }
  }

  #begin(): void {
    const { layout, linkage, memories } = this.#parts
    const bufferOf = ({ buffer }: { readonly buffer: ArrayBufferLike }) => ({ buffer })
    const shared = { ...memories, tables: bufferOf(memories.tables), ram: bufferOf(memories.ram) }
    const machine = { parts: { layout, linkage, memories: shared }, limits: this.#limits }
    const before = { life: this.#life, regions: this.#regions, isAgain: this.#isAgain, met: this.#met }
    this.#isAgain = true
    this.#send({ kind: 'begin', machine: { ...machine, ...before } })
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
}

function startWorker(keptIn: string | undefined, restMs: number): Running {
  const { port1, port2 } = new MessageChannel()
  const words = new Int32Array(new SharedArrayBuffer(Object.keys(WORD).length * 4))
  const workerData: EmissionWorkerData = { port: port2, words, keptIn, restMs }
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
  const ended = new Promise<void>((resolve) => worker.on('exit', () => resolve()))
  return { port: port1, words, worker, ended }
}

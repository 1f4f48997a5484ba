/**
 * Emission on another thread, while the guest goes on: what goes to it and comes back, and what is done there. The host has the threads
 * (src/node/emission_worker.ts).
 */
import type { CompiledModule } from '../../wasm/engine.ts'
import { Batch } from './batch.ts'
import type { EmissionParts, EmittedModule, RegionOrder } from './emission.ts'

/** How a module is to be. */
export interface BatchLimits {
  readonly regions: number
  readonly wasmBytes: number
}

/** What has come of an order: bytes of WebAssembly, 0 where there is nothing to translate, undefined where another region serves for it. */
export interface DoneOrder {
  readonly number: number
  readonly wasmBytes: number | undefined
}

/** Orders that have been done since the last answer, and the module of their regions, if any. */
export interface EmissionAnswer {
  readonly done: readonly DoneOrder[]
  readonly module: EmittedModule | undefined
}

/** The other thread, as the one that executes the guest sees it. */
export interface EmissionThread {
  order(order: RegionOrder): void
  /** What has been ordered is wanted, though it makes no full module. */
  finish(): void
  /** What has come of the orders since, the oldest first; undefined if nothing has. Throws what the thread has thrown. */
  take(): EmissionAnswer | undefined
  /** Nothing comes of earlier orders any more. */
  cancel(): void
}

/** Starts one for a machine. */
export type EmissionThreadStarter = (parts: EmissionParts, limits: BatchLimits) => EmissionThread

/** What the thread does. */
export class EmissionService {
  readonly #parts: EmissionParts
  readonly #limits: BatchLimits
  readonly #compile: (wasm: Uint8Array<ArrayBuffer>) => CompiledModule
  readonly #send: (answer: EmissionAnswer) => void
  #batch: Batch
  #done: DoneOrder[] = []
  #regions: number
  /** Those that have been sent but not taken, and how many have been. */
  #sent: Batch[] = []
  #taken = 0

  /** There have been so many regions before, which have names. */
  constructor(
    parts: EmissionParts,
    limits: BatchLimits,
    regions: number,
    compile: (wasm: Uint8Array<ArrayBuffer>) => CompiledModule,
    send: (answer: EmissionAnswer) => void,
  ) {
    this.#parts = parts
    this.#limits = limits
    this.#compile = compile
    this.#send = send
    this.#regions = regions
    this.#batch = new Batch(parts, regions)
  }

  /** Does an order of a machine that has taken so many answers of this service. */
  order(order: RegionOrder, taken: number): void {
    this.#sent.splice(0, taken - this.#taken)
    this.#taken = taken
    const isServed = this.#sent.some((batch) => batch.serves(order))
    this.#done.push({ number: order.number, wasmBytes: isServed ? undefined : this.#batch.add(order) })
    const { regions, wasmBytes } = this.#limits
    if (this.#batch.regions >= regions || this.#batch.wasmBytes >= wasmBytes) this.finish()
  }

  /** Answers, unless there is nothing to say. */
  finish(): void {
    if (this.#done.length === 0) return
    const { wasm, regions } = this.#batch.finish()
    const module = regions.length === 0 ? undefined : { wasm: this.#compile(wasm), regions }
    this.#send({ done: this.#done, module })
    this.#sent.push(this.#batch)
    this.#regions += regions.length
    this.#batch = new Batch(this.#parts, this.#regions)
    this.#done = []
  }
}

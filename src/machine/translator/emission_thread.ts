/**
 * Emission on another thread, while the guest goes on: what goes to it and comes back, and what is done there. The host has the threads
 * (src/node/emission_worker.ts).
 */
import type { CompiledModule } from '../../wasm/engine.ts'
import { CODE_SLOTS } from '../layout.ts'
import { Batch } from './batch.ts'
import { copyOfPage, type EmissionParts, type EmittedModule, type RegionOrder } from './emission.ts'
import { hashOfPage, KeptRegionFinder, type KeptRegions } from './kept_regions.ts'

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

/** Orders that have been done since the last answer, and the module of their regions and of others that were kept, if any. */
export interface EmissionAnswer {
  readonly done: readonly DoneOrder[]
  readonly module: EmittedModule | undefined
}

/** The other thread, as the one that executes the guest sees it. */
export interface EmissionThread {
  /** Whether an order is begun at once: one that has ended has to be started again, which takes a quarter of a second of the host's time. */
  readonly isReady: boolean
  order(order: RegionOrder): void
  /** The machine begins to execute code of these pages: regions may have been kept for it, which come without an order. */
  meet(pages: readonly number[]): void
  /** What has been ordered is wanted, though it makes no full module. */
  finish(): void
  /** Whether something has come. */
  readonly hasAnswer: boolean
  /** What has come of the orders since, the oldest first; undefined if nothing has. Throws what the thread has thrown. */
  take(): EmissionAnswer | undefined
  /** Nothing comes of earlier orders any more. */
  cancel(): void
}

/** Starts one for a machine. */
export type EmissionThreadStarter = (parts: EmissionParts, limits: BatchLimits) => EmissionThread

export interface EmissionServiceParts extends EmissionParts {
  readonly limits: BatchLimits
  /** There have been so many regions before, which have names. */
  readonly regions: number
  /** What has been emitted for other machines, or before; without it nothing is kept. */
  readonly kept?: KeptRegions | undefined
  compile(wasm: Uint8Array<ArrayBuffer>): CompiledModule
  send(answer: EmissionAnswer): void
}

/** What the thread does. */
export class EmissionService {
  readonly #parts: EmissionServiceParts
  readonly #finder: KeptRegionFinder | undefined
  #batch: Batch
  #done: DoneOrder[] = []
  #regions: number
  /** Those that have been sent but not taken, and how many have been. */
  #sent: Batch[] = []
  #taken = 0

  constructor(parts: EmissionServiceParts) {
    this.#parts = parts
    this.#finder = parts.kept === undefined ? undefined : new KeptRegionFinder(parts.kept)
    this.#regions = parts.regions
    this.#batch = this.#newBatch()
  }

  /** Does an order of a machine that has taken so many answers of this service. */
  order(order: RegionOrder, taken: number): void {
    this.#forget(taken)
    const isServed = this.#sent.some((batch) => batch.serves(order))
    this.#done.push({ number: order.number, wasmBytes: isServed ? undefined : this.#batch.add(order) })
    this.#finishFull()
  }

  /** Adds what is kept for a page that a machine has met, which has taken so many answers. Returns whether there was something. */
  meet(page: number, taken: number): boolean {
    if (this.#finder === undefined) return false
    this.#forget(taken)
    const list = this.#finder.meet(page, this.#hashOf(page))
    for (const found of list) {
      this.#batch.addKept(found)
      this.#finishFull()
    }
    return list.length > 0
  }

  /** Notes the pages that the machine has met before there was this service, but for those of which it will tell. */
  noteMet(untold: readonly number[]): void {
    const excepted = new Set(untold)
    const { layout, memories } = this.#parts
    const tables = new DataView(memories.tables.buffer)
    for (let slot = 0; slot < CODE_SLOTS; slot++) {
      const page = tables.getUint32(layout.codeSlotPage + slot * 4, true)
      if (page < layout.ramPages && !excepted.has(page)) this.#finder?.note(page, this.#hashOf(page))
    }
  }

  #hashOf(page: number): bigint {
    return hashOfPage(copyOfPage(this.#parts.memories.ram, page))
  }

  #forget(taken: number): void {
    this.#sent.splice(0, taken - this.#taken)
    this.#taken = taken
  }

  /** Answers, unless there is nothing to say. */
  finish(): void {
    if (this.#done.length === 0 && this.#batch.regions === 0) return
    const { wasm, regions } = this.#batch.finish()
    const module = regions.length === 0 ? undefined : { wasm: this.#parts.compile(wasm), regions }
    this.#parts.send({ done: this.#done, module })
    this.#sent.push(this.#batch)
    this.#regions += regions.length
    this.#batch = this.#newBatch()
    this.#done = []
  }

  #finishFull(): void {
    const { regions, wasmBytes } = this.#parts.limits
    if (this.#batch.regions >= regions || this.#batch.wasmBytes >= wasmBytes) this.finish()
  }

  #newBatch(): Batch {
    return new Batch(this.#parts, this.#regions, this.#parts.kept)
  }
}

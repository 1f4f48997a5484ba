/** A module of several regions while it is being written: region by region, so that nothing waits long for it. */
import type { Engine, EngineFunction, EngineMemory } from '../../wasm/engine.ts'
import { ModuleBuilder } from '../../wasm/module.ts'
import type { CoreExports } from '../core.ts'
import { type Layout, PAGE_BYTES, REGIONS_MAX } from '../layout.ts'
import { type PlacedInstruction, takenInOf } from './block_end.ts'
import { buildChain } from './chain.ts'
import { type Flow, type FlowHints, findFlow } from './control_flow.ts'
import { importLinkage, type Linkage } from './linkage.ts'
import type { TranslationObserver } from './observer.ts'
import type { Place } from './profile.ts'
import { emitRegion, type RegionParts } from './region.ts'
import {
  bytesIn,
  type NewRegion,
  type Region,
  type RegionSource,
  type SourceBytes,
  spansOf,
} from './region_map.ts'

export interface BatchParts {
  readonly engine: Engine
  readonly layout: Layout
  readonly core: CoreExports
  readonly linkage: Linkage
  readonly memories: {
    readonly tables: EngineMemory
    readonly ram: EngineMemory
    readonly tablePages: number
    readonly ramPages: number
  }
  readonly observer?: TranslationObserver | undefined
}

/** A place, and the address of its page in the address space of the hart that came there. */
export interface FoundPlace extends Place {
  readonly virtualPage: bigint
}

/** A region that has been emitted, with the name of its function. */
interface EmittedRegion {
  readonly name: string
  readonly source: RegionSource
  readonly entries: readonly number[]
  readonly joins: readonly number[]
  readonly instructions: number
  readonly replaced: readonly Region[]
  readonly virtualPage: bigint
}

export class Batch {
  readonly #parts: BatchParts
  readonly #ram: Uint8Array
  readonly #module = new ModuleBuilder()
  readonly #regionParts: RegionParts
  readonly #emitted: EmittedRegion[] = []
  readonly #firstNumber: number
  instructions = 0
  wasmBytes = 0
  /** Calls at which a function of another page is taken in. */
  takenIn = 0

  /** The regions' functions are numbered from `firstNumber` on, so that a profiler can tell them from all others. */
  constructor(parts: BatchParts, firstNumber: number) {
    this.#parts = parts
    this.#firstNumber = firstNumber
    const { memories, layout, linkage } = parts
    this.#ram = new Uint8Array(memories.ram.buffer)
    for (const [name, pages] of [
      ['tables', memories.tablePages],
      ['ram', memories.ramPages],
    ] as const)
      this.#module.importMemory('environment', name, {
        initialPages: pages,
        maximumPages: pages,
        shared: true,
      })
    const regions = this.#module.importTable('core', 'regions', REGIONS_MAX)
    const linked = importLinkage(this.#module, linkage)
    const chain = buildChain(this.#module, regions)
    this.#regionParts = { module: this.#module, linkage: linked, chain, layout }
  }

  get regions(): number {
    return this.#emitted.length
  }

  /** Whether the instruction at this place is in one of the regions. */
  isInside({ page, inPage }: Place): boolean {
    const isWithin = ({ spans }: RegionSource): boolean =>
      spans.some(({ first, end }) => first <= inPage && inPage < end)
    return this.#emitted.some(({ source }) => source.page === page && isWithin(source))
  }

  /** Whether one of the regions can be entered at this place. */
  isEntry({ page, inPage }: Place): boolean {
    return this.#emitted.some(({ source, entries }) => source.page === page && entries.includes(inPage))
  }

  /**
   * Adds the region that begins at a place, which takes the place of `replaced`; nothing if there is nothing to translate. Returns
   * how many bytes of WebAssembly it has.
   */
  add(place: FoundPlace, hints: FlowHints, replaced: readonly Region[] = []): number {
    const { page, inPage, virtualPage } = place
    const flow = findFlow(new DataView(this.#ram.buffer, page * PAGE_BYTES, PAGE_BYTES), inPage, hints)
    if (!flow.blocks.has(inPage)) return 0
    const name = `region${this.#firstNumber + this.#emitted.length}`
    const { callee, entries, joins, wasmBytes } = emitRegion(this.#regionParts, name, inPage, flow)
    this.#module.exportFunction(callee)
    const list = [...flow.blocks.values()].flatMap((block) => block.instructions)
    const source = { ...this.#sourceOf(page, flow, list), leftOut: flow.leftOut, wasmBytes }
    this.#emitted.push({ name, entries, joins, replaced, source, virtualPage, instructions: list.length })
    this.instructions += list.length
    this.wasmBytes += wasmBytes
    this.takenIn += flow.takenIn.length
    return wasmBytes
  }

  #sourceOf(
    page: number,
    { takenIn }: Flow,
    list: readonly PlacedInstruction[],
  ): SourceBytes & Pick<RegionSource, 'others'> {
    const bytesOf = (page: number, list: readonly PlacedInstruction[]): SourceBytes => {
      const spans = spansOf(list)
      return { page, spans, bytes: bytesIn(this.#ram, page, spans) }
    }
    const within = (number: number) => list.filter(({ offset }) => takenInOf(offset) === number)
    const others = takenIn.map(({ code }, index) => bytesOf(code.page, within(index + 1)))
    return { ...bytesOf(page, within(0)), others }
  }

  /** The regions, compiled. */
  finish(): NewRegion[] {
    const { tables, ram } = this.#parts.memories
    const core = this.#parts.core as unknown as Record<string, EngineFunction>
    const bytes = this.#module.build()
    const exports = this.#parts.engine.instantiate(bytes, { environment: { tables, ram }, core })
    for (const emitted of this.#emitted) this.#announce(emitted)
    return this.#emitted.map(({ name, source, entries, joins, replaced }) => ({
      ...{ source, entries, joins, replaced },
      run: exports[name]!,
    }))
  }

  #announce({ name, source: { page }, entries, virtualPage, instructions }: EmittedRegion): void {
    const inPage = entries[0]!
    const address = virtualPage + BigInt(inPage)
    this.#parts.observer?.onRegion({ name, page, inPage, address, instructions })
  }
}

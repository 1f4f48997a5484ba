/** A module of several regions while it is being written: region by region, so that nothing waits long for it. */
import type { FunctionBody } from '../../wasm/function.ts'
import { ModuleBuilder } from '../../wasm/module.ts'
import { REGIONS_MAX } from '../layout.ts'
import { type PlacedInstruction, takenInOf } from './block_end.ts'
import { buildChain } from './chain.ts'
import { findFlow } from './control_flow.ts'
import {
  copyOfPage,
  type EmissionParts,
  type EmittedModule,
  type EmittedRegion,
  hintsOf,
  isWithin,
  type RegionOrder,
} from './emission.ts'
import { type FoundRegion, hashOfPage, type KeptBytes, type KeptRegions } from './kept_regions.ts'
import { importLinkage } from './linkage.ts'
import type { Place } from './place.ts'
import { emitRegion, placeRegion, type RegionParts } from './region.ts'
import { bytesIn, type RegionSource, type SourceBytes, spansOf } from './region_map.ts'

export class Batch {
  readonly #parts: EmissionParts
  readonly #module = new ModuleBuilder()
  readonly #regionParts: RegionParts
  readonly #emitted: EmittedRegion[] = []
  readonly #firstNumber: number
  readonly #kept: KeptRegions | undefined
  wasmBytes = 0

  /**
   * The regions' functions are numbered from `firstNumber` on, so that a profiler can tell them from all others. What is emitted is added
   * to `kept`.
   */
  constructor(parts: EmissionParts, firstNumber: number, kept?: KeptRegions) {
    this.#parts = parts
    this.#firstNumber = firstNumber
    this.#kept = kept
    const { memories, layout, linkage } = parts
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
    this.#regionParts = { linkage: linked, chain, layout }
  }

  get regions(): number {
    return this.#emitted.length
  }

  /** Whether the instruction at this place is in one of the regions. */
  isInside({ page, inPage }: Place): boolean {
    return this.#emitted.some(({ source }) => source.page === page && isWithin(source.spans, inPage))
  }

  /** Whether one of the regions can be entered at this place. */
  isEntry({ page, inPage }: Place): boolean {
    return this.#emitted.some(({ source, entries }) => source.page === page && entries.includes(inPage))
  }

  /** Whether there is a region here for which none need be emitted. */
  serves({ place, unless }: RegionOrder): boolean {
    return unless === 'entry' ? this.isEntry(place) : this.isInside(place)
  }

  /**
   * Adds the region that is asked for. Returns how many bytes of WebAssembly it has: 0 if there is nothing to translate, undefined if
   * a region that is here already serves for it.
   */
  add(order: RegionOrder): number | undefined {
    const { page, inPage, virtualPage } = order.place
    if (this.serves(order)) return undefined
    const code = copyOfPage(this.#parts.memories.ram, page)
    const flow = findFlow(code, inPage, hintsOf(order, this.#parts))
    if (!flow.blocks.has(inPage)) return 0
    const { body, entries, joins } = emitRegion(this.#regionParts, inPage, flow)
    const list = [...flow.blocks.values()].flatMap((block) => block.instructions)
    const pages = [code, ...flow.takenIn.map((one) => one.code.bytes)]
    const [own, ...others] = pages.map((bytes, number) => sourceBytes(bytes, list, number))
    const takenIn = flow.takenIn.map((one) => one.code.page)
    const source = {
      ...{ page, ...own!, others: others.map((one, index) => ({ page: takenIn[index]!, ...one })) },
      leftOut: flow.leftOut,
    }
    const made = { entries, joins, instructions: list.length }
    if (this.#kept !== undefined) {
      const keep = (one: Source, index: number): KeptBytes => ({ hash: hashOfPage(pages[index]!), ...one })
      const kept = { source: keep(own!, 0), others: others.map((one, index) => keep(one, index + 1)) }
      const region = { ...made, ...kept, body, leftOut: [...flow.leftOut] }
      this.#kept.keep(region, (entry) => isWithin(order.replaced, entry))
    }
    return this.#place(body, source, { order: order.number, virtualPage, ...made })
  }

  /** Adds a region that is kept, if there is none here that can be entered where it begins. */
  addKept({ region, page, others }: FoundRegion): void {
    const { body, source, entries, joins, instructions } = region
    if (this.isEntry({ page, inPage: entries[0]! })) return
    const made = { entries, joins, instructions }
    const at = (page: number, { spans, bytes }: KeptBytes): SourceBytes => ({ page, spans, bytes })
    const kept = {
      ...at(page, source),
      others: region.others.map((one, index) => at(others[index]!, one)),
      leftOut: new Set(region.leftOut),
    }
    this.#place(body, kept, { order: undefined, virtualPage: undefined, ...made })
  }

  #place(
    body: FunctionBody,
    source: Omit<RegionSource, 'wasmBytes'>,
    made: Omit<EmittedRegion, 'name' | 'source' | 'takenIn'>,
  ): number {
    const name = `region${this.#firstNumber + this.#emitted.length}`
    const pages = source.others.map(({ page }) => page)
    this.#module.exportFunction(placeRegion(this.#module, name, body, pages))
    const wasmBytes = body.code.length
    this.#emitted.push({ ...made, name, source: { ...source, wasmBytes }, takenIn: pages.length })
    this.wasmBytes += wasmBytes
    return wasmBytes
  }

  /** The module of the regions, to be compiled. */
  finish(): EmittedModule & { readonly wasm: Uint8Array<ArrayBuffer> } {
    return { wasm: this.#module.build(), regions: this.#emitted }
  }
}

type Source = Pick<SourceBytes, 'spans' | 'bytes'>

/** What a region has of one of its pages: its own, number 0, or that of a function that it has taken in. */
function sourceBytes(
  bytes: DataView<ArrayBuffer>,
  list: readonly PlacedInstruction[],
  number: number,
): Source {
  const spans = spansOf(list.filter(({ offset }) => takenInOf(offset) === number))
  return { spans, bytes: bytesIn(new Uint8Array(bytes.buffer), 0, spans) }
}

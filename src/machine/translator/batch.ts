/** A module of several regions while it is being written: region by region, so that nothing waits long for it. */
import { ModuleBuilder } from '../../wasm/module.ts'
import { REGIONS_MAX } from '../layout.ts'
import { type PlacedInstruction, takenInOf } from './block_end.ts'
import { buildChain } from './chain.ts'
import { type Flow, findFlow } from './control_flow.ts'
import {
  copyOfPage,
  type EmissionParts,
  type EmittedModule,
  type EmittedRegion,
  hintsOf,
  isWithin,
  type RegionOrder,
} from './emission.ts'
import { importLinkage } from './linkage.ts'
import type { Place } from './place.ts'
import { emitRegion, type RegionParts } from './region.ts'
import { bytesIn, type RegionSource, type SourceBytes, spansOf } from './region_map.ts'

export class Batch {
  readonly #parts: EmissionParts
  readonly #module = new ModuleBuilder()
  readonly #regionParts: RegionParts
  readonly #emitted: EmittedRegion[] = []
  readonly #firstNumber: number
  wasmBytes = 0

  /** The regions' functions are numbered from `firstNumber` on, so that a profiler can tell them from all others. */
  constructor(parts: EmissionParts, firstNumber: number) {
    this.#parts = parts
    this.#firstNumber = firstNumber
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
    this.#regionParts = { module: this.#module, linkage: linked, chain, layout }
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
    const name = `region${this.#firstNumber + this.#emitted.length}`
    const { callee, entries, joins, wasmBytes } = emitRegion(this.#regionParts, name, inPage, flow)
    this.#module.exportFunction(callee)
    const list = [...flow.blocks.values()].flatMap((block) => block.instructions)
    const source = { ...sourceOf(page, code, flow, list), leftOut: flow.leftOut, wasmBytes }
    const counts = { instructions: list.length, takenIn: flow.takenIn.length }
    this.#emitted.push({ order: order.number, name, entries, joins, source, virtualPage, ...counts })
    this.wasmBytes += wasmBytes
    return wasmBytes
  }

  /** The module of the regions, to be compiled. */
  finish(): EmittedModule & { readonly wasm: Uint8Array<ArrayBuffer> } {
    return { wasm: this.#module.build(), regions: this.#emitted }
  }
}

function sourceOf(
  page: number,
  code: DataView<ArrayBuffer>,
  { takenIn }: Flow,
  list: readonly PlacedInstruction[],
): SourceBytes & Pick<RegionSource, 'others'> {
  const bytesOf = (page: number, bytes: DataView<ArrayBuffer>, number: number): SourceBytes => {
    const spans = spansOf(list.filter(({ offset }) => takenInOf(offset) === number))
    return { page, spans, bytes: bytesIn(new Uint8Array(bytes.buffer), 0, spans) }
  }
  const others = takenIn.map(({ code: { page, bytes } }, index) => bytesOf(page, bytes, index + 1))
  return { ...bytesOf(page, code, 0), others }
}

/**
 * What is told of a region that is to be emitted, and what comes back. Emission knows the machine only by this and by its shared memories,
 * so that it can be done behind slices or on another thread. That one may see the tables while they change: what it takes from
 * them decides what a region has, never whether it is right. The bytes that a region was made from are copied first, and compared
 * before it is entered.
 */
import type { CompiledModule, EngineMemory } from '../../wasm/engine.ts'
import { type Layout, PAGE_BYTES } from '../layout.ts'
import { wasMet } from '../predecode.ts'
import type { FlowHints } from './control_flow.ts'
import type { Linkage } from './linkage.ts'
import { type FoundPlace, findPlace, type Place } from './place.ts'
import type { JumpTargets } from './profile.ts'
import type { RegionSource, Span } from './region_map.ts'
import type { OtherCode } from './small_functions.ts'

/** What emission needs of a machine, for all its regions. */
export interface EmissionParts {
  readonly layout: Layout
  readonly linkage: Linkage
  readonly memories: {
    readonly tables: EngineMemory
    readonly ram: EngineMemory
    readonly tablePages: number
    readonly ramPages: number
  }
}

/** A region that is asked for. */
export interface RegionOrder {
  readonly number: number
  readonly place: FoundPlace
  /** Nothing is emitted if a region that waits to be compiled can be entered there, or has that place. */
  readonly unless: 'entry' | 'inside'
  /** Whether what has not been executed is left out. */
  readonly leavesOut: boolean
  /** Offsets at which the region goes on in others of its page. */
  readonly joins: readonly number[]
  /** What the regions have that it takes the place of. */
  readonly replaced: readonly Span[]
  /** Where jumps of its page to addresses in registers have led. */
  readonly jumps: ReadonlyMap<number, JumpTargets>
  /** Of the hart that came there. */
  readonly fetchBank: number
}

/** A region that has been emitted, with the name of its function. */
export interface EmittedRegion {
  /** Undefined for one that was kept, which nobody has ordered. */
  readonly order: number | undefined
  readonly name: string
  readonly source: RegionSource
  readonly entries: readonly number[]
  readonly joins: readonly number[]
  readonly instructions: number
  readonly takenIn: number
  /** The address of its page, where that was told. */
  readonly virtualPage: bigint | undefined
}

export interface EmittedModule {
  /** To be compiled, or compiled already. */
  readonly wasm: Uint8Array<ArrayBuffer> | CompiledModule
  readonly regions: readonly EmittedRegion[]
}

/** Whether an offset is in one of the spans. */
export const isWithin = (spans: readonly Span[], inPage: number): boolean =>
  spans.some(({ first, end }) => first <= inPage && inPage < end)

/** A page as it is now. */
export function copyOfPage(ram: EngineMemory, page: number): DataView<ArrayBuffer> {
  return new DataView(new Uint8Array(ram.buffer, page * PAGE_BYTES, PAGE_BYTES).slice().buffer)
}

/** Code that a region may take in, as it is now. */
export function otherCodeAt(
  { layout, memories }: Pick<EmissionParts, 'layout' | 'memories'>,
  { page, inPage }: Place,
): OtherCode {
  const tables = new DataView(memories.tables.buffer)
  const isMet = (offset: number): boolean => wasMet(tables, layout, page, offset)
  return { page, offset: inPage, bytes: copyOfPage(memories.ram, page), isMet }
}

/** What an order and the tables tell of the code. */
export function hintsOf(order: RegionOrder, { layout, memories }: EmissionParts): FlowHints {
  const tables = new DataView(memories.tables.buffer)
  const { page, virtualPage } = order.place
  const codeAt = (place: Place | undefined): OtherCode | undefined =>
    place === undefined ? undefined : otherCodeAt({ layout, memories }, place)
  return {
    // What is in a region may have been met before its page lost its slot, and be executed by nothing else since.
    isMet: (offset) =>
      !order.leavesOut || wasMet(tables, layout, page, offset) || isWithin(order.replaced, offset),
    // What comes into the middle of a region goes on in it, as soon as it can be entered.
    isElsewhere: (offset) => order.joins.includes(offset),
    targetsOf: (offset) =>
      (order.jumps.get(offset)?.all ?? []).filter((one) => one.page === page).map((one) => one.inPage),
    codeAt: (distance) => codeAt(findPlace(tables, layout, order.fetchBank, virtualPage + BigInt(distance))),
    calledFrom: (offset) => codeAt(order.jumps.get(offset)?.first),
  }
}

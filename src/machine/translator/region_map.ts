/**
 * The regions that have been translated: where their entries stand, and when they fall.
 *
 * A region is entered by way of the predecoded code: HANDLER.region stands in the place of the instruction at which it
 * can be entered. A store to a byte that it was made from takes it out. When the page's predecoded code is given up, which
 * happens when many pages are in use, its regions *sleep*: they are put back when the page is decoded again, if its bytes are
 * what they were. Bytes are compared, since a guest could find others with the same hash.
 *
 * A region that has taken in functions of other pages (small_functions.ts) looks itself whether these are where it calls. It falls by a store to
 * their bytes as well, and when one of those pages is decoded again with other bytes.
 */
import { assert } from '../../base/assert.ts'
import type { EngineFunction } from '../../wasm/engine.ts'
import type { CoreExports } from '../core.ts'
import { HANDLER } from '../handlers.ts'
import {
  CODE_ENTRY_BYTES,
  CODE_SLOT_BYTES,
  CODE_SLOTS,
  type Layout,
  PAGE_BYTES,
  REGION_ENTRY,
} from '../layout.ts'
import type { Predecoder } from '../predecode.ts'
import { offsetOf, type PlacedInstruction } from './block_end.ts'
import type { Place } from './place.ts'

/** Bytes of a page, from `first` to before `end`. */
export interface Span {
  readonly first: number
  readonly end: number
}

/** Bytes of a page that a region was made from. */
export interface SourceBytes {
  readonly page: number
  readonly spans: readonly Span[]
  /** The bytes in the spans, one after the other. */
  readonly bytes: Uint8Array
}

/** What a region was made from: a page in which it is entered, and functions of other pages. */
export interface RegionSource extends SourceBytes {
  readonly others: readonly SourceBytes[]
  /** Where it would go on if that had been executed before. */
  readonly leftOut: ReadonlySet<number>
  readonly wasmBytes: number
}

/** Regions that were compiled together, whose memory is free when none of them is left. */
interface RegionModule {
  readonly regions: Set<Region>
  /** Of all regions that there were in it. */
  readonly wasmBytes: number
}

export interface Region {
  readonly source: RegionSource
  readonly module: RegionModule
  /** The place of its function in the core's table of regions. */
  readonly functionIndex: number
  readonly entries: readonly Entry[]
  readonly joins: readonly number[]
}

/** A way into a region: the number under which the instruction that stood there is kept, and where in the page it is. */
interface Entry {
  readonly number: number
  readonly inPage: number
}

/** A function of a module, and where it can be entered. */
export interface NewRegion {
  readonly source: RegionSource
  readonly run: EngineFunction
  readonly entries: readonly number[]
  /** Those of them at which other regions of the page may go on in it. */
  readonly joins: readonly number[]
  /** It takes the place of these, of which less was known. */
  readonly replaced: readonly Region[]
}

export interface RegionMapParts {
  readonly layout: Layout
  readonly core: CoreExports
  readonly predecoder: Predecoder
  readonly tables: DataView
  readonly ram: Uint8Array
  /** How many ways into regions there may be, and how many bytes of WebAssembly in all modules together. */
  readonly limits: { readonly numbers: number; readonly wasmBytes: number }
}

/** Where the bytes of instructions of a page stand, as few spans as there can be. */
export function spansOf(list: readonly PlacedInstruction[]): Span[] {
  const spans: { first: number; end: number }[] = []
  const placed = list.map(({ offset, length }) => ({ offset: offsetOf(offset), length }))
  for (const { offset, length } of placed.sort((one, other) => one.offset - other.offset)) {
    const last = spans.at(-1)
    if (last !== undefined && last.end >= offset) last.end = Math.max(last.end, offset + length)
    else spans.push({ first: offset, end: offset + length })
  }
  return spans
}

/** The bytes of spans of a page as they are now, one after the other. */
export function bytesIn(ram: Uint8Array, page: number, spans: readonly Span[]): Uint8Array {
  const bytes = new Uint8Array(spans.reduce((sum, { first, end }) => sum + end - first, 0))
  let at = 0
  for (const { first, end } of spans) {
    bytes.set(ram.subarray(page * PAGE_BYTES + first, page * PAGE_BYTES + end), at)
    at += end - first
  }
  return bytes
}

/** Whether a region was made from this byte of its page, among others. */
export const hasByte = ({ source }: Region, inPage: number): boolean => touches(source, inPage, 1)

/** Whether a region can be entered, or sleeps; it has not been given up. */
export const isKept = (region: Region): boolean => region.module.regions.has(region)

export class RegionMap {
  readonly #parts: RegionMapParts
  /** Regions by their pages: those that can be entered, and those that sleep. */
  readonly #entered = new Map<number, Region[]>()
  readonly #sleeping = new Map<number, Region[]>()
  /** Those that have taken something in, by the pages of that. */
  readonly #dependent = new Map<number, Region[]>()
  /** The oldest first. */
  readonly #modules = new Set<RegionModule>()
  readonly #numbers = new Numbers()
  /** Dense, so that what chain looks at of the regions that are in use is in few cache lines. */
  readonly #functions = new Numbers()
  #wasmBytes = 0
  /** Regions that were given up to make room. */
  evicted = 0

  constructor(parts: RegionMapParts) {
    this.#parts = parts
  }

  /** Whether a region can be entered at this place. */
  isEntry({ page, inPage }: Place): boolean {
    return this.#entered.get(page)?.some(({ entries }) => hasEntryAt(entries, inPage)) ?? false
  }

  /** Where regions of a page that come there may go on in another one. */
  joinsOf(page: number): readonly number[] {
    return this.#entered.get(page)?.flatMap(({ joins }) => joins) ?? []
  }

  /** The regions that have the instruction at this place. */
  regionsWith({ page, inPage }: Place): readonly Region[] {
    return this.#entered.get(page)?.filter((region) => hasByte(region, inPage)) ?? []
  }

  /** The regions that lead to this place and have left it out. */
  regionsWithout({ page, inPage }: Place): readonly Region[] {
    return this.#entered.get(page)?.filter(({ source }) => source.leftOut.has(inPage)) ?? []
  }

  /** Whether the instruction at this place is in a region. */
  isInside({ page, inPage }: Place): boolean {
    return this.#entered.get(page)?.some((region) => hasByte(region, inPage)) ?? false
  }

  /** Takes in the regions of a module. Those whose bytes have changed since they were made are left out. */
  add(emitted: readonly NewRegion[]): void {
    const list = emitted.filter(({ source }) =>
      [source, ...source.others].every((one) => this.#isAsItWas(one)),
    )
    for (const former of list.flatMap(({ replaced }) => replaced)) if (isKept(former)) this.#giveUp(former)
    this.#makeRoom(list)
    const wasmBytes = list.reduce((sum, { source }) => sum + source.wasmBytes, 0)
    const module: RegionModule = { regions: new Set(), wasmBytes }
    for (const { source, run, entries, joins } of list) {
      const functionIndex = this.#functions.take()
      this.#parts.core.regions.set(functionIndex, run)
      const numbered = entries.map((inPage) => ({ number: this.#numbers.take(), inPage }))
      const region = { source, module, functionIndex, entries: numbered, joins }
      module.regions.add(region)
      this.#putIn(region)
      this.#depend(region)
    }
    if (module.regions.size === 0) return
    this.#modules.add(module)
    this.#wasmBytes += wasmBytes
  }

  /** Bytes of a page are stored to; returns how many regions had any of them. */
  drop(page: number, inPage: number, size: number): number {
    const regions = this.#entered.get(page) ?? []
    const touched = regions.filter(({ source }) => touches(source, inPage, size))
    this.#takeOut(page, touched)
    for (const region of touched) this.#forget(region)
    const others = [...this.#dependentOn(page)].filter(({ source }) =>
      source.others.some((one) => one.page === page && touches(one, inPage, size)),
    )
    for (const region of others) this.#giveUp(region)
    return touched.length + others.length
  }

  /** The predecoded code of a page is given up. */
  sleep(page: number): void {
    const regions = this.#entered.get(page)
    if (regions === undefined) return
    this.#entered.delete(page)
    for (const region of regions) push(this.#sleeping, page, region)
  }

  /** A page has got a place for predecoded code; returns how many regions are there again. */
  wake(page: number): number {
    this.#wakeDependent(page)
    const sleepers = this.#sleeping.get(page)
    if (sleepers === undefined) return 0
    this.#sleeping.delete(page)
    const woken = sleepers.filter(({ source }) => this.#isAsItWas(source))
    for (const region of sleepers) if (!woken.includes(region)) this.#forget(region)
    for (const region of woken) this.#putIn(region)
    return woken.length
  }

  /** The page was not watched: what has taken in functions of it falls if their bytes have changed. */
  #wakeDependent(page: number): void {
    const isChanged = (source: SourceBytes): boolean => source.page === page && !this.#isAsItWas(source)
    for (const region of this.#dependentOn(page)) {
      this.#countInSlot(this.#slotOf(page)!, 1)
      if (region.source.others.some(isChanged)) this.#giveUp(region)
    }
  }

  #dependentOn(page: number): ReadonlySet<Region> {
    return new Set(this.#dependent.get(page))
  }

  /** All predecoded code is gone, and RAM may hold something else. */
  forgetAll(): void {
    for (const lists of [this.#entered, this.#sleeping]) {
      for (const regions of lists.values()) for (const region of regions) this.#forget(region)
      lists.clear()
    }
    assert(this.#dependent.size === 0, 'a region is left that depends on others')
    new Uint8Array(this.#parts.tables.buffer, this.#parts.layout.codeSlotRegions, CODE_SLOTS * 4).fill(0)
  }

  /** Gives modules up, the oldest first: what is still hot will be translated again. */
  #makeRoom(list: readonly NewRegion[]): void {
    const { limits } = this.#parts
    const numbers = list.reduce((sum, { entries }) => sum + entries.length, 0)
    const wasmBytes = list.reduce((sum, { source }) => sum + source.wasmBytes, 0)
    for (const module of this.#modules) {
      const hasNumbers = this.#numbers.used + numbers <= limits.numbers
      if (hasNumbers && this.#wasmBytes + wasmBytes <= limits.wasmBytes) return
      for (const region of [...module.regions]) {
        this.#giveUp(region)
        this.evicted++
      }
    }
  }

  #giveUp(region: Region): void {
    const { page } = region.source
    remove(this.#sleeping, page, region)
    if (this.#entered.get(page)?.includes(region)) this.#takeOut(page, [region])
    this.#forget(region)
  }

  #forget(region: Region): void {
    const { module, functionIndex, entries, source } = region
    for (const page of otherPages(source)) {
      const slot = this.#slotOf(page)
      remove(this.#dependent, page, region)
      if (slot !== undefined) this.#countInSlot(slot, -1)
    }
    for (const { number } of entries) this.#numbers.giveBack(number)
    this.#parts.core.regions.set(functionIndex, null)
    this.#functions.giveBack(functionIndex)
    module.regions.delete(region)
    if (module.regions.size > 0) return
    this.#modules.delete(module)
    this.#wasmBytes -= module.wasmBytes
  }

  /** Has a region entered; if its page is not decoded at the moment, it sleeps. */
  #putIn(region: Region): void {
    const { page } = region.source
    const slot = this.#slotOf(page)
    if (slot === undefined) return push(this.#sleeping, page, region)
    for (const entry of region.entries) this.#enterAt(slot, region, entry)
    push(this.#entered, page, region)
    this.#countInSlot(slot, 1)
  }

  #depend(region: Region): void {
    for (const page of otherPages(region.source)) {
      const slot = this.#slotOf(page)
      push(this.#dependent, page, region)
      if (slot !== undefined) this.#countInSlot(slot, 1)
    }
  }

  /** Nothing enters these regions of a page any more. Others that can be entered at the same places are entered there. */
  #takeOut(page: number, regions: readonly Region[]): void {
    const slot = this.#slotOf(page)
    for (const region of regions) remove(this.#entered, page, region)
    if (slot === undefined || regions.length === 0) return
    for (const { number, inPage } of regions.flatMap(({ entries }) => entries)) {
      const entry = this.#entryAt(slot, inPage)
      const isIts =
        this.#parts.tables.getUint16(entry, true) === HANDLER.region &&
        this.#parts.tables.getUint32(entry + REGION_ENTRY.number, true) === number
      if (!isIts) continue
      this.#forgetEntry(entry, number)
      const other = this.#entered.get(page)?.find(({ entries }) => hasEntryAt(entries, inPage))
      if (other !== undefined) this.#enterAt(slot, other, other.entries.find((one) => one.inPage === inPage)!)
    }
    this.#countInSlot(slot, -regions.length)
  }

  #enterAt(slot: number, { source: { page }, functionIndex }: Region, { number, inPage }: Entry): void {
    const { layout, predecoder, tables } = this.#parts
    const entry = this.#entryAt(slot, inPage)
    if (tables.getUint16(entry, true) === HANDLER.region) return
    predecoder.decodeAt(entry, page, inPage)
    tables.setBigUint64(layout.regionOriginals + number * 8, tables.getBigUint64(entry, true), true)
    tables.setUint16(entry, HANDLER.region, true)
    tables.setUint16(entry + REGION_ENTRY.functionIndex, functionIndex, true)
    tables.setUint32(entry + REGION_ENTRY.number, number, true)
    predecoder.endSequencesBefore(entry, inPage)
  }

  /** The instruction that stood there keeps its operands, like all that are forgotten. */
  #forgetEntry(entry: number, number: number): void {
    const { layout, tables } = this.#parts
    tables.setBigUint64(entry, tables.getBigUint64(layout.regionOriginals + number * 8, true), true)
    tables.setUint16(entry, HANDLER.undecoded, true)
  }

  #isAsItWas({ page, spans, bytes }: SourceBytes): boolean {
    const { ram } = this.#parts
    let at = 0
    for (const { first, end } of spans) {
      for (let offset = first; offset < end; offset++)
        if (ram[page * PAGE_BYTES + offset] !== bytes[at++]) return false
    }
    return true
  }

  /** The slot that holds a page's predecoded code; undefined if none does. */
  #slotOf(page: number): number | undefined {
    const slot = this.#parts.tables.getUint16(this.#parts.layout.pageCodeSlot + page * 2, true)
    return slot === 0 ? undefined : slot - 1
  }

  #entryAt(slot: number, inPage: number): number {
    return this.#parts.layout.codeSlots + slot * CODE_SLOT_BYTES + (inPage / 2) * CODE_ENTRY_BYTES
  }

  #countInSlot(slot: number, change: number): void {
    const at = this.#parts.layout.codeSlotRegions + slot * 4
    this.#parts.tables.setUint32(at, this.#parts.tables.getUint32(at, true) + change, true)
  }
}

/** Numbers from 0 on; those that were given back are taken first. */
class Numbers {
  readonly #free: number[] = []
  #next = 0

  get used(): number {
    return this.#next - this.#free.length
  }

  take(): number {
    return this.#free.pop() ?? this.#next++
  }

  giveBack(number: number): void {
    this.#free.push(number)
  }
}

/** The pages of what a region has taken in. */
function otherPages({ others }: RegionSource): Set<number> {
  return new Set(others.map(({ page }) => page))
}

function touches({ spans }: SourceBytes, inPage: number, size: number): boolean {
  return spans.some(({ first, end }) => first < inPage + size && inPage < end)
}

function hasEntryAt(entries: readonly Entry[], inPage: number): boolean {
  return entries.some((entry) => entry.inPage === inPage)
}

function push(lists: Map<number, Region[]>, page: number, region: Region): void {
  const list = lists.get(page)
  if (list === undefined) lists.set(page, [region])
  else list.push(region)
}

function remove(lists: Map<number, Region[]>, page: number, region: Region): void {
  const list = lists.get(page)
  if (list === undefined) return
  const kept = list.filter((one) => one !== region)
  if (kept.length > 0) lists.set(page, kept)
  else lists.delete(page)
}

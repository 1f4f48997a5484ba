/**
 * Which code is translated and when, and where its translations stand. Nothing of it is visible in the machine's state:
 * two copies may have translated different code at different times.
 *
 * A region is entered by way of the predecoded code: HANDLER.region stands in the place of the instruction at which it
 * begins. A store between its first and its last byte takes it out. When the page's predecoded code is given up, which
 * happens when many pages are in use, its regions *sleep*: they are put back when the page is decoded again, if its bytes are
 * what they were. Bytes are compared, since a guest could find others with the same hash.
 */
import type { Engine, EngineFunction, EngineMemory } from '../../wasm/engine.ts'
import { ModuleBuilder } from '../../wasm/module.ts'
import type { CoreExports } from '../core.ts'
import { HANDLER } from '../handlers.ts'
import type { Hart } from '../hart.ts'
import {
  BANK_FETCH,
  CODE_ENTRY_BYTES,
  CODE_SLOT_BYTES,
  CODE_SLOTS,
  FETCH_ENTRIES,
  type Layout,
  MACHINE,
  PAGE_BYTES,
  REGIONS_MAX,
  TLB_ENTRY_BYTES,
} from '../layout.ts'
import type { Predecoder } from '../predecode.ts'
import { findFlow } from './control_flow.ts'
import { importLinkage, type Linkage } from './linkage.ts'
import { type Place, Profile } from './profile.ts'
import { emitRegion, type RegionParts } from './region.ts'

/** When code is translated. */
export interface Tier {
  /** The steps of a slice behind which the pc is looked at, and the same while nearly all of it was in translated code. */
  readonly sampleSteps: number
  readonly translatedSteps: number
  /** So often must a place be met before it is worth a translation. */
  readonly meetings: number
  /** Regions that are compiled together, and the slices for which one waits for others at most. */
  readonly batch: number
  readonly batchSlices: number
}

export const TIERS: Readonly<Record<'hot' | 'eager', Tier>> = {
  hot: { sampleSteps: 16_384, translatedSteps: 1_000_000, meetings: 24, batch: 16, batchSlices: 512 },
  eager: { sampleSteps: 97, translatedSteps: 1009, meetings: 1, batch: 2, batchSlices: 3 },
}

/** A slice with so much of it in translated code tells nothing new. */
const TRANSLATED_SHARE = 0.9

export interface TranslatorParts {
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
  readonly predecoder: Predecoder
  readonly tier: Tier
}

interface Region {
  readonly page: number
  readonly entries: readonly Entry[]
  /** The bytes of the page that it was made from lie between these. */
  readonly first: number
  readonly end: number
}

/** A region of a module that is being made, with the name of its function there. */
type Made = Omit<Region, 'entries'> & { readonly name: string; readonly entries: readonly number[] }

const isWithin = ({ first, end }: Pick<Region, 'first' | 'end'>, inPage: number): boolean =>
  first <= inPage && inPage < end

/** A region that cannot be entered, with the bytes that it was made from. */
interface Sleeper {
  readonly region: Region
  readonly bytes: Uint8Array
}

/** A place that is to be translated; `isArrival` if code comes just there by a jump. */
interface Request {
  readonly place: Place
  readonly isArrival: boolean
}

/** A way into a region: its number in the core's table of regions, and where in the page it is. */
interface Entry {
  readonly number: number
  readonly inPage: number
}

/** What has been done, for tuning. */
export interface TranslatorCounts {
  regions: number
  modules: number
  instructions: number
  /** Regions taken out because their bytes were stored to, and put back after having slept. */
  dropped: number
  woken: number
}

export class Translator {
  readonly #parts: TranslatorParts
  readonly #tables: DataView
  readonly #ram: Uint8Array
  readonly #profile: Profile
  /** Regions by their pages: those that can be entered, and those that sleep. */
  readonly #regions = new Map<number, Region[]>()
  readonly #sleeping = new Map<number, Sleeper[]>()
  readonly #free: number[] = []
  #numbers = 0
  #requests: Request[] = []
  #waited = 0
  #translatedSteps = 0
  #stepsMax: number
  readonly counts: TranslatorCounts = { regions: 0, modules: 0, instructions: 0, dropped: 0, woken: 0 }

  constructor(parts: TranslatorParts) {
    this.#parts = parts
    this.#profile = new Profile(parts.tier.meetings)
    this.#stepsMax = parts.tier.sampleSteps
    this.#tables = new DataView(parts.memories.tables.buffer)
    this.#ram = new Uint8Array(parts.memories.ram.buffer)
  }

  /** How long a slice may be, so that there are enough of them to see where time goes. */
  get stepsMax(): number {
    return this.#stepsMax
  }

  /** A slice of `steps` has ended, and the hart is where it is. */
  onSlice(hart: Hart, steps: number): void {
    const { tier } = this.#parts
    const total = this.#tables.getUint32(MACHINE.translatedSteps, true)
    const translated = (total - this.#translatedSteps) >>> 0
    this.#translatedSteps = total
    const isNews = translated < steps * TRANSLATED_SHARE
    this.#stepsMax = isNews ? tier.sampleSteps : tier.translatedSteps
    if (isNews) this.#sample(hart)
    const isTime = this.#requests.length > 0 && ++this.#waited >= tier.batchSlices
    if (isTime || this.#requests.length >= tier.batch) this.#translate()
  }

  /** Bytes of a page are stored to: no region may have any of them. */
  drop(page: number, inPage: number, size: number): void {
    const isTouched = (region: Region): boolean => region.end > inPage && region.first < inPage + size
    for (const region of this.#take(this.#regions, page, isTouched)) {
      this.#takeOut(region)
      this.#forget(region)
      this.counts.dropped++
    }
  }

  /** The predecoded code of a page is given up. */
  sleep(page: number): void {
    const regions = this.#regions.get(page)
    if (regions === undefined) return
    this.#regions.delete(page)
    for (const region of regions) this.#putToSleep(region)
  }

  /** A page has got a place for predecoded code. */
  wake(page: number): void {
    const sleepers = this.#sleeping.get(page)
    if (sleepers === undefined) return
    this.#sleeping.delete(page)
    for (const { region, bytes } of sleepers) {
      if (!this.#bytesOf(region).every((byte, index) => byte === bytes[index])) this.#forget(region)
      else if (this.#putIn(region)) this.counts.woken++
    }
  }

  /** All predecoded code is gone, and RAM may hold something else. */
  forgetAll(): void {
    for (const regions of this.#regions.values()) for (const region of regions) this.#forget(region)
    this.#regions.clear()
    this.#forgetSleepers()
    this.#profile.forget()
    this.#requests = []
    new Uint8Array(this.#tables.buffer, this.#parts.layout.codeSlotRegions, CODE_SLOTS * 4).fill(0)
  }

  #putToSleep(region: Region): void {
    const sleepers = this.#sleeping.get(region.page) ?? []
    this.#sleeping.set(region.page, [...sleepers, { region, bytes: this.#bytesOf(region).slice() }])
  }

  #forgetSleepers(): void {
    for (const sleepers of this.#sleeping.values()) for (const { region } of sleepers) this.#forget(region)
    this.#sleeping.clear()
  }

  #sample(hart: Hart): void {
    const place = this.#placeOf(hart, hart.get64('pc'))
    if (place !== undefined && !this.#isInside(place) && this.#profile.meet(place))
      this.#request(place, false)
    const arrival = this.#placeOf(hart, this.#tables.getBigUint64(MACHINE.arrived, true))
    if (arrival !== undefined && !this.#isEntry(arrival) && this.#profile.meetArrival(arrival))
      this.#request(arrival, true)
  }

  #request(place: Place, isArrival: boolean): void {
    if (!this.#hasNumbers) this.#forgetSleepers()
    // What is entered is not evicted so far: what is not translated by now is interpreted.
    if (!this.#hasNumbers) return
    const isSame = (one: Request): boolean =>
      one.place.page === place.page && one.place.inPage === place.inPage
    if (!this.#requests.some(isSame)) this.#requests.push({ place, isArrival })
  }

  get #hasNumbers(): boolean {
    return this.#numbers < REGIONS_MAX || this.#free.length > 0
  }

  #isEntry({ page, inPage }: Place): boolean {
    return (
      this.#regions.get(page)?.some(({ entries }) => entries.some((entry) => entry.inPage === inPage)) ??
      false
    )
  }

  /** Slices that end in a region end anywhere in it; its loops can all be entered. */
  #isInside({ page, inPage }: Place): boolean {
    return this.#regions.get(page)?.some((region) => isWithin(region, inPage)) ?? false
  }

  /** Where in RAM the hart finds the code at a virtual address; undefined if it has not looked lately. */
  #placeOf(hart: Hart, pc: bigint): Place | undefined {
    const index = Number((pc >> 12n) & BigInt(FETCH_ENTRIES - 1))
    const entry = hart.get32('fetchBank') + BANK_FETCH + index * TLB_ENTRY_BYTES
    if (this.#tables.getBigUint64(entry, true) !== BigInt.asUintN(64, pc & -4096n)) return undefined
    const { layout } = this.#parts
    const slot = (this.#tables.getUint32(entry + 8, true) - layout.codeSlots) / CODE_SLOT_BYTES
    const page = this.#tables.getUint32(layout.codeSlotPage + slot * 4, true)
    return { page, inPage: Number(pc & 4095n) }
  }

  #translate(): void {
    const requests = this.#requests.filter(({ place }) => !this.#isEntry(place))
    this.#requests = []
    this.#waited = 0
    const module = new ModuleBuilder()
    const { memories, layout, engine } = this.#parts
    for (const [name, pages] of [
      ['tables', memories.tablePages],
      ['ram', memories.ramPages],
    ] as const)
      module.importMemory('environment', name, { initialPages: pages, maximumPages: pages, shared: true })
    const parts = { module, linkage: importLinkage(module, this.#parts.linkage), pageFlags: layout.pageFlags }
    const emitted: Made[] = []
    for (const { place, isArrival } of requests) {
      const isCovered = emitted.some((made) => made.page === place.page && isWithin(made, place.inPage))
      if (!isCovered || isArrival) emitted.push(...this.#emit(parts, place, `region${emitted.length}`))
    }
    if (emitted.length === 0) return
    const core = this.#parts.core as unknown as Record<string, EngineFunction>
    const { tables, ram } = memories
    const exports = engine.instantiate(module.build(), { environment: { tables, ram }, core })
    this.counts.modules++
    for (const { name, entries, ...made } of emitted) {
      const numbered = entries.flatMap((inPage) => this.#number(inPage, exports[name]!))
      this.counts.regions++
      this.#putIn({ ...made, entries: numbered })
    }
  }

  /** Emits the region that begins at a place; none if there is nothing to translate. */
  #emit(parts: RegionParts, { page, inPage }: Place, name: string): Made[] {
    const flow = findFlow(new DataView(this.#ram.buffer, page * PAGE_BYTES, PAGE_BYTES), inPage)
    if (!flow.blocks.has(inPage)) return []
    const { callee, entries } = emitRegion(parts, name, inPage, flow)
    parts.module.exportFunction(callee)
    const list = [...flow.blocks.values()].flatMap((block) => block.instructions)
    this.counts.instructions += list.length
    const first = Math.min(...list.map(({ offset }) => offset))
    const end = Math.max(...list.map(({ offset, length }) => offset + length))
    return [{ name, page, entries, first, end }]
  }

  /** Gives an entry of a function its number; none if there are too many. */
  #number(inPage: number, region: EngineFunction): Entry[] {
    const number = this.#free.pop() ?? this.#numbers
    if (number >= REGIONS_MAX) return []
    if (number === this.#numbers) this.#numbers++
    this.#parts.core.regions.set(number, region)
    return [{ number, inPage }]
  }

  /** Has a region entered; false if its page is not decoded at the moment, so that it sleeps. */
  #putIn(region: Region): boolean {
    const slot = this.#slotOf(region.page)
    if (slot === undefined) {
      this.#putToSleep(region)
      return false
    }
    for (const entry of region.entries) this.#enterAt(slot, region.page, entry)
    this.#regions.set(region.page, [...(this.#regions.get(region.page) ?? []), region])
    this.#countInSlot(slot, 1)
    return true
  }

  #enterAt(slot: number, page: number, { number, inPage }: Entry): void {
    const { layout, predecoder } = this.#parts
    const entry = this.#entryAt(slot, inPage)
    if (this.#tables.getUint16(entry, true) === HANDLER.region) return
    predecoder.decodeAt(entry, page, inPage)
    const original = this.#tables.getBigUint64(entry, true)
    this.#tables.setBigUint64(layout.regionOriginals + number * 8, original, true)
    this.#tables.setUint16(entry, HANDLER.region, true)
    this.#tables.setUint32(entry + 4, number, true)
    predecoder.endSequencesBefore(entry, inPage)
  }

  /** Nothing enters the region any more. */
  #takeOut({ page, entries }: Region): void {
    const slot = this.#slotOf(page)
    if (slot === undefined) return
    for (const { number, inPage } of entries) {
      const entry = this.#entryAt(slot, inPage)
      const isIts =
        this.#tables.getUint16(entry, true) === HANDLER.region &&
        this.#tables.getUint32(entry + 4, true) === number
      if (isIts) this.#tables.setUint16(entry, HANDLER.undecoded, true)
    }
    this.#countInSlot(slot, -1)
  }

  #forget({ entries }: Region): void {
    for (const { number } of entries) {
      this.#parts.core.regions.set(number, null)
      this.#free.push(number)
    }
  }

  /** Takes those regions out of a page's list that `isTaken` names. */
  #take(lists: Map<number, Region[]>, page: number, isTaken: (region: Region) => boolean): Region[] {
    const regions = lists.get(page) ?? []
    const kept = regions.filter((region) => !isTaken(region))
    if (kept.length > 0) lists.set(page, kept)
    else lists.delete(page)
    return regions.filter(isTaken)
  }

  #bytesOf({ page, first, end }: Region): Uint8Array {
    return this.#ram.subarray(page * PAGE_BYTES + first, page * PAGE_BYTES + end)
  }

  /** The slot that holds a page's predecoded code; undefined if none does. */
  #slotOf(page: number): number | undefined {
    const slot = this.#tables.getUint16(this.#parts.layout.pageCodeSlot + page * 2, true)
    return slot === 0 ? undefined : slot - 1
  }

  #entryAt(slot: number, inPage: number): number {
    return this.#parts.layout.codeSlots + slot * CODE_SLOT_BYTES + (inPage / 2) * CODE_ENTRY_BYTES
  }

  #countInSlot(slot: number, change: number): void {
    const at = this.#parts.layout.codeSlotRegions + slot * 4
    this.#tables.setUint32(at, this.#tables.getUint32(at, true) + change, true)
  }
}

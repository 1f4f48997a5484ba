/**
 * Which code is translated and when. Nothing of it is visible in the machine's state: two copies may have translated
 * different code at different times.
 *
 * At the ends of slices it looks where the hart is (profile.ts), asks for a region where it has been often, and does some
 * of what has been asked for: a region at a time, and a module of them when there are enough.
 */
import type { Hart } from '../hart.ts'
import {
  BANK_FETCH,
  CODE_SLOT_BYTES,
  EXIT,
  FETCH_ENTRIES,
  MACHINE,
  MACHINE_MISSES,
  MISSES_KEPT,
  PAGE_BYTES,
  REGIONS_MAX,
  TLB_ENTRY_BYTES,
} from '../layout.ts'
import type { Predecoder } from '../predecode.ts'
import { Batch, type BatchParts, type FoundPlace } from './batch.ts'
import type { FlowHints } from './control_flow.ts'

import { type Place, Profile } from './profile.ts'
import { hasByte, isKept, type Region, RegionMap } from './region_map.ts'
import { isSmallFunction, type OtherCode } from './small_functions.ts'

/**
 * When code is translated. What is emitted is counted by bytes of WebAssembly, since an instruction of the guest can become very
 * many; of common code it becomes 70 (Debian's boot 61, Python 69).
 */
export interface Tier {
  /** The steps of a slice behind which the pc is looked at, and the same while nearly all of it was in translated code. */
  readonly sampleSteps: number
  readonly translatedSteps: number
  /** So often must a place be met before it is worth a translation. */
  readonly meetings: number
  /** So often must regions have led to a place in vain. */
  readonly misses: number
  /** How much is compiled together, and the slices for which one region waits for others at most. */
  readonly batch: { readonly regions: number; readonly wasmBytes: number; readonly slices: number }
  /** So many bytes of WebAssembly are emitted behind a slice; the last region may have more. */
  readonly wasmBytesAtOnce: number
  /** For each byte that is emitted so many steps must have been taken: what is not hot for long is not worth it. */
  readonly stepsPerWasmByte: number
  /** Whether the region that begins there leaves out what has not been executed. */
  leavesOut(place: Place): boolean
}

/** Whatever is met, as soon as it is. */
const eager: Tier = {
  sampleSteps: 97,
  translatedSteps: 1009,
  meetings: 1,
  misses: 1,
  batch: { regions: 2, wasmBytes: 70_000, slices: 1 },
  wasmBytesAtOnce: 7000,
  stepsPerWasmByte: 0.0001,
  leavesOut: ({ inPage }) => inPage % 4 === 0,
}

/** `hot` is for use, the others are for tests. */
export const TIERS: Readonly<Record<'hot' | 'eager' | 'patient', Tier>> = {
  hot: {
    sampleSteps: 65_536,
    translatedSteps: 1_000_000,
    meetings: 12,
    misses: 10_000,
    batch: { regions: 32, wasmBytes: 35_000, slices: 128 },
    wasmBytesAtOnce: 2000,
    stepsPerWasmByte: 286,
    leavesOut: () => true,
  },
  eager,
  // What is emitted waits while the guest goes on, which may change what it was made from.
  patient: { ...eager, batch: { regions: 6, wasmBytes: 70_000, slices: 7 } },
}

/** A slice with so much of it in translated code tells little that is new. */
const TRANSLATED_SHARE = 0.9
/** All modules together have no more bytes of WebAssembly: each takes some six of the host's memory. */
const WASM_BYTES_MAX = 17_500_000
/** So many may be emitted at once where nothing has been for long. */
const CREDIT_MAX = 210_000
/** So many misses count as one where regions have left the place out: all of those are made anew with it. */
const LEFT_OUT_MISSES = 4
/** More is not waiting to be translated at once. */
const REQUESTS_MAX = 1000

export interface TranslatorParts extends BatchParts {
  readonly predecoder: Predecoder
  readonly tier: Tier
}

/**
 * A place that is to be translated: because the pc has been near, or because code comes just there by a jump; or that of a jump
 * whose region is to be made anew, since more has become known of where it goes.
 */
interface Request {
  readonly place: FoundPlace
  readonly why: 'near' | 'arrival' | 'anew'
  /** The regions that lead to the place and are to be made anew with it, as far as they have not had their turn. */
  readonly left?: readonly Region[]
}

/** What has been done, for tuning. */
export interface TranslatorCounts {
  /** Steps that were taken in translated code. */
  steps: number
  regions: number
  modules: number
  /** Of the guest, and what they have become. */
  instructions: number
  wasmBytes: number
  /** Calls at which a function of another page was taken in. */
  takenIn: number
  /** Regions taken out because their bytes were stored to, and put back after having slept. */
  dropped: number
  woken: number
  /** Regions given up to make room for others. */
  evicted: number
}

export class Translator {
  readonly #parts: TranslatorParts
  readonly #tables: DataView
  readonly #profile: Profile
  readonly #map: RegionMap
  #requests: Request[] = []
  #batch: Batch | undefined
  /** Slices since the batch was begun. */
  #waited = 0
  #translatedSteps = 0
  #misses = 0
  #unknownJumps = 0
  /** Bytes of WebAssembly that may be emitted now. */
  #credit = CREDIT_MAX
  #stepsMax: number
  readonly counts: TranslatorCounts = {
    steps: 0,
    regions: 0,
    modules: 0,
    instructions: 0,
    wasmBytes: 0,
    takenIn: 0,
    dropped: 0,
    woken: 0,
    evicted: 0,
  }

  constructor(parts: TranslatorParts) {
    this.#parts = parts
    const { layout, core, predecoder, memories, tier } = parts
    this.#profile = new Profile(tier)
    this.#stepsMax = tier.sampleSteps
    this.#tables = new DataView(memories.tables.buffer)
    const ram = new Uint8Array(memories.ram.buffer)
    const limits = { numbers: REGIONS_MAX, wasmBytes: WASM_BYTES_MAX }
    this.#map = new RegionMap({ layout, core, predecoder, tables: this.#tables, ram, limits })
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
    this.counts.steps += translated
    const isNews = translated < steps * TRANSLATED_SHARE
    this.#stepsMax = isNews || this.#requests.length > 0 ? tier.sampleSteps : tier.translatedSteps
    this.#profile.tick(steps)
    this.#credit = Math.min(CREDIT_MAX, this.#credit + steps / tier.stepsPerWasmByte)
    this.#sample(hart, steps, translated)
    if (!this.#isWorking) return
    const { observer } = this.#parts
    if (observer === undefined) this.#work(hart)
    else observer.onWork(() => this.#work(hart))
  }

  /** Bytes of a page are stored to: no region may have any of them. Returns whether one had. */
  drop(page: number, inPage: number, size: number): boolean {
    const dropped = this.#map.drop(page, inPage, size)
    this.counts.dropped += dropped
    if (dropped > 0) this.#profile.onChange(page)
    return dropped > 0
  }

  /** The predecoded code of a page is given up. */
  sleep(page: number): void {
    this.#map.sleep(page)
  }

  /** A page has got a place for predecoded code. */
  wake(page: number): void {
    this.counts.woken += this.#map.wake(page)
  }

  /** All predecoded code is gone, and RAM may hold something else. */
  forgetAll(): void {
    this.#map.forgetAll()
    this.#profile.forget()
    this.#requests = []
    this.#batch = undefined
  }

  get #isWorking(): boolean {
    return this.#requests.length > 0 || this.#batch !== undefined
  }

  #sample(hart: Hart, steps: number, translated: number): void {
    const pc = hart.get64('pc')
    const place = this.#placeOf(hart, pc)
    // Slices that end in a region end anywhere in it; its loops can all be entered.
    const isTranslated = place !== undefined && this.#map.isInside(place)
    const isInside = isTranslated || (place !== undefined && this.#batch?.isInside(place) === true)
    if (place !== undefined && !isInside && this.#profile.meet(place)) this.#request({ place, why: 'near' })
    // Not what waits to be compiled: that helps nothing yet.
    const isPassedBy = isTranslated && steps >= this.#parts.tier.sampleSteps / 2 && translated < steps / 2
    if (isPassedBy && this.#profile.meetPassedBy(place)) this.#request({ place, why: 'anew' })
    // What ends by itself ends at its own places.
    if (!isInside && this.#tables.getInt32(MACHINE.exit, true) === EXIT.budget)
      this.#parts.observer?.onInterpreted(BigInt.asUintN(64, pc), steps)
    const arrived = this.#tables.getBigUint64(MACHINE.arrived, true)
    const isJump = arrived !== this.#tables.getBigUint64(MACHINE.resumed, true)
    const arrival = isJump ? this.#placeOf(hart, arrived) : undefined
    if (arrival !== undefined && !this.#isEntry(arrival) && this.#meetArrival(arrival))
      this.#request({ place: arrival, why: 'arrival' })
    this.#sampleMisses(hart)
    this.#sampleJump(hart)
  }

  /** The last jump of translated code to an address in a register that its region did not know: it may be to one of its page, or call
   * a small function. */
  #sampleJump(hart: Hart): void {
    const jumps = this.#tables.getUint32(MACHINE.unknownJumps, true)
    if (jumps === this.#unknownJumps) return
    this.#unknownJumps = jumps
    const from = this.#placeOf(hart, this.#tables.getBigUint64(MACHINE.jumpedFrom, true))
    const to = this.#placeOf(hart, this.#tables.getBigUint64(MACHINE.jumpedTo, true))
    if (from === undefined || to === undefined || !this.#map.isInside(from)) return
    // What waits to be compiled may know it.
    if (this.#batch?.isInside(from) === true || !this.#profile.meetTarget(from, to)) return
    const code = this.#codeAt(to)
    const isTakenIn = code !== undefined && isSmallFunction(code)
    if (from.page === to.page || isTakenIn) this.#request({ place: from, why: 'anew' })
  }

  /** The places where chain has found no region; each of those that are kept stands for an equal part of them. */
  #sampleMisses(hart: Hart): void {
    const misses = this.#tables.getUint32(MACHINE.chainMisses, true)
    const more = (misses - this.#misses) >>> 0
    const kept = Math.min(more, MISSES_KEPT)
    this.#misses = misses
    for (let i = 1; i <= kept; i++) {
      const at = MACHINE_MISSES + ((misses - i) & (MISSES_KEPT - 1)) * 8
      const address = this.#tables.getBigUint64(at, true)
      const place = this.#placeOf(hart, address)
      if (place === undefined || this.#isEntry(place)) continue
      const isLeftOut = this.#map.regionsWithout(place).length > 0
      if (!this.#profile.meetMiss(place, more / kept / (isLeftOut ? LEFT_OUT_MISSES : 1))) continue
      this.#request({ place, why: 'arrival' })
    }
  }

  #meetArrival(place: Place): boolean {
    return this.#profile.meetArrival(place, this.#map.regionsWithout(place).length > 0)
  }

  #isEntry(place: Place): boolean {
    return this.#map.isEntry(place) || this.#batch?.isEntry(place) === true
  }

  #request(request: Request): void {
    const { page, inPage } = request.place
    const isThere = this.#requests.some(({ place }) => place.page === page && place.inPage === inPage)
    if (!isThere && this.#requests.length < REQUESTS_MAX) this.#requests.push(request)
  }

  /** Where in RAM the hart finds the code at a virtual address; undefined if it has not looked lately. */
  #placeOf(hart: Hart, pc: bigint): FoundPlace | undefined {
    const index = Number((pc >> 12n) & BigInt(FETCH_ENTRIES - 1))
    const entry = hart.get32('fetchBank') + BANK_FETCH + index * TLB_ENTRY_BYTES
    const virtualPage = BigInt.asUintN(64, pc & -4096n)
    if (this.#tables.getBigUint64(entry, true) !== virtualPage) return undefined
    const { layout } = this.#parts
    const slot = (this.#tables.getUint32(entry + 8, true) - layout.codeSlots) / CODE_SLOT_BYTES
    const page = this.#tables.getUint32(layout.codeSlotPage + slot * 4, true)
    return { page, inPage: Number(pc & 4095n), virtualPage }
  }

  /** Does some of what is asked for. A full batch has a slice for itself, so that no pause is long. */
  #work(hart: Hart): void {
    const { batch, wasmBytesAtOnce } = this.#parts.tier
    if (this.#batch === undefined) {
      this.#batch = new Batch(this.#parts, this.counts.regions)
      this.#waited = 0
    }
    const { regions, wasmBytes } = this.#batch
    if (regions >= batch.regions || wasmBytes >= batch.wasmBytes) return this.#compile(this.#batch)
    for (let emitted = 0; emitted < wasmBytesAtOnce && this.#credit > 0; ) {
      const request = this.#requests.shift()
      if (request === undefined) break
      const bytes = this.#emit(hart, this.#batch, request)
      emitted += bytes
      this.#credit -= bytes
    }
    if (++this.#waited >= batch.slices) this.#compile(this.#batch)
  }

  #emit(hart: Hart, batch: Batch, request: Request): number {
    const { place, why, left } = request
    if (left !== undefined) return this.#emitEach(hart, batch, place, left)
    if (why === 'anew') return this.#emitAnew(hart, batch, this.#map.regionsWith(place), place.virtualPage)
    const isInside = this.#map.isInside(place)
    if (batch.isInside(place) || this.#map.isEntry(place) || (why === 'near' && isInside)) return 0
    // What a region has left out belongs to it, if it is not too large.
    const wasmBytes = isInside ? 0 : this.#emitEach(hart, batch, place, this.#map.regionsWithout(place))
    return batch.isInside(place) ? wasmBytes : wasmBytes + this.#emitAt(hart, batch, place, isInside)
  }

  /** Makes regions anew that lead to a place; those that would be too much at once have their turn behind the next slice. */
  #emitEach(hart: Hart, batch: Batch, place: FoundPlace, regions: readonly Region[]): number {
    let wasmBytes = 0
    for (const [index, region] of regions.entries()) {
      if (wasmBytes >= this.#parts.tier.wasmBytesAtOnce) {
        this.#requests.unshift({ place, why: 'anew', left: regions.slice(index) })
        break
      }
      if (isKept(region)) wasmBytes += this.#emitAnew(hart, batch, [region], place.virtualPage)
    }
    return wasmBytes
  }

  /** One region in place of several that know less, where the first of them begins. */
  #emitAnew(hart: Hart, batch: Batch, regions: readonly Region[], virtualPage: bigint): number {
    const [first] = regions
    if (first === undefined) return 0
    const place = { page: first.source.page, inPage: first.entries[0]!.inPage, virtualPage }
    return batch.isEntry(place) ? 0 : batch.add(place, this.#hintsFor(hart, place, false, regions), regions)
  }

  #emitAt(hart: Hart, batch: Batch, place: FoundPlace, isInside: boolean): number {
    const wasmBytes = batch.add(place, this.#hintsFor(hart, place, isInside))
    if (wasmBytes === 0) this.#profile.refuse(place)
    return wasmBytes
  }

  #hintsFor(
    hart: Hart,
    { page, inPage, virtualPage }: FoundPlace,
    isInside: boolean,
    replaced: readonly Region[] = [],
  ): FlowHints {
    const { predecoder, tier } = this.#parts
    const leavesOut = tier.leavesOut({ page, inPage })
    const targetsOf = (offset: number): readonly Place[] => this.#profile.targetsOf({ page, inPage: offset })
    return {
      // What is in a region may have been met before its page lost its slot, and be executed by nothing else since.
      isMet: (offset) =>
        !leavesOut || predecoder.wasMet(page, offset) || replaced.some((one) => hasByte(one, offset)),
      // What comes into the middle of a region goes on in it, as soon as it can be entered.
      isElsewhere: (offset) => isInside && this.#map.isJoin({ page, inPage: offset }),
      targetsOf: (offset) =>
        targetsOf(offset)
          .filter((one) => one.page === page)
          .map((one) => one.inPage),
      codeAt: (distance) => this.#codeAt(this.#placeOf(hart, virtualPage + BigInt(distance))),
      calledFrom: (offset) => this.#codeAt(targetsOf(offset)[0]),
    }
  }

  /** Code that a region may take in. */
  #codeAt(place: Place | undefined): OtherCode | undefined {
    if (place === undefined) return undefined
    const { predecoder, memories } = this.#parts
    const { page, inPage } = place
    const bytes = new DataView(memories.ram.buffer, page * PAGE_BYTES, PAGE_BYTES)
    const isMet = (offset: number): boolean => predecoder.wasMet(page, offset)
    return { page, offset: inPage, bytes, isMet }
  }

  #compile(batch: Batch): void {
    this.#batch = undefined
    if (batch.regions === 0) return
    this.#map.add(batch.finish())
    this.counts.evicted = this.#map.evicted
    this.counts.modules++
    this.counts.regions += batch.regions
    this.counts.instructions += batch.instructions
    this.counts.wasmBytes += batch.wasmBytes
    this.counts.takenIn += batch.takenIn
  }
}

/**
 * Which code is translated and when. Nothing of it is visible in the machine's state: two copies may have translated
 * different code at different times.
 *
 * At the ends of slices it looks where the hart is (profile.ts), asks for a region where it has been often, and does some
 * of what has been asked for: a region at a time, and a module of them when there are enough.
 */
import type { Engine, EngineFunction } from '../../wasm/engine.ts'
import type { CoreExports } from '../core.ts'
import type { Hart } from '../hart.ts'
import { EXIT, MACHINE, MACHINE_MISSES, MISSES_KEPT, PAGE_BYTES, RAM_BASE, REGIONS_MAX } from '../layout.ts'
import type { Predecoder } from '../predecode.ts'
import { Batch } from './batch.ts'
import {
  type EmissionParts,
  type EmittedModule,
  type EmittedRegion,
  otherCodeAt,
  type RegionOrder,
} from './emission.ts'
import type { DoneOrder, EmissionThread } from './emission_thread.ts'
import type { TranslationObserver } from './observer.ts'
import { type FoundPlace, findPlace, findVirtualPage, type Place } from './place.ts'
import { Profile } from './profile.ts'
import { hasByte, isKept, type Region, RegionMap } from './region_map.ts'
import { findSmallFunction } from './small_functions.ts'
import { noCounts } from './translator_counts.ts'

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
/**
 * To start a thread takes as long as so many steps in the interpreter. An idle guest takes them in half a minute, and has a place that has become hot
 * every few seconds.
 */
const INTERPRETED_MIN = 30_000_000
/** So many places are worth a thread at once. */
const REQUESTS_MIN = 8
/** So many may be emitted at once where nothing has been for long. */
const CREDIT_MAX = 210_000
/** So many misses count as one where regions have left the place out: all of those are made anew with it. */
const LEFT_OUT_MISSES = 4
/** More is not waiting to be translated at once. */
const REQUESTS_MAX = 1000

/** More is not ordered of another thread before it has answered. */
const ORDERS_MAX = 32

export interface TranslatorParts extends EmissionParts {
  readonly engine: Engine
  readonly core: CoreExports
  readonly predecoder: Predecoder
  readonly tier: Tier
  readonly observer?: TranslationObserver | undefined
  /** Emits regions; without it they are emitted behind slices. */
  readonly thread?: EmissionThread | undefined
}

/** An order that has not been done, or whose region has not been compiled. */
interface Ordered {
  readonly order: RegionOrder
  readonly replaced: readonly Region[]
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

export class Translator {
  readonly #parts: TranslatorParts
  readonly #tables: DataView
  readonly #profile: Profile
  readonly #map: RegionMap
  #requests: Request[] = []
  /** What is emitted here. */
  #batch: Batch | undefined
  /** By their numbers. */
  readonly #ordered = new Map<number, Ordered>()
  #orders = 0
  /** Slices since the batch was begun, or since the thread has answered; and whether it has been asked for what it has. */
  #waited = 0
  #isAsked = false
  /** Pages that have got a place for predecoded code since the last slice. */
  #met: number[] = []
  #translatedSteps = 0
  /** Steps that were interpreted since something was last ordered. */
  #interpreted = 0
  #misses = 0
  #unknownJumps = 0
  /** Bytes of WebAssembly that may be emitted now. */
  #credit = CREDIT_MAX
  #stepsMax: number
  readonly counts = noCounts()

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
    this.#interpreted += steps - translated
    this.#stepsMax = isNews || this.#hasWork ? tier.sampleSteps : tier.translatedSteps
    this.#profile.tick(steps)
    this.#credit = Math.min(CREDIT_MAX, this.#credit + steps / tier.stepsPerWasmByte)
    this.#sample(hart, steps, translated)
    this.#tellMet()
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
    const woken = this.#map.wake(page)
    this.counts.woken += woken
    if (woken === 0 && this.#parts.thread !== undefined) this.#met.push(page)
  }

  /** All predecoded code is gone, and RAM may hold something else. */
  forgetAll(): void {
    this.#map.forgetAll()
    this.#profile.forget()
    this.#requests = []
    this.#met = []
    this.#batch = undefined
    this.#ordered.clear()
    this.#isAsked = false
    this.#parts.thread?.cancel()
  }

  get #isWorking(): boolean {
    if (this.#requests.length > 0 || this.#batch !== undefined || this.#ordered.size > 0) return true
    return this.#parts.thread?.hasAnswer === true
  }

  #tellMet(): void {
    if (this.#met.length === 0) return
    this.#parts.thread?.meet(this.#met)
    this.#met = []
  }

  #sample(hart: Hart, steps: number, translated: number): void {
    const pc = hart.get64('pc')
    const place = this.#placeOf(hart, pc)
    // Slices that end in a region end anywhere in it; its loops can all be entered.
    const isTranslated = place !== undefined && this.#map.isInside(place)
    const isInside = isTranslated || (place !== undefined && this.#waitsInside(place))
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

  /**
   * The last jump of translated code to an address in a register that its region did not know: it may go to a place of its page, or call a
   * small function.
   */
  #sampleJump(hart: Hart): void {
    const jumps = this.#tables.getUint32(MACHINE.unknownJumps, true)
    if (jumps === this.#unknownJumps) return
    this.#unknownJumps = jumps
    const from = this.#placeOf(hart, this.#tables.getBigUint64(MACHINE.jumpedFrom, true))
    const to = this.#placeOf(hart, this.#tables.getBigUint64(MACHINE.jumpedTo, true))
    if (from === undefined || to === undefined || !this.#map.isInside(from)) return
    // What waits to be compiled may know it.
    if (this.#waitsInside(from)) return
    if (!this.#profile.meetTarget(from, to)) return
    const isSmall = (place: Place): boolean =>
      findSmallFunction(otherCodeAt(this.#parts, place)) !== undefined
    if (from.page === to.page || isSmall(this.#firstTarget(from) ?? to))
      this.#request({ place: from, why: 'anew' })
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

  #firstTarget({ page, inPage }: Place): Place | undefined {
    return this.#profile.jumpsOf(page).get(inPage)?.first
  }

  #isEntry(place: Place): boolean {
    return this.#map.isEntry(place) || this.#batch?.isEntry(place) === true || this.#isOrdered(place)
  }

  #isOrdered({ page, inPage }: Place): boolean {
    const ordered = [...this.#ordered.values()]
    return ordered.some(({ order: { place } }) => place.page === page && place.inPage === inPage)
  }

  /** Whether a region that waits to be compiled has the place, as far as that is known. */
  #waitsInside(place: Place): boolean {
    if (this.#batch?.isInside(place) === true || this.#isOrdered(place)) return true
    const hasIt = (region: Region): boolean =>
      region.source.page === place.page && hasByte(region, place.inPage)
    return [...this.#ordered.values()].some(({ replaced }) => replaced.some(hasIt))
  }

  #request(request: Request): void {
    const { page, inPage } = request.place
    const isThere = this.#requests.some(({ place }) => place.page === page && place.inPage === inPage)
    if (!isThere && this.#requests.length < REQUESTS_MAX) this.#requests.push(request)
  }

  /** Where in RAM the hart finds the code at a virtual address; undefined if it has not looked lately. */
  #placeOf(hart: Hart, pc: bigint): FoundPlace | undefined {
    return findPlace(this.#tables, this.#parts.layout, hart.get32('fetchBank'), pc)
  }

  #work(hart: Hart): void {
    const { thread } = this.#parts
    if (thread === undefined) this.#workHere(hart)
    else this.#workWith(hart, thread)
  }

  /** Does some of what is asked for. A full batch has a slice for itself, so that no pause is long. */
  #workHere(hart: Hart): void {
    const { batch, wasmBytesAtOnce } = this.#parts.tier
    if (this.#batch === undefined) {
      this.#batch = new Batch(this.#parts, this.counts.regions)
      this.#waited = 0
    }
    const { regions, wasmBytes } = this.#batch
    if (regions >= batch.regions || wasmBytes >= batch.wasmBytes) return this.#compile(hart, this.#batch)
    for (let emitted = 0; emitted < wasmBytesAtOnce && this.#credit > 0; ) {
      const request = this.#requests.shift()
      if (request === undefined) break
      emitted += this.#emit(hart, request)
    }
    if (++this.#waited >= batch.slices) this.#compile(hart, this.#batch)
  }

  /** Orders what is asked for, and takes what has come, a module behind a slice. */
  #workWith(hart: Hart, thread: EmissionThread): void {
    const answer = thread.take()
    if (answer !== undefined) {
      for (const done of answer.done) this.#onDone(done)
      if (answer.module !== undefined) this.#add(hart, answer.module)
      this.#waited = 0
      this.#isAsked = false
    }
    while (this.#credit > 0 && this.#ordered.size < ORDERS_MAX && this.#isWorth(thread)) {
      const request = this.#requests.shift()
      if (request === undefined) break
      this.#emit(hart, request)
    }
    if (this.#ordered.size === 0 || this.#isAsked) return
    if (this.#ordered.size < ORDERS_MAX && ++this.#waited < this.#parts.tier.batch.slices) return
    this.#isAsked = true
    thread.finish()
  }

  /** Whether something that is asked for is to be done now. */
  get #hasWork(): boolean {
    return this.#requests.length > 0 && this.#isWorth(this.#parts.thread)
  }

  /** Whether it is worth a thread, which has to be started perhaps. */
  #isWorth(thread: EmissionThread | undefined): boolean {
    if (thread === undefined) return true
    return thread.isReady || this.#requests.length >= REQUESTS_MIN || this.#interpreted >= INTERPRETED_MIN
  }

  /** Returns how many bytes of WebAssembly have been emitted by now. */
  #emit(hart: Hart, { place, why, left }: Request): number {
    if (left !== undefined) return this.#emitEach(hart, place, left)
    if (why === 'anew') return this.#emitAnew(hart, this.#map.regionsWith(place), place.virtualPage)
    const isInside = this.#map.isInside(place)
    if (this.#waitsInside(place) || this.#map.isEntry(place) || (why === 'near' && isInside)) return 0
    // What a region has left out belongs to it, if it is not too large.
    const wasmBytes = isInside ? 0 : this.#emitEach(hart, place, this.#map.regionsWithout(place))
    const joins = isInside ? this.#map.joinsOf(place.page) : []
    return wasmBytes + this.#order(hart, place, { unless: 'inside', joins, replaced: [] })
  }

  /** Makes regions anew that lead to a place; those that would be too much at once have their turn behind the next slice. */
  #emitEach(hart: Hart, place: FoundPlace, regions: readonly Region[]): number {
    let wasmBytes = 0
    for (const [index, region] of regions.entries()) {
      if (wasmBytes >= this.#parts.tier.wasmBytesAtOnce || this.#ordered.size >= ORDERS_MAX) {
        this.#requests.unshift({ place, why: 'anew', left: regions.slice(index) })
        break
      }
      if (isKept(region)) wasmBytes += this.#emitAnew(hart, [region], place.virtualPage)
    }
    return wasmBytes
  }

  /** One region in place of several that know less, where the first of them begins. */
  #emitAnew(hart: Hart, replaced: readonly Region[], virtualPage: bigint): number {
    const [first] = replaced
    if (first === undefined) return 0
    const place = { page: first.source.page, inPage: first.entries[0]!.inPage, virtualPage }
    return this.#order(hart, place, { unless: 'entry', joins: [], replaced })
  }

  #order(
    hart: Hart,
    place: FoundPlace,
    { unless, joins, replaced }: Pick<RegionOrder, 'unless' | 'joins'> & Pick<Ordered, 'replaced'>,
  ): number {
    const { tier, thread } = this.#parts
    const order: RegionOrder = {
      ...{ number: ++this.#orders, place, unless, joins },
      leavesOut: tier.leavesOut(place),
      replaced: replaced.flatMap(({ source }) => source.spans),
      jumps: this.#profile.jumpsOf(place.page),
      fetchBank: hart.get32('fetchBank'),
    }
    this.#ordered.set(order.number, { order, replaced })
    if (thread === undefined) {
      const wasmBytes = this.#batch!.add(order)
      this.#onDone({ number: order.number, wasmBytes })
      return wasmBytes ?? 0
    }
    this.#interpreted = 0
    thread.order(order)
    return 0
  }

  #onDone({ number, wasmBytes }: DoneOrder): void {
    const { order } = this.#ordered.get(number)!
    this.#credit -= wasmBytes ?? 0
    if (wasmBytes === 0 && order.unless === 'inside') this.#profile.refuse(order.place)
    // What has a region is known until that is compiled.
    if (wasmBytes === undefined || wasmBytes === 0) this.#ordered.delete(number)
  }

  #compile(hart: Hart, batch: Batch): void {
    this.#batch = undefined
    if (batch.regions > 0) this.#add(hart, batch.finish())
  }

  #add(hart: Hart, { wasm, regions }: EmittedModule): void {
    const { engine, memories, core } = this.#parts
    const { tables, ram } = memories
    // Meanwhile what was kept may have been emitted.
    const wanted = regions.filter(
      ({ order, source: { page }, entries }) =>
        order !== undefined || !this.#map.isEntry({ page, inPage: entries[0]! }),
    )
    if (wanted.length === 0) return
    const functions = core as unknown as Record<string, EngineFunction>
    const exports = engine.instantiate(wasm, { environment: { tables, ram }, core: functions })
    const list = wanted.map(({ name, order, source, entries, joins }) => ({
      ...{ source, entries, joins, run: exports[name]! },
      replaced: order === undefined ? [] : this.#ordered.get(order)!.replaced,
    }))
    this.#map.add(list)
    for (const region of wanted) this.#onAdded(hart, region)
    this.counts.evicted = this.#map.evicted
    this.counts.modules++
  }

  #onAdded(
    hart: Hart,
    { order, name, source, entries, virtualPage, instructions, takenIn }: EmittedRegion,
  ): void {
    if (order === undefined) this.counts.kept++
    else this.#ordered.delete(order)
    this.counts.regions++
    this.counts.instructions += instructions
    this.counts.wasmBytes += source.wasmBytes
    this.counts.takenIn += takenIn
    const { observer, layout } = this.#parts
    if (observer === undefined) return
    const inPage = entries[0]!
    const { page } = source
    const found = virtualPage ?? findVirtualPage(this.#tables, layout, hart.get32('fetchBank'), page)
    const address = (found ?? BigInt(RAM_BASE + page * PAGE_BYTES)) + BigInt(inPage)
    observer.onRegion({ name, page, inPage, address, instructions })
  }
}

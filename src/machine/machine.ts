/**
 * The machine: harts that take turns over one RAM and one bus, deterministic to the step.
 *
 * `run(limit)` executes up to exactly `limit` or an earlier stop. Within it, slices end where something may change
 * from outside the running hart: at the limit, at the end of its turn, and at the position where a timer is reached;
 * and early, where an instruction asks for it. Between slices, and only there, the machine looks at its timers. None of
 * this depends on where `run` is cut.
 *
 * State: harts, time, whose turn it is and how much of it is left, devices, RAM. Everything else is derived.
 */
import { assert } from '../base/assert.ts'
import { FormatError } from '../base/errors.ts'
import { hash64 } from '../base/hash64.ts'
import { StateReader, StateWriter } from '../base/state.ts'
import { Bus } from './bus.ts'
import { forgetPages, markSlotsFree } from './cached_pages.ts'
import { buildCore, type CoreExports, type CoreImports } from './core.ts'
import { fusesMultiplyAdd } from './float/relaxed.ts'
import { type ClockEvent, GuestTime, TIMEBASE_HZ } from './guest_time.ts'
import { Hart, TIMER_NEVER } from './hart.ts'
import {
  EXIT,
  HART_STATE,
  type Layout,
  layoutFor,
  MACHINE,
  PAGE_HOST,
  RAM_BASE,
  RESERVATION_BYTES,
} from './layout.ts'
import { checkOptions, type MachineOptions } from './machine_options.ts'
import { Pmp } from './pmp.ts'
import { Predecoder } from './predecode.ts'
import { Ram } from './ram.ts'
import { TIERS, Translator } from './translator/translator.ts'
import type { TranslatorCounts } from './translator/translator_counts.ts'

export type { Engine } from '../wasm/engine.ts'

/** Steps of one turn when several harts share the machine. */
export const TURN_STEPS = 20_000
/** A slice's count of steps is a 31-bit number. */
const SLICE_MAX = 1_000_000_000
const WASM_PAGE_BYTES = 65536

/** A timer beyond those of the harts (the RTC's alarm): when it fires, in ticks, and what to do then. */
export interface BoardTimer {
  deadline(): bigint | undefined
  fire(): void
}

/** The counts that the core keeps; what each is, is said in MACHINE. */
export const STATISTICS = [
  ...(['walks', 'dataMisses', 'fetchMisses', 'bankMisses', 'slowStores', 'tableStores'] as const),
  ...(['regionEntries', 'chainMisses', 'unknownJumps'] as const),
] as const
export type Statistics = Readonly<Record<(typeof STATISTICS)[number], number>>

/** Why `run` came back. */
export type Stop =
  | { readonly reason: 'limit' }
  /** Every hart waits for an interrupt; `until` is the guest time of the next timer that wakes one. */
  | { readonly reason: 'idle'; readonly until: bigint | undefined }
  /** `requestStop` was called. */
  | { readonly reason: 'request' }

/** Bits of mip. */
export const LINE = { ssip: 1, msip: 3, stip: 5, mtip: 7, seip: 9, meip: 11 } as const

export class Machine {
  readonly layout: Layout
  readonly harts: readonly Hart[]
  readonly ram: Ram
  readonly time: GuestTime
  readonly bus: Bus
  readonly boardTimers: BoardTimer[] = []
  readonly #core: CoreExports
  readonly #translator: Translator | undefined
  readonly #tables: ArrayBufferLike
  readonly #block: DataView
  readonly #pmps: readonly Pmp[]
  readonly #options: MachineOptions
  #position = 0n
  #current = 0
  #turnLeft = TURN_STEPS
  #isRunning = false

  constructor(options: MachineOptions) {
    checkOptions(options)
    this.#options = options
    this.layout = layoutFor(options.harts, options.ramBytes)
    const tablePages = Math.ceil(this.layout.end / WASM_PAGE_BYTES)
    const ramPages = options.ramBytes / WASM_PAGE_BYTES
    const memory = (pages: number) =>
      options.engine.memory({ initialPages: pages, maximumPages: pages, shared: true })
    const tables = memory(tablePages)
    const ram = memory(ramPages)
    this.#tables = tables.buffer
    this.#block = new DataView(tables.buffer)
    const { translation = 'off' } = options
    // Only translated code uses it, and finding it out takes some milliseconds.
    const isFused = translation !== 'off' && fusesMultiplyAdd(options.engine)
    const core = buildCore(this.layout, { tablePages, ramPages }, isFused)
    const predecoder = new Predecoder(this.layout, tables.buffer, ram.buffer)
    const environment = { ...this.#imports(predecoder), tables, ram }
    const imports = environment as unknown as Record<string, typeof tables>
    this.#core = options.engine.instantiate(core.bytes, { environment: imports }) as unknown as CoreExports
    if (translation !== 'off') {
      const { engine, observer, emission } = options
      const tier = TIERS[translation]
      const memories = { tables, ram, tablePages, ramPages }
      const parts = { layout: this.layout, linkage: core.linkage, memories }
      const thread = emission?.(parts, tier.batch)
      this.#translator = new Translator({
        ...{ ...parts, engine, observer, predecoder, tier, thread },
        core: this.#core,
      })
    }
    for (const [i, number] of core.csrNumbers.entries()) {
      this.#block.setUint8(this.layout.csrIndex + number, i + 1)
    }
    this.harts = Array.from({ length: options.harts }, (_, id) => new Hart(id, tables.buffer))
    for (const hart of this.harts) hart.reset(BigInt(RAM_BASE))
    this.#pmps = this.harts.map((hart) => new Pmp(hart))
    this.time = new GuestTime(tables.buffer)
    this.time.reset()
    this.ram = new Ram(this.layout, this.#core, tables.buffer, ram.buffer, (offset, length) =>
      this.#endReservations(offset, length),
    )
    this.#setBlock('ramBytes', options.ramBytes)
    this.#setBlock('hartCount', options.harts)
    this.#setBlock('sbi', options.onSbiCall === undefined ? 0 : 1)
    markSlotsFree(this.layout, this.#tables)
    this.#core.flushAll()
    this.bus = new Bus(options.devices?.(this) ?? [])
  }

  /** Steps taken since the machine was created; within a device access, those before the accessing instruction. */
  get position(): bigint {
    if (!this.#isRunning) return this.#position
    const sliceEnd = this.#block.getBigUint64(MACHINE.sliceEnd, true)
    return sliceEnd - BigInt(this.#block.getUint32(MACHINE.remaining, true)) - 1n
  }

  /** Guest time now, in ticks. */
  get now(): bigint {
    return this.time.at(this.position)
  }

  /** Executes up to position `limit`. */
  run(limit: bigint): Stop {
    assert(!this.#isRunning, 'run called from within run')
    this.#updateTimers()
    if (this.#takeStopRequest()) return { reason: 'request' }
    while (this.#position < limit) {
      if (!this.#findRunnable()) return { reason: 'idle', until: this.#nextWake() }
      if (this.#runSlice(limit) === EXIT.stop || this.#takeStopRequest()) return { reason: 'request' }
    }
    return { reason: 'limit' }
  }

  /** A stopped hart whose registers have been set begins to run. */
  restartHart(hartId: number): void {
    this.#pmps[hartId]!.update()
    this.harts[hartId]!.set32('state', HART_STATE.running)
  }

  /** Ends `run` after the present step; for devices and SBI. */
  requestStop(): void {
    this.#setBlock('stop', EXIT.stop)
  }

  /**
   * Applies a clock event between runs. One that ends an idle period moves time to at most a second behind the timer
   * that is waited for, any other by at most a second: after a longer absence no watchdog of the guest fires.
   */
  correctClock(event: ClockEvent): void {
    this.time.correct(event, this.#position, this.clockLimit())
    this.#updateTimers()
  }

  /** Jumps over an idle period to the guest time `ticks`, as programs without a wall clock do. */
  skipTime(ticks: bigint): void {
    this.time.skipTo(ticks, this.#position)
    this.#updateTimers()
  }

  /** The latest time that a clock event can move the clock to now. */
  clockLimit(): bigint {
    if (!this.isIdle) return this.now + TIMEBASE_HZ
    const until = this.#nextWake()
    return until === undefined ? TIMER_NEVER : until + TIMEBASE_HZ
  }

  /** Whether every hart waits, and for something that has not come yet. */
  get isIdle(): boolean {
    return this.harts.every((hart) => {
      const state = hart.get32('state')
      if (state === HART_STATE.running) return false
      return state === HART_STATE.stopped || !hart.awake
    })
  }

  /** Drives an interrupt line of a hart. */
  setLine(hartId: number, bit: number, level: boolean): void {
    this.harts[hartId]!.setLine(bit, level)
  }

  /** Sets mtimecmp of a hart. */
  setTimerCompare(hartId: number, value: bigint): void {
    this.harts[hartId]!.set64('mtimecmp', value)
    if (this.#isRunning) this.#requestExit(EXIT.timer)
  }

  /** A device's timer may have changed. */
  timersChanged(): void {
    if (this.#isRunning) this.#requestExit(EXIT.timer)
  }

  /** From now on `onHostStore` hears of stores to the page at this RAM offset. */
  watchHost(offset: number): void {
    this.#core.watchPage(Math.floor(offset / 4096), PAGE_HOST)
  }

  /** Drops every cached translation of all harts (used by SBI, where it is a no-op for the guest, and by tests). */
  flushTranslations(): void {
    this.#core.flushAll()
  }

  /** What has been translated, for tuning. */
  get translatorCounts(): TranslatorCounts | undefined {
    return this.#translator?.counts
  }

  /** Counters of the memory system and of regions, modulo 2^32, for tuning. */
  statistics(): Statistics {
    const entries = STATISTICS.map((field) => [field, this.#block.getUint32(MACHINE[field], true)])
    return Object.fromEntries(entries) as Statistics
  }

  /** All state but RAM, as named fields. */
  saveState(): Uint8Array {
    const writer = new StateWriter()
    this.save(writer)
    return writer.finish()
  }

  /** Writes all state but RAM into the state of something larger. */
  save(writer: StateWriter): void {
    writer.section('machine', 1, () => {
      writer.u64('position', this.#position)
      writer.u32('currentHart', this.#current)
      writer.u32('turnLeft', this.#turnLeft)
    })
    this.time.save(writer)
    for (const hart of this.harts) hart.save(writer)
    for (const device of this.bus.devices) device.save(writer)
  }

  /** Reads what `saveState` wrote. RAM must have been restored before: writing to it ends reservations. */
  loadState(state: Uint8Array): void {
    const reader = new StateReader(state)
    this.load(reader)
    reader.finish()
  }

  /** Reads what `save` wrote, as `loadState` does. */
  load(reader: StateReader): void {
    reader.section('machine', 1, () => {
      this.#position = reader.u64('position')
      this.#current = reader.u32('currentHart')
      this.#turnLeft = reader.u32('turnLeft')
    })
    if (this.#current >= this.harts.length || this.#turnLeft > TURN_STEPS)
      throw new FormatError(
        `machine state: hart ${this.#current} has ${this.#turnLeft} steps of its turn left`,
      )
    this.time.load(reader)
    for (const hart of this.harts) hart.load(reader)
    for (const device of this.bus.devices) device.load(reader)
    this.#dropCaches()
    for (const pmp of this.#pmps) pmp.update()
  }

  /** A hash of the whole state, equal for equal states. */
  digest(): bigint {
    return BigInt.asUintN(64, hash64(this.saveState()) + this.ram.hash())
  }

  /** Resets harts and devices, as a guest's reset request does; RAM, position and time stay. */
  reset(pc: bigint): void {
    for (const hart of this.harts) {
      hart.reset(pc)
      if (hart.id !== 0) hart.set32('state', HART_STATE.stopped)
    }
    for (const pmp of this.#pmps) pmp.update()
    for (const device of this.bus.devices) device.reset()
    this.#current = 0
    this.#turnLeft = TURN_STEPS
    this.#dropCaches()
  }

  #imports(predecoder: Predecoder): CoreImports {
    return {
      mmioLoad: (hart, address, size) => {
        const value = this.bus.load(Number(BigInt.asUintN(64, address)), size)
        if (value === undefined) return 0
        this.#hartAt(hart).set64('result', value)
        return 1
      },
      mmioStore: (_hart, address, size, value) =>
        this.bus.store(Number(BigInt.asUintN(64, address)), size, value) ? 1 : 0,
      pmp: (hartId, address, size, access, privilege) =>
        this.#pmps[hartId]!.check(BigInt.asUintN(64, address), size, access, privilege),
      writePmp: (hartId, csr, value) => {
        this.#pmps[hartId]!.write(csr, BigInt.asUintN(64, value))
        this.#core.flushHart(this.harts[hartId]!.address)
      },
      decodeRun: (entry) => predecoder.decodeRun(entry),
      decodeInto: (entry, word) => void predecoder.decodeInto(entry, word),
      hostStore: (offset, size) => this.#options.onHostStore?.(offset >>> 0, size),
      dropRegions: (page, inPage, size) => (this.#translator?.drop(page, inPage, size) ? 1 : 0),
      sleepRegions: (page) => this.#translator?.sleep(page),
      wakeRegions: (page) => this.#translator?.wake(page),
    }
  }

  #hartAt(address: number): Hart {
    return this.harts.find((hart) => hart.address === address)!
  }

  /** Runs the current hart until something is to be looked at; returns the exit reason. */
  #runSlice(limit: bigint): number {
    const hart = this.harts[this.#current]!
    const steps = this.#sliceSteps(limit)
    this.#block.setBigUint64(MACHINE.sliceEnd, this.#position + BigInt(steps), true)
    this.#isRunning = true
    let left: number
    try {
      left = this.#core.run(hart.address, steps)
    } finally {
      this.#isRunning = false
    }
    this.#position += BigInt(steps - left)
    // A lone hart has no turns: how far it came in one slice must not become state.
    if (this.harts.length > 1) this.#turnLeft -= steps - left
    const exit = this.#block.getInt32(MACHINE.exit, true)
    this.#translator?.onSlice(hart, steps - left)
    this.#onExit(hart, exit)
    this.#updateTimers()
    return exit
  }

  #onExit(hart: Hart, exit: number): void {
    if (exit === EXIT.wait) {
      if (!hart.awake) hart.set32('state', HART_STATE.waiting)
      this.#endTurn()
    } else if (exit === EXIT.sbi) {
      // For the hart this is a trap, and traps end reservations.
      hart.set32('reserved', 0)
      this.#options.onSbiCall!(hart)
      if (hart.get32('state') !== HART_STATE.running) this.#endTurn()
    } else if (exit === EXIT.turn || this.#turnLeft <= 0) {
      this.#endTurn()
    }
  }

  /** How far the current hart may run without a look at anything else. */
  #sliceSteps(limit: bigint): number {
    let steps = limit - this.#position
    const longest = BigInt(this.#translator?.stepsMax ?? SLICE_MAX)
    if (steps > longest) steps = longest
    if (this.harts.length > 1 && steps > BigInt(this.#turnLeft)) steps = BigInt(this.#turnLeft)
    for (const position of this.#timerPositions()) {
      const distance = position - this.#position
      if (distance > 0n && distance < steps) steps = distance
    }
    return Number(steps)
  }

  /** Positions at which a timer that is not reached yet will be. */
  *#timerPositions(): Generator<bigint> {
    for (const deadline of this.#deadlines()) {
      const position = this.time.positionOf(deadline, this.#position)
      if (position !== undefined) yield position
    }
  }

  *#deadlines(): Generator<bigint> {
    for (const hart of this.harts) {
      const mtimecmp = hart.get64('mtimecmp')
      if (mtimecmp !== TIMER_NEVER) yield mtimecmp
      const stimecmp = hart.get64('stimecmp')
      if (stimecmp !== TIMER_NEVER) yield stimecmp
    }
    for (const timer of this.boardTimers) {
      const deadline = timer.deadline()
      if (deadline !== undefined) yield deadline
    }
  }

  /**
   * Lets the timer interrupts follow the time at this position. Whatever moves the position or the time ends with this,
   * so that the interrupt lines, too, are a function of the position.
   */
  #updateTimers(): void {
    const now = this.time.at(this.#position)
    for (const hart of this.harts) {
      hart.setLine(LINE.mtip, now >= hart.get64('mtimecmp'))
      const sstc = hart.get64('menvcfg') >> 63n === 1n
      hart.setLine(LINE.stip, sstc && now >= hart.get64('stimecmp'))
    }
    for (const timer of this.boardTimers) {
      const deadline = timer.deadline()
      if (deadline !== undefined && now >= deadline) timer.fire()
    }
  }

  /**
   * Makes a hart that can run the current one; false if there is none. A hart that waits wakes when its turn comes, not
   * when its interrupt does: how often `run` comes by here is no part of the state.
   */
  #findRunnable(): boolean {
    for (let i = 0; i < this.harts.length; i++) {
      const hart = this.harts[this.#current]!
      const state = hart.get32('state')
      const waits = state === HART_STATE.waiting || state === HART_STATE.suspended
      if (waits && hart.awake) hart.set32('state', HART_STATE.running)
      if (hart.get32('state') === HART_STATE.running) return true
      this.#endTurn()
    }
    return false
  }

  /** Passes the turn on. A reservation does not outlive its hart's turn. */
  #endTurn(): void {
    this.harts[this.#current]!.set32('reserved', 0)
    this.#current = (this.#current + 1) % this.harts.length
    this.#turnLeft = TURN_STEPS
  }

  /** The guest time of the next timer that can wake a hart. */
  #nextWake(): bigint | undefined {
    let next: bigint | undefined
    const consider = (ticks: bigint): void => {
      if (ticks !== TIMER_NEVER && (next === undefined || ticks < next)) next = ticks
    }
    for (const hart of this.harts) {
      if (hart.get32('state') === HART_STATE.stopped) continue
      const mie = Number(hart.get64('mie'))
      if ((mie & (1 << LINE.mtip)) !== 0) consider(hart.get64('mtimecmp'))
      if ((mie & (1 << LINE.stip)) !== 0 && hart.get64('menvcfg') >> 63n === 1n)
        consider(hart.get64('stimecmp'))
    }
    for (const timer of this.boardTimers) consider(timer.deadline() ?? TIMER_NEVER)
    return next
  }

  /**
   * Whether a stop was requested between slices, as SBI does. It neither waits for the next slice nor lets the next
   * hart be chosen before: where `run` stops, the state is the same as if its limit were there.
   */
  #takeStopRequest(): boolean {
    if (this.#block.getInt32(MACHINE.stop, true) !== EXIT.stop) return false
    this.#setBlock('stop', 0)
    return true
  }

  #requestExit(reason: number): void {
    if (this.#block.getInt32(MACHINE.stop, true) === 0) this.#setBlock('stop', reason)
  }

  #setBlock(field: keyof typeof MACHINE, value: number): void {
    this.#block.setInt32(MACHINE[field], value, true)
  }

  /** A device wrote to RAM: reservations on the doublewords it touched are gone. */
  #endReservations(offset: number, length: number): void {
    for (const hart of this.harts) {
      if (hart.get32('reserved') === 0) continue
      const start = Number(hart.get64('reservation'))
      if (offset < start + RESERVATION_BYTES && offset + length > start) hart.set32('reserved', 0)
    }
  }

  /** Back to a machine that has cached nothing. */
  #dropCaches(): void {
    forgetPages(this.layout, this.#tables)
    this.#translator?.forgetAll()
    this.#core.flushAll()
    for (const hart of this.harts) hart.forgetBanks()
  }
}

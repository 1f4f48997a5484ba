/**
 * Guest time as a function of position (DESIGN, "The clock is part of the machine").
 *
 *     time(position) = min(cap, base + (position - start) x rate / 2^32), in ticks of the time base (10 MHz)
 *
 * The parameters live in the machine block of memory 0, where `rdtime` computes the same thing (csr.ts).
 */
import type { StateReader, StateWriter } from '../base/state.ts'
import { MACHINE } from './layout.ts'

/** Ticks per second. */
export const TIMEBASE_HZ = 10_000_000n
const U64_MAX = 0xffff_ffff_ffff_ffffn

/** A correction of the clock. `rate` is ticks per step as unsigned 32.32 fixed point. */
export interface ClockEvent {
  readonly base: bigint
  readonly rate: bigint
  readonly cap: bigint
}

/** 0.05 ticks a step: 200 million steps a second, until the host has measured. */
export const DEFAULT_RATE = 214_748_365n

export class GuestTime {
  readonly #view: DataView

  constructor(tables: ArrayBufferLike) {
    this.#view = new DataView(tables)
  }

  reset(): void {
    this.#set('timePosition', 0n)
    this.#set('timeBase', 0n)
    this.#set('timeRate', DEFAULT_RATE)
    this.#set('timeCap', U64_MAX)
  }

  /** Guest time at a position, in ticks. */
  at(position: bigint): bigint {
    const steps = position - this.#get('timePosition')
    const time = this.#get('timeBase') + ((steps * this.#get('timeRate')) >> 32n)
    const cap = this.#get('timeCap')
    return time < cap ? time : cap
  }

  /** The first position at or after `position` where time reaches `ticks`; undefined if the cap is before. */
  positionOf(ticks: bigint, position: bigint): bigint | undefined {
    if (ticks > this.#get('timeCap')) return undefined
    const distance = ticks - this.#get('timeBase')
    if (distance <= 0n) return position
    const rate = this.#get('timeRate')
    const reached = this.#get('timePosition') + ((distance << 32n) + rate - 1n) / rate
    return reached > position ? reached : position
  }

  /**
   * Applies a correction at `position`. Time never runs backwards and never beyond `limit`: base is at least the time
   * now, cap at least base.
   */
  correct(event: ClockEvent, position: bigint, limit: bigint): void {
    const now = this.at(position)
    const latest = limit > now ? limit : now
    const wanted = event.base > now ? event.base : now
    const base = wanted < latest ? wanted : latest
    this.#set('timePosition', position)
    this.#set('timeBase', base)
    this.#set('timeRate', event.rate > 0n ? event.rate : 1n)
    this.#set('timeCap', event.cap > base ? event.cap : base)
  }

  /** Moves time forward to `ticks`; rate and cap stay. */
  skipTo(ticks: bigint, position: bigint): void {
    this.correct({ base: ticks, rate: this.#get('timeRate'), cap: this.#get('timeCap') }, position, ticks)
  }

  save(writer: StateWriter): void {
    writer.section('time', 1, () => {
      for (const field of FIELDS) writer.u64(field, this.#get(field))
    })
  }

  load(reader: StateReader): void {
    reader.section('time', 1, () => {
      for (const field of FIELDS) this.#set(field, reader.u64(field))
    })
  }

  #get(field: (typeof FIELDS)[number]): bigint {
    return this.#view.getBigUint64(MACHINE[field], true)
  }

  #set(field: (typeof FIELDS)[number], value: bigint): void {
    this.#view.setBigUint64(MACHINE[field], BigInt.asUintN(64, value), true)
  }
}

const FIELDS = ['timePosition', 'timeBase', 'timeRate', 'timeCap'] as const

/** Guest time as a function of position: min(cap, base + steps since x rate), in microseconds. */
import { assert } from '../src/base/assert.ts'
import type { StateReader, StateWriter } from '../src/base/state.ts'

/** A rate of one microsecond a step, as 32.32 fixed point. */
export const RATE_ONE = 2 ** 32

/** What a clock record carries. */
export interface ClockCorrection {
  readonly base: bigint
  readonly rate: bigint
  readonly cap: bigint
  readonly rtcOffsetNs: bigint
}

export class GuestClock {
  #position = 0
  #base = 0
  #cap = 0
  #rate = RATE_ONE
  #rtcOffsetNs = 0n

  get rtcOffsetNs(): bigint {
    return this.#rtcOffsetNs
  }

  at(position: number): number {
    const product = (position - this.#position) * this.#rate
    assert(Number.isSafeInteger(product), 'guest time has not been corrected for too long')
    return Math.min(this.#cap, this.#base + Math.floor(product / RATE_ONE))
  }

  /** The first position at which it is `us` or later, unless it is corrected before; Infinity if there is none. */
  positionOf(us: number): number {
    if (us <= this.#base) return this.#position
    if (us > this.#cap) return Number.POSITIVE_INFINITY
    return this.#position + Math.ceil(((us - this.#base) * RATE_ONE) / this.#rate)
  }

  /** Takes a correction at `position`; time never runs backwards. */
  correct(position: number, { base, rate, cap, rtcOffsetNs }: ClockCorrection): void {
    const now = this.at(position)
    this.#position = position
    this.#base = Math.max(now, Number(base))
    this.#cap = Math.max(this.#base, Number(cap))
    this.#rate = Number(rate)
    this.#rtcOffsetNs = rtcOffsetNs
  }

  save(writer: StateWriter): void {
    writer.section('clock', 1, () => {
      writer.u64('position', BigInt(this.#position))
      writer.u64('base', BigInt(this.#base))
      writer.u64('cap', BigInt(this.#cap))
      writer.u64('rate', BigInt(this.#rate))
      writer.u64('rtcOffsetNs', this.#rtcOffsetNs)
    })
  }

  load(reader: StateReader): void {
    reader.section('clock', 1, () => {
      this.#position = Number(reader.u64('position'))
      this.#base = Number(reader.u64('base'))
      this.#cap = Number(reader.u64('cap'))
      this.#rate = Number(reader.u64('rate'))
      this.#rtcOffsetNs = reader.u64('rtcOffsetNs')
    })
  }
}

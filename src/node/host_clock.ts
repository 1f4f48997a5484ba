/**
 * Guest time follows host time (DESIGN, "The clock is part of the machine").
 *
 * While the machine runs, a clock event at least every CORRECTION_MS sets base to the host's time, cap a little above
 * it, and the rate to the speed last measured, so that time in between flows about as the host's does. What the
 * machine refuses (more than a second at once) is lost for good: the guest's clock then lags behind, and only its RTC
 * shows the difference.
 */
import type { Computer, ExternalEvent } from '../board/computer.ts'

const TICKS_PER_MS = 10_000
/** How far guest time may run ahead of the host's. */
const CAP_TICKS = 10n * BigInt(TICKS_PER_MS)
const CORRECTION_MS = 5
/** Differences of the RTC below this are the jitter of reading two clocks. */
const RTC_JITTER_NS = 2_000_000n
/** Weight of the newest measurement of speed. */
const SMOOTHING = 0.2

export class HostClock {
  readonly #computer: Computer
  /** Host milliseconds at guest time 0. */
  #originMs: number
  #lastEventMs = Number.NEGATIVE_INFINITY
  #rtcOffsetNs: bigint | undefined
  #stepsPerMs = 200_000

  constructor(computer: Computer) {
    this.#computer = computer
    this.#originMs = performance.now() - Number(computer.machine.now) / TICKS_PER_MS
  }

  /** Steps that take about this long. */
  stepsIn(ms: number): bigint {
    return BigInt(Math.max(1000, Math.round(this.#stepsPerMs * ms)))
  }

  /** Learns that `steps` took `ms`. */
  measured(steps: number, ms: number): void {
    if (steps < 1000 || ms <= 0) return
    this.#stepsPerMs += SMOOTHING * (steps / ms - this.#stepsPerMs)
  }

  /** Milliseconds until the host reaches the guest time `ticks`. */
  msUntil(ticks: bigint): number {
    return Number(ticks) / TICKS_PER_MS + this.#originMs - performance.now()
  }

  /** Whether a correction is due. */
  get isDue(): boolean {
    return performance.now() - this.#lastEventMs >= CORRECTION_MS
  }

  /** The event that corrects the clock now. */
  event(): ExternalEvent {
    const now = performance.now()
    this.#lastEventMs = now
    const host = BigInt(Math.max(0, Math.floor((now - this.#originMs) * TICKS_PER_MS)))
    const limit = this.#computer.machine.clockLimit()
    const base = host < limit ? host : limit
    if (host > limit) this.#originMs += Number(host - limit) / TICKS_PER_MS
    const rate = BigInt(Math.max(1, Math.round((TICKS_PER_MS / this.#stepsPerMs) * 2 ** 32)))
    return { kind: 'clock', base, rate, cap: base + CAP_TICKS, rtcOffsetNs: this.#rtcOffset(base) }
  }

  /** The calendar's distance from guest time; the last one as long as it is right. */
  #rtcOffset(base: bigint): bigint {
    const guest = base > this.#computer.machine.now ? base : this.#computer.machine.now
    const offset = BigInt.asUintN(64, BigInt(Math.round(Date.now() * 1e6)) - guest * 100n)
    const drift = this.#rtcOffsetNs === undefined ? undefined : BigInt.asIntN(64, offset - this.#rtcOffsetNs)
    if (drift === undefined || drift > RTC_JITTER_NS || drift < -RTC_JITTER_NS) this.#rtcOffsetNs = offset
    return this.#rtcOffsetNs!
  }
}

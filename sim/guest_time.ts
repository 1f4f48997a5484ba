/**
 * How the primary's host corrects guest time: it follows the host's monotonic clock, but for what the machine must not
 * see. After a longer absence only the calendar jumps (DESIGN.md, section 2).
 */
import { RATE_ONE } from './guest_clock.ts'
import type { ReplicaPorts } from './replica_ports.ts'
import type { ToyMachine } from './toy_machine.ts'

const CAP_US = 10_000
/** The most that time moves in one correction; behind the guest's timer, if that ends an idle period. */
const JUMP_US = 1_000_000

export class GuestTime {
  readonly #ports: ReplicaPorts
  readonly #machine: ToyMachine
  /** Host time minus guest time. */
  #offsetUs: number
  #correctedUs: number

  constructor(ports: ReplicaPorts, machine: ToyMachine) {
    this.#ports = ports
    this.#machine = machine
    this.#offsetUs = ports.monotonicUs() - machine.timeUs
    this.#correctedUs = Number.NEGATIVE_INFINITY
  }

  /** What guest time would be if it were corrected now. */
  nowUs(): number {
    return this.#ports.monotonicUs() - this.#offsetUs
  }

  /** Time since the last correction, in milliseconds. */
  ageMs(): number {
    return (this.#ports.monotonicUs() - this.#correctedUs) / 1000
  }

  /** A clock record's content. */
  correction(): { base: bigint; rate: bigint; cap: bigint; rtcOffsetNs: bigint } {
    const { timeUs, timerUs, isIdle } = this.#machine
    const limit = (isIdle ? Math.max(timerUs, timeUs) : timeUs) + JUMP_US
    const wanted = this.nowUs()
    const base = Math.floor(Math.max(timeUs, Math.min(wanted, limit)))
    this.#offsetUs += wanted - base
    this.#correctedUs = this.#ports.monotonicUs()
    return {
      base: BigInt(base),
      rate: BigInt(Math.round((1000 / this.#ports.stepsPerMs) * RATE_ONE)),
      cap: BigInt(base + CAP_US),
      rtcOffsetNs: BigInt(Math.floor(this.#ports.calendarUs() - base)) * 1000n,
    }
  }
}

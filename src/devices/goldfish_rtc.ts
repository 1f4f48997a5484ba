/**
 * The goldfish real-time clock: nanoseconds since 1970 and one alarm.
 *
 *     time = guest clock x 100 ns + offset + adjustment          (modulo 2^64)
 *
 * The *offset* comes from outside with clock events; it is how the calendar jumps after a pause while guest
 * time does not. The *adjustment* is what the guest has set the clock by (`hwclock --systohc`); it is kept
 * apart, so that the next clock event does not undo it.
 *
 *     0x00 TIME_LOW       reading latches the high half for TIME_HIGH; writing sets that half
 *     0x04 TIME_HIGH
 *     0x08 ALARM_LOW      writing arms the alarm with the high half written before
 *     0x0c ALARM_HIGH
 *     0x10 IRQ_ENABLED
 *     0x14 CLEAR_ALARM    any write disarms
 *     0x18 ALARM_STATUS   1 while armed
 *     0x1c CLEAR_INTERRUPT
 *
 * The machine knows only the timers of harts, so it asks `alarmTicks` after every `alarmChanged`,
 * after `setOffset` and after `load`, and calls `checkAlarm` once the guest clock has reached that instant.
 */
import type { StateReader, StateWriter } from '../base/state.ts'
import type { AccessSize, Device, GuestClock, InterruptLine } from '../machine/device.ts'

const TIME_LOW = 0x00
const TIME_HIGH = 0x04
const ALARM_LOW = 0x08
const ALARM_HIGH = 0x0c
const IRQ_ENABLED = 0x10
const CLEAR_ALARM = 0x14
const ALARM_STATUS = 0x18
const CLEAR_INTERRUPT = 0x1c

const NANOSECONDS_PER_TICK = 100n
const LOW_HALF = 0xffff_ffffn

export interface GoldfishRtcOptions {
  readonly name?: string
  readonly clock: GuestClock
  readonly line: InterruptLine
  /** The guest may have moved the alarm. */
  readonly alarmChanged?: () => void
}

export class GoldfishRtc implements Device {
  readonly name: string
  readonly #clock: GuestClock
  readonly #line: InterruptLine
  readonly #alarmChanged: () => void
  #offset = 0n
  #adjustment = 0n
  #latchedHigh = 0
  #alarm = 0n
  #armed = false
  #interruptEnabled = false
  #interruptPending = false

  constructor(options: GoldfishRtcOptions) {
    this.name = options.name ?? 'rtc'
    this.#clock = options.clock
    this.#line = options.line
    this.#alarmChanged = options.alarmChanged ?? (() => {})
  }

  /**
   * Sets what is added to the guest clock, in nanoseconds. An alarm that has thereby passed fires at once.
   */
  setOffset(offsetNs: bigint): void {
    this.#offset = BigInt.asUintN(64, offsetNs)
    this.checkAlarm()
  }

  /** The tick of the guest clock at which the alarm is due, never before now; undefined if none is armed. */
  alarmTicks(): bigint | undefined {
    if (!this.#armed) return undefined
    const left = this.#alarm - this.#time()
    return this.#clock() + (left > 0n ? (left + NANOSECONDS_PER_TICK - 1n) / NANOSECONDS_PER_TICK : 0n)
  }

  /** Fires the alarm if its time has come. */
  checkAlarm(): void {
    if (this.#armed && this.#time() >= this.#alarm) {
      this.#armed = false
      this.#interruptPending = true
    }
    this.#update()
  }

  read(offset: number, size: AccessSize): number {
    if (size !== 4) return 0
    switch (offset) {
      case TIME_LOW:
        return this.#readTime()
      case TIME_HIGH:
        return this.#latchedHigh
      case ALARM_LOW:
        return Number(this.#alarm & LOW_HALF)
      case ALARM_HIGH:
        return Number(this.#alarm >> 32n)
      case IRQ_ENABLED:
        return this.#interruptEnabled ? 1 : 0
      case ALARM_STATUS:
        return this.#armed ? 1 : 0
      default:
        return 0
    }
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (size !== 4) return
    switch (offset) {
      case TIME_LOW:
        this.#setTime(withLow(this.#time(), value))
        break
      case TIME_HIGH:
        this.#setTime(withHigh(this.#time(), value))
        break
      case ALARM_LOW:
        this.#alarm = withLow(this.#alarm, value)
        this.#armed = true
        break
      case ALARM_HIGH:
        this.#alarm = withHigh(this.#alarm, value)
        break
      case IRQ_ENABLED:
        this.#interruptEnabled = (value & 1) === 1
        break
      case CLEAR_ALARM:
        this.#armed = false
        break
      case CLEAR_INTERRUPT:
        this.#interruptPending = false
        break
    }
    this.checkAlarm()
    this.#alarmChanged()
  }

  /** Keeps offset and adjustment: the calendar runs on a battery. */
  reset(): void {
    this.#latchedHigh = 0
    this.#alarm = 0n
    this.#armed = false
    this.#interruptEnabled = false
    this.#interruptPending = false
    this.#update()
  }

  save(writer: StateWriter): void {
    writer.section(this.name, 1, () => {
      writer.u64('offset', this.#offset)
      writer.u64('adjustment', this.#adjustment)
      writer.u32('latchedHigh', this.#latchedHigh)
      writer.u64('alarm', this.#alarm)
      writer.flag('armed', this.#armed)
      writer.flag('interruptEnabled', this.#interruptEnabled)
      writer.flag('interruptPending', this.#interruptPending)
    })
  }

  load(reader: StateReader): void {
    reader.section(this.name, 1, () => {
      this.#offset = reader.u64('offset')
      this.#adjustment = reader.u64('adjustment')
      this.#latchedHigh = reader.u32('latchedHigh')
      this.#alarm = reader.u64('alarm')
      this.#armed = reader.flag('armed')
      this.#interruptEnabled = reader.flag('interruptEnabled')
      this.#interruptPending = reader.flag('interruptPending')
    })
    this.#update()
  }

  #time(): bigint {
    return BigInt.asUintN(64, this.#clock() * NANOSECONDS_PER_TICK + this.#offset + this.#adjustment)
  }

  #readTime(): number {
    const time = this.#time()
    this.#latchedHigh = Number(time >> 32n)
    return Number(time & LOW_HALF)
  }

  #setTime(time: bigint): void {
    this.#adjustment = BigInt.asUintN(64, this.#adjustment + time - this.#time())
  }

  #update(): void {
    this.#line(this.#interruptEnabled && this.#interruptPending)
  }
}

function withLow(value: bigint, low: number): bigint {
  return (value & ~LOW_HALF) | BigInt(low)
}

function withHigh(value: bigint, high: number): bigint {
  return (value & LOW_HALF) | (BigInt(high) << 32n)
}

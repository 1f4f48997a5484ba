/**
 * A 16550A serial port with 16-byte FIFOs, registers one byte apart, as `ns16550a` in a device tree describes
 * it.
 *
 * A byte takes no time: what the guest writes is transmitted at once, so that the transmitter is always
 * empty, and the receiver's character timeout has always run out. Whatever waits below the trigger level is
 * therefore reported as the timeout (IIR 0x0c), which drivers serve like received data; no clock is involved.
 *
 *     receive() -> backlog (bounded) -> receiver FIFO (16; 1 while FIFOs are off) -> RBR
 *
 * The backlog stands for a sender that obeys flow control: it refills the FIFO whenever the guest makes room,
 * so input never overruns. Only loopback can, as there the guest is the sender. While loopback is on, the
 * backlog waits. So it does while RTS is down, if the guest has raised it before: to a guest that never does,
 * flow control means nothing.
 */
import type { StateReader, StateWriter } from '../base/state.ts'
import type { AccessSize, Device, InterruptLine } from '../machine/device.ts'
import { ByteBacklog, INPUT_BACKLOG_MAX } from './backlog.ts'
import { loadLimited, loadLimitedBytes } from './fields.ts'

const RBR_THR = 0
const IER = 1
const IIR_FCR = 2
const LCR = 3
const MCR = 4
const LSR = 5
const MSR = 6
const SCR = 7

const IER_RECEIVED = 0x01
const IER_TRANSMITTER = 0x02
const IER_LINE = 0x04
const IER_MODEM = 0x08

const IIR_NONE = 0x01
const IIR_MODEM = 0x00
const IIR_TRANSMITTER = 0x02
const IIR_RECEIVED = 0x04
const IIR_LINE = 0x06
const IIR_TIMEOUT = 0x0c
const IIR_FIFOS_ON = 0xc0

const FCR_ENABLE = 0x01
const FCR_CLEAR_RECEIVER = 0x02
/** The bits of FCR that stay: enable, DMA mode, trigger level. */
const FCR_KEPT = 0xc9

const LCR_DIVISOR = 0x80
const MCR_BITS = 0x1f
const MCR_RTS = 0x02
const MCR_LOOPBACK = 0x10
const LSR_DATA = 0x01
const LSR_OVERRUN = 0x02
const LSR_TRANSMITTER_EMPTY = 0x60
const MSR_RING = 0x40
/** Carrier, data set ready and clear to send: somebody is always at the other end. */
const MSR_CONNECTED = 0xb0

const FIFO_BYTES = 16
/**
 * What `room` is at most. The FIFO takes no time to fill: a driver may find all of this in one interrupt, and must have
 * a place for it before it can lower RTS (Linux has 64 KiB).
 */
const ROOM_MAX = 4096
const TRIGGER_LEVELS = [1, 4, 8, 14] as const

export interface Uart16550Options {
  readonly name: string
  readonly line: InterruptLine
  /** A byte that the guest sends. */
  readonly transmit: (byte: number) => void
}

export class Uart16550 implements Device {
  readonly name: string
  readonly #line: InterruptLine
  readonly #transmit: (byte: number) => void
  readonly #backlog = new ByteBacklog(INPUT_BACKLOG_MAX)
  #fifo: number[] = []
  #divisor = 1
  #interruptEnable = 0
  #fifoControl = 0
  #lineControl = 0
  #modemControl = 0
  #scratch = 0
  #overrun = false
  /** The transmitter became empty, or its interrupt was enabled, and IIR has not reported it yet. */
  #transmitterPending = false
  /** The low half of MSR: which modem lines changed since it was read. */
  #modemChanges = 0
  /** The guest has raised RTS since its reset. */
  #usesRts = false

  constructor(options: Uart16550Options) {
    this.name = options.name
    this.#line = options.line
    this.#transmit = options.transmit
  }

  /** How many bytes the outside may send now without losing any; none while nothing in the guest listens. */
  get room(): number {
    const listens = this.#rts() || (this.#interruptEnable & IER_RECEIVED) !== 0
    return listens && !this.#loopback() ? Math.max(0, ROOM_MAX - this.#backlog.length) : 0
  }

  /** Takes input from outside. Returns how many bytes were dropped because the backlog is full. */
  receive(bytes: Uint8Array): number {
    const dropped = this.#backlog.push(bytes)
    this.#update()
    return dropped
  }

  read(offset: number, _size: AccessSize): number {
    const value = this.#readRegister(offset)
    this.#update()
    return value
  }

  write(offset: number, _size: AccessSize, value: number): void {
    this.#writeRegister(offset, value & 0xff)
    this.#update()
  }

  reset(): void {
    this.#backlog.clear()
    this.#fifo = []
    this.#divisor = 1
    this.#interruptEnable = 0
    this.#fifoControl = 0
    this.#lineControl = 0
    this.#modemControl = 0
    this.#scratch = 0
    this.#overrun = false
    this.#transmitterPending = false
    this.#modemChanges = 0
    this.#usesRts = false
    this.#update()
  }

  save(writer: StateWriter): void {
    writer.section(this.name, 2, () => {
      writer.bytes('fifo', Uint8Array.from(this.#fifo))
      this.#backlog.save(writer, 'backlog')
      writer.u32('divisor', this.#divisor)
      writer.u32('interruptEnable', this.#interruptEnable)
      writer.u32('fifoControl', this.#fifoControl)
      writer.u32('lineControl', this.#lineControl)
      writer.u32('modemControl', this.#modemControl)
      writer.u32('scratch', this.#scratch)
      writer.flag('overrun', this.#overrun)
      writer.flag('transmitterPending', this.#transmitterPending)
      writer.u32('modemChanges', this.#modemChanges)
      writer.flag('usesRts', this.#usesRts)
    })
  }

  load(reader: StateReader): void {
    reader.section(this.name, 2, () => {
      this.#fifo = [...loadLimitedBytes(reader, 'fifo', FIFO_BYTES)]
      this.#backlog.load(reader, 'backlog')
      this.#divisor = loadLimited(reader, 'divisor', 0xffff)
      this.#interruptEnable = loadLimited(reader, 'interruptEnable', 0x0f)
      this.#fifoControl = loadLimited(reader, 'fifoControl', FCR_KEPT)
      this.#lineControl = loadLimited(reader, 'lineControl', 0xff)
      this.#modemControl = loadLimited(reader, 'modemControl', MCR_BITS)
      this.#scratch = loadLimited(reader, 'scratch', 0xff)
      this.#overrun = reader.flag('overrun')
      this.#transmitterPending = reader.flag('transmitterPending')
      this.#modemChanges = loadLimited(reader, 'modemChanges', 0x0f)
      this.#usesRts = reader.flag('usesRts')
    })
    this.#line(this.#reason() !== IIR_NONE)
  }

  #readRegister(offset: number): number {
    switch (offset) {
      case RBR_THR:
        return this.#divisorSelected() ? this.#divisor & 0xff : (this.#fifo.shift() ?? 0)
      case IER:
        return this.#divisorSelected() ? this.#divisor >> 8 : this.#interruptEnable
      case IIR_FCR:
        return this.#identify()
      case LCR:
        return this.#lineControl
      case MCR:
        return this.#modemControl
      case LSR:
        return this.#readLineStatus()
      case MSR:
        return this.#readModemStatus()
      case SCR:
        return this.#scratch
      default:
        return 0
    }
  }

  #writeRegister(offset: number, value: number): void {
    switch (offset) {
      case RBR_THR:
        if (this.#divisorSelected()) this.#divisor = (this.#divisor & 0xff00) | value
        else this.#send(value)
        break
      case IER:
        if (this.#divisorSelected()) this.#divisor = (this.#divisor & 0x00ff) | (value << 8)
        else this.#setInterruptEnable(value & 0x0f)
        break
      case IIR_FCR:
        this.#setFifoControl(value)
        break
      case LCR:
        this.#lineControl = value
        break
      case MCR:
        this.#setModemControl(value & MCR_BITS)
        break
      case SCR:
        this.#scratch = value
        break
    }
  }

  #divisorSelected(): boolean {
    return (this.#lineControl & LCR_DIVISOR) !== 0
  }

  #loopback(): boolean {
    return (this.#modemControl & MCR_LOOPBACK) !== 0
  }

  /** Whether the guest asks to be sent to. */
  #rts(): boolean {
    return !this.#loopback() && (this.#modemControl & MCR_RTS) !== 0
  }

  #capacity(): number {
    return (this.#fifoControl & FCR_ENABLE) !== 0 ? FIFO_BYTES : 1
  }

  #send(byte: number): void {
    this.#transmitterPending = true
    if (!this.#loopback()) this.#transmit(byte)
    else if (this.#fifo.length < this.#capacity()) this.#fifo.push(byte)
    else this.#overrun = true
  }

  /** Enabling the transmitter's interrupt while it is empty raises it, which drivers use to start sending. */
  #setInterruptEnable(value: number): void {
    if ((value & ~this.#interruptEnable & IER_TRANSMITTER) !== 0) this.#transmitterPending = true
    this.#interruptEnable = value
  }

  /** Turning the FIFOs on or off clears them. */
  #setFifoControl(value: number): void {
    const toggled = ((value ^ this.#fifoControl) & FCR_ENABLE) !== 0
    if (toggled || (value & FCR_CLEAR_RECEIVER) !== 0) this.#fifo = []
    this.#fifoControl = (value & FCR_ENABLE) !== 0 ? value & FCR_KEPT : 0
  }

  #setModemControl(value: number): void {
    const before = this.#modemLines()
    this.#modemControl = value
    this.#usesRts ||= this.#rts()
    const changed = before ^ this.#modemLines()
    // The ring indicator counts only when it ends (trailing edge).
    const counted = changed & ~(MSR_RING & ~before)
    this.#modemChanges |= counted >> 4
  }

  /**
   * The high half of MSR. In loopback the outputs are its inputs: DTR to DSR, RTS to CTS, OUT1 to RI, OUT2 to
   * DCD.
   */
  #modemLines(): number {
    if (!this.#loopback()) return MSR_CONNECTED
    const control = this.#modemControl
    const swapped = ((control & 1) << 1) | ((control & 2) >> 1)
    return (swapped | (control & 0x0c)) << 4
  }

  #readModemStatus(): number {
    const value = this.#modemLines() | this.#modemChanges
    this.#modemChanges = 0
    return value
  }

  #readLineStatus(): number {
    const value =
      LSR_TRANSMITTER_EMPTY | (this.#fifo.length > 0 ? LSR_DATA : 0) | (this.#overrun ? LSR_OVERRUN : 0)
    this.#overrun = false
    return value
  }

  /** Reads IIR: reporting the transmitter's interrupt clears it. */
  #identify(): number {
    const reason = this.#reason()
    if (reason === IIR_TRANSMITTER) this.#transmitterPending = false
    return reason | ((this.#fifoControl & FCR_ENABLE) !== 0 ? IIR_FIFOS_ON : 0)
  }

  /** The pending interrupt of the highest priority, as IIR encodes it. */
  #reason(): number {
    const enabled = this.#interruptEnable
    if ((enabled & IER_LINE) !== 0 && this.#overrun) return IIR_LINE
    if ((enabled & IER_RECEIVED) !== 0 && this.#fifo.length > 0) {
      return this.#fifo.length >= this.#trigger() ? IIR_RECEIVED : IIR_TIMEOUT
    }
    if ((enabled & IER_TRANSMITTER) !== 0 && this.#transmitterPending) return IIR_TRANSMITTER
    return (enabled & IER_MODEM) !== 0 && this.#modemChanges !== 0 ? IIR_MODEM : IIR_NONE
  }

  #trigger(): number {
    return (this.#fifoControl & FCR_ENABLE) !== 0 ? TRIGGER_LEVELS[this.#fifoControl >> 6]! : 1
  }

  #update(): void {
    const room = this.#capacity() - this.#fifo.length
    const isHeld = this.#loopback() || (this.#usesRts && !this.#rts())
    if (room > 0 && this.#backlog.length > 0 && !isHeld) {
      this.#fifo.push(...this.#backlog.take(Math.min(room, this.#backlog.length)))
    }
    this.#line(this.#reason() !== IIR_NONE)
  }
}

/**
 * A whole computer: machine, devices and built-in SBI, as a host drives it.
 *
 *     run(limit)          executes; afterwards `takeOutputs`, `takeDiskRequests`, `entropyWanted`, `power` say what it wants
 *     deliver(event)      applies something from outside at the present position
 *     saveState, loadState, digest
 *
 * What comes in and goes out is numbered by port (PORT). Ordinals count what a port has put out in this life: bytes of
 * the consoles, frames of the network. They are state, so that a copy goes on counting where the other one stopped.
 */
import { assert } from '../base/assert.ts'
import { hash64 } from '../base/hash64.ts'
import { StateReader, StateWriter } from '../base/state.ts'
import { Aclint } from '../devices/aclint.ts'
import { GoldfishRtc } from '../devices/goldfish_rtc.ts'
import { Plic } from '../devices/plic.ts'
import { type PowerRequest, Syscon } from '../devices/syscon.ts'
import { Uart16550 } from '../devices/uart16550.ts'
import { type DiskRequest, VirtioBlock } from '../devices/virtio_block.ts'
import { VirtioConsole } from '../devices/virtio_console.ts'
import { VirtioEntropy } from '../devices/virtio_entropy.ts'
import { type VirtioFunction, VirtioMmio } from '../devices/virtio_mmio.ts'
import { VirtioNet } from '../devices/virtio_net.ts'
import { VmGeneration } from '../devices/vm_generation.ts'
import type { CompletionStatus, ControlOperation } from '../log/record.ts'
import type { Mapping } from '../machine/bus.ts'
import type { ClockEvent } from '../machine/guest_time.ts'
import { type Engine, LINE, Machine, type Stop } from '../machine/machine.ts'
import type { Translation } from '../machine/machine_options.ts'
import type { EmissionThreadStarter } from '../machine/translator/emission_thread.ts'
import type { TranslationObserver } from '../machine/translator/observer.ts'
import { type BootFiles, loadBootImage } from './boot_image.ts'
import {
  CLINT,
  type DeviceRange,
  GENERATION,
  PLIC,
  PLIC_SOURCES,
  RTC,
  SYSCON,
  UART,
  virtioSlot,
} from './memory_map.ts'
import { enterSupervisor, Sbi } from './sbi.ts'

/** Ports of the computer, as records number them. */
/** The last two only take input. */
export const PORT = { uart: 0, console: 1, net: 2, entropy: 3, generation: 4 } as const
export const PORT_COUNT = 4

/** 2: the machine's sections stand inline, where they were one field of bytes. */
const STATE_VERSION = 2

/** What a computer is; two computers of equal specification and equal history are equal. */
export interface ComputerSpecification {
  /** 1 to 8. */
  readonly harts: number
  readonly ramBytes: number
  readonly bootArguments: string
  /** Seeds the guest's random numbers (32 bytes); part of the configuration, since nothing else may be random. */
  readonly rngSeed: Uint8Array
  /** Capacity in units of 512 bytes; no disk if absent. */
  readonly diskSectors?: number
  /** Six bytes; no network device if absent. */
  readonly mac?: Uint8Array
}

export interface ComputerOptions {
  readonly engine: Engine
  readonly specification: ComputerSpecification
  /** Which code is translated; none by default. No part of the specification: copies may differ in it. */
  readonly translation?: Translation
  /** Hears of what is translated, for a profile. */
  readonly observer?: TranslationObserver | undefined
  /** Starts the thread that emits what is translated; without it that is done behind slices. */
  readonly emission?: EmissionThreadStarter | undefined
  /** The kernel and initial RAM disk; asked for at every (re)start of the guest, and the same each time. */
  readonly bootFiles: () => BootFiles
}

/** Something from outside: what a log record says, with the data that the log leaves out. */
export type ExternalEvent =
  | { readonly kind: 'input'; readonly port: number; readonly bytes: Uint8Array }
  | ({ readonly kind: 'clock'; readonly rtcOffsetNs: bigint } & ClockEvent)
  | {
      readonly kind: 'completion'
      readonly request: number
      readonly status: CompletionStatus
      readonly data?: Uint8Array
    }
  | { readonly kind: 'control'; readonly operation: ControlOperation; readonly argument: bigint }

/** Something that left a port; `ordinal` counts what the port has put out, this included. */
export interface Output {
  readonly port: number
  readonly ordinal: bigint
  readonly bytes: Uint8Array
}

/** Why `run` came back. */
export type ComputerStop =
  | Stop
  | { readonly reason: 'power'; readonly request: PowerRequest }
  /** Much output or many disk requests wait to be taken, or a frame (`stopsAtFrames`); running on is allowed. */
  | { readonly reason: 'output' }

/** Bytes that a console may put out in one piece. */
const PIECE_BYTES = 4096

/** Bytes waiting to be taken at which `run` ends early: no guest may fill the host's memory within one run. */
const WAITING_BYTES_MAX = 1 << 20
/** What an output or a disk request costs beyond its bytes. */
const WAITING_OVERHEAD = 64

/** A console output that may still grow. */
interface Piece {
  readonly port: number
  readonly bytes: Uint8Array
  length: number
}

export class Computer {
  readonly machine: Machine
  readonly specification: ComputerSpecification
  /** Whether `run` ends early where a frame has left, so that it need not wait for the end of the run. */
  stopsAtFrames = false
  readonly #options: ComputerOptions
  readonly #ordinals = new Array<bigint>(PORT_COUNT).fill(0n)
  #outputs: Output[] = []
  #open: Piece | undefined
  #diskRequests: DiskRequest[] = []
  #outputBytes = 0
  #frameWaits = false
  #diskRequestBytes = 0
  #power: PowerRequest | undefined
  #boots = 0
  // Set by #devices, which the machine's constructor calls.
  #uart!: Uart16550
  #rtc!: GoldfishRtc
  #block: VirtioBlock | undefined
  #console!: VirtioConsole
  #entropy!: VirtioEntropy
  #generation!: VmGeneration
  #net: VirtioNet | undefined

  constructor(options: ComputerOptions) {
    this.#options = options
    this.specification = options.specification
    const { harts, ramBytes } = options.specification
    let sbi: Sbi | undefined
    this.machine = new Machine({
      engine: options.engine,
      translation: options.translation ?? 'off',
      observer: options.observer,
      emission: options.emission,
      harts,
      ramBytes,
      devices: (machine) => this.#devices(machine),
      onSbiCall: (hart) => sbi!.call(hart),
    })
    sbi = new Sbi({
      machine: this.machine,
      print: (bytes) => this.#stream(PORT.uart, bytes),
      power: (request) => this.#requestPower(request),
    })
    const rtc = this.#rtc
    this.machine.boardTimers.push({ deadline: () => rtc.alarmTicks(), fire: () => rtc.checkAlarm() })
  }

  get position(): bigint {
    return this.machine.position
  }

  /** How often the guest has been started: once, and once more at each of its resets. */
  get boots(): number {
    return this.#boots
  }

  /** Loads the operating system and puts hart 0 at its entry: power-on, and every reset by the guest. */
  start(): void {
    const { harts, ramBytes, bootArguments } = this.specification
    const rngSeed = this.#seed()
    this.#boots++
    this.machine.reset(0n)
    const files = this.#options.bootFiles()
    const entry = loadBootImage(this.machine.ram, {
      ...files,
      ...{ harts, ramBytes, bootArguments, rngSeed, virtioSlots: this.#virtioSlots() },
    })
    const hart = this.machine.harts[0]!
    enterSupervisor(hart, BigInt(entry.kernel), BigInt(entry.deviceTree))
    this.machine.restartHart(0)
  }

  /** Executes up to position `limit`. A guest's reset is carried out within. */
  run(limit: bigint): ComputerStop {
    for (;;) {
      const stop = this.machine.run(limit)
      if (stop.reason !== 'request') return stop
      const request = this.#power
      if (request === undefined) {
        if (this.#muchWaits || this.#frameWaits) return { reason: 'output' }
        continue
      }
      this.#power = undefined
      if (request.kind === 'power-off') return { reason: 'power', request }
      this.start()
    }
  }

  /** Applies an event at the present position. */
  deliver(event: ExternalEvent): void {
    switch (event.kind) {
      case 'input':
        this.#input(event.port, event.bytes)
        return
      case 'clock':
        this.machine.correctClock(event)
        this.#rtc.setOffset(event.rtcOffsetNs)
        return
      case 'completion':
        this.#block?.complete(event.request, event.status === 'ok' ? 'ok' : 'error', event.data)
        return
      case 'control':
        this.#control(event.operation, event.argument)
    }
  }

  /** What has left since the last call, in order. */
  takeOutputs(): Output[] {
    this.#closePiece()
    const outputs = this.#outputs
    this.#outputs = []
    this.#outputBytes = 0
    this.#frameWaits = false
    return outputs
  }

  /** Disk requests made since the last call, in order. */
  takeDiskRequests(): DiskRequest[] {
    const requests = this.#diskRequests
    this.#diskRequests = []
    this.#diskRequestBytes = 0
    return requests
  }

  /** All requests that are not complete, in order: what a restored computer's host submits again. */
  get diskRequestsInFlight(): readonly DiskRequest[] {
    return this.#block?.inFlight() ?? []
  }

  /** Bytes of entropy that the guest waits for. */
  get entropyWanted(): number {
    return this.#entropy.wanted
  }

  /** How many bytes the serial console takes now without losing any; none while nothing in the guest listens. */
  get consoleRoom(): number {
    return this.#uart.room
  }

  /** How many frames the network device takes now without losing any for want of a buffer. */
  get frameRoom(): number {
    return this.#net?.room ?? Number.POSITIVE_INFINITY
  }

  /** The RTC's distance from guest time that makes it show `unixNs` now. */
  rtcOffsetFor(unixNs: bigint): bigint {
    return BigInt.asUintN(64, unixNs - this.machine.now * 100n)
  }

  saveState(): Uint8Array {
    const writer = new StateWriter()
    assert(this.#power === undefined, 'a snapshot between a power request and its execution')
    writer.section('computer', STATE_VERSION, () => {
      for (const [port, ordinal] of this.#ordinals.entries()) writer.u64(`ordinal${port}`, ordinal)
      writer.u32('boots', this.#boots)
      this.machine.save(writer)
    })
    return writer.finish()
  }

  loadState(state: Uint8Array): void {
    const reader = new StateReader(state)
    reader.section('computer', STATE_VERSION, () => {
      for (let port = 0; port < PORT_COUNT; port++) this.#ordinals[port] = reader.u64(`ordinal${port}`)
      this.#boots = reader.u32('boots')
      this.machine.load(reader)
    })
    reader.finish()
    this.#outputs = []
    this.#outputBytes = 0
    this.#open = undefined
    this.#diskRequests = []
    this.#diskRequestBytes = 0
  }

  /** A hash of all state, RAM included. `state` is what `saveState` gives at this moment, if it is known. */
  digest(state = this.saveState()): bigint {
    return BigInt.asUintN(64, hash64(state) + this.machine.ram.hash())
  }

  #devices(machine: Machine): Mapping[] {
    const { harts } = this.specification
    const clock = (): bigint => machine.now
    const plic = new Plic({
      ...{ harts, sources: PLIC_SOURCES },
      line: (hart, mode, level) => machine.setLine(hart, mode === 'M' ? LINE.meip : LINE.seip, level),
    })
    const aclint = new Aclint({
      ...{ harts, clock },
      softwareInterrupt: (hart, level) => machine.setLine(hart, LINE.msip, level),
      timerCompare: (hart, value) => machine.setTimerCompare(hart, value),
    })
    this.#uart = new Uart16550({
      name: 'uart0',
      line: plic.source(UART.interrupt),
      transmit: (byte) => this.#stream(PORT.uart, Uint8Array.of(byte)),
    })
    this.#rtc = new GoldfishRtc({
      clock,
      line: plic.source(RTC.interrupt),
      alarmChanged: () => machine.timersChanged(),
    })
    this.#generation = new VmGeneration({ line: plic.source(GENERATION.interrupt) })
    const syscon = new Syscon({ request: (request) => this.#requestPower(request) })
    return [
      place(CLINT, aclint),
      place(PLIC, plic),
      place(UART, this.#uart),
      place(RTC, this.#rtc),
      place(GENERATION, this.#generation),
      place(SYSCON, syscon),
      ...this.#virtioDevices(machine, plic),
    ]
  }

  /** Slot 0 is the disk, then console, entropy and network, as far as there are. */
  #virtioDevices(machine: Machine, plic: Plic): Mapping[] {
    const { diskSectors, mac } = this.specification
    this.#console = new VirtioConsole({ transmit: (bytes) => this.#stream(PORT.console, bytes) })
    // Wanted entropy is asked for by `entropyWanted`.
    this.#entropy = new VirtioEntropy({ request: () => {} })
    const functions: [string, VirtioFunction][] = []
    if (diskSectors !== undefined) {
      const submit = (request: DiskRequest): void => this.#submitDisk(request)
      this.#block = new VirtioBlock({ sectors: diskSectors, serial: 'understudy-disk', submit })
      functions.push(['disk0', this.#block])
    }
    functions.push(['console0', this.#console], ['entropy0', this.#entropy])
    if (mac !== undefined) {
      this.#net = new VirtioNet({ mac, transmit: (frame) => this.#frame(frame) })
      functions.push(['net0', this.#net])
    }
    return functions.map(([name, virtioFunction], slot) => {
      const range = virtioSlot(slot)
      const line = plic.source(range.interrupt)
      return place(range, new VirtioMmio({ name, memory: machine.ram, line, function: virtioFunction }))
    })
  }

  #virtioSlots(): number {
    return 2 + (this.#block === undefined ? 0 : 1) + (this.#net === undefined ? 0 : 1)
  }

  #input(port: number, bytes: Uint8Array): void {
    if (port === PORT.uart) this.#uart.receive(bytes)
    else if (port === PORT.console) this.#console.receive(bytes)
    else if (port === PORT.entropy) this.#entropy.supply(bytes)
    else if (port === PORT.generation) this.#generation.change(bytes)
    else if (port === PORT.net) this.#net?.receive(bytes)
    else assert(false, `no port ${port}`)
  }

  #control(operation: ControlOperation, argument: bigint): void {
    if (operation === 'resize')
      this.#console.resize(Number(argument & 0xffffn), Number((argument >> 16n) & 0xffffn))
  }

  #requestPower(request: PowerRequest): void {
    this.#power ??= request
    this.machine.requestStop()
  }

  /** Bytes of a console: those that follow each other on a port become one output. */
  #stream(port: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const open = this.#openPiece(port)
      const piece = bytes.subarray(at, at + PIECE_BYTES - open.length)
      open.bytes.set(piece, open.length)
      open.length += piece.length
      at += piece.length
      this.#ordinals[port]! += BigInt(piece.length)
    }
    this.#outputBytes += bytes.length
    this.#stopIfMuchWaits()
  }

  /** The piece that the next byte of a port belongs to. */
  #openPiece(port: number): Piece {
    const open = this.#open
    if (open !== undefined && open.port === port && open.length < PIECE_BYTES) return open
    this.#closePiece()
    this.#open = { port, bytes: new Uint8Array(PIECE_BYTES), length: 0 }
    return this.#open
  }

  #closePiece(): void {
    const open = this.#open
    if (open === undefined) return
    this.#open = undefined
    this.#outputs.push({
      port: open.port,
      ordinal: this.#ordinals[open.port]!,
      bytes: open.bytes.slice(0, open.length),
    })
  }

  #frame(frame: Uint8Array): void {
    this.#closePiece()
    this.#ordinals[PORT.net]!++
    this.#outputs.push({ port: PORT.net, ordinal: this.#ordinals[PORT.net]!, bytes: frame })
    this.#outputBytes += frame.length + WAITING_OVERHEAD
    if (this.stopsAtFrames) {
      this.#frameWaits = true
      this.machine.requestStop()
    }
    this.#stopIfMuchWaits()
  }

  #submitDisk(request: DiskRequest): void {
    this.#diskRequests.push(request)
    this.#diskRequestBytes += (request.data?.length ?? 0) + WAITING_OVERHEAD
    this.#stopIfMuchWaits()
  }

  get #muchWaits(): boolean {
    return this.#outputBytes + this.#diskRequestBytes >= WAITING_BYTES_MAX
  }

  #stopIfMuchWaits(): void {
    if (this.#muchWaits) this.machine.requestStop()
  }

  /** Random bits for the guest's next start: the configured seed, another one at each start. */
  #seed(): Uint8Array {
    const seed = new Uint8Array(32)
    const view = new DataView(seed.buffer)
    for (let i = 0; i < 4; i++)
      view.setBigUint64(i * 8, hash64(this.specification.rngSeed, this.#boots * 4 + i), true)
    return seed
  }
}

const place = ({ address, bytes }: DeviceRange, device: Mapping['device']): Mapping => ({
  ...{ base: address, size: bytes },
  device,
})

/**
 * A deterministic computer that is as small as can be, and has everything that makes replication hard: a position that
 * every step moves, RAM with a digest, guest time, timers, disk requests in flight, outputs with ordinals, randomness.
 *
 *     run(limit)                steps until `limit`, or until it stops earlier: idle, off, or something comes out
 *     input, correctClock,      events, at the present position
 *     complete, powerButton
 *     takeOutputs,              what has come out
 *     takeRequests
 *
 * Its software (toy_service.ts) serves one request at a time. It runs *tasks*, one after the other; each takes a number
 * of steps, and does what it is for in the last one. Without a task the machine is idle and its position stands still.
 * Every step and every event is mixed into two registers, so that an event at another position is another machine.
 */
import { assert } from '../src/base/assert.ts'
import { hash64 } from '../src/base/hash64.ts'
import type { StateReader, StateWriter } from '../src/base/state.ts'
import { encodeAscii } from '../src/base/text.ts'
import { type ClockCorrection, GuestClock } from './guest_clock.ts'
import { HashedPages, PAGE_BYTES } from './hashed_pages.ts'
import { KeyTable } from './key_table.ts'
import { type DiskRequest, type GuestOutput, PORT } from './machine_ports.ts'
import { loadRequest, loadServing, type Serving, saveRequest, saveServing } from './serving.ts'
import {
  DISK_BYTES,
  decodeRecord,
  decodeRequest,
  encodeAnswer,
  encodeRecord,
  FLUSH_KEY,
  RECORD_BYTES,
  recordOffset,
  valueAfter,
} from './toy_service.ts'

/** RAM: two pages of key_table.ts, two that steps read and write, and some that nothing touches. */
const RAM_PAGES = 8
const SCRATCH = 2 * PAGE_BYTES
const SCRATCH_WORDS = 128

/** How long the guest sleeps between two rounds of housekeeping, in microseconds of guest time. */
const HOUSEKEEPING_US = 300_000
const NEVER = Number.MAX_SAFE_INTEGER

export const TASKS = ['boot', 'serve', 'finish', 'housekeeping', 'echo', 'powerOff'] as const
type TaskKind = (typeof TASKS)[number]

interface Task {
  readonly kind: TaskKind
  /** Steps until it does what it is for. */
  steps: number
  /** What it is about. */
  readonly bytes: Uint8Array
}

export class ToyMachine {
  #position = 0
  #a = 0x1357_9bdf
  #b = 0x0246_8ace
  readonly #clock = new GuestClock()
  #timerUs = NEVER
  #timerPosition = NEVER
  #tasks: Task[] = []
  #requests: Uint8Array[] = []
  #serving: Serving | undefined
  /** Disk requests that the guest has made and not been told of. */
  #pending = new Map<number, DiskRequest>()
  #lastRequest = 0
  readonly #ordinals = new Map<number, number>()
  #boot = 0
  #rounds = 0
  #wantsEntropy = false
  #isOff = false
  /** The flush whose end the guest has been told of last, until `takeFlush`. */
  #flushed: number | undefined
  #outputs: GuestOutput[] = []
  #made: DiskRequest[] = []
  readonly #ram = new HashedPages(new Uint8Array(RAM_PAGES * PAGE_BYTES))
  readonly #table = new KeyTable(this.#ram)
  /** The disk as the guest sees it: all that it has written. */
  readonly #view = new HashedPages(new Uint8Array(DISK_BYTES))

  private constructor() {}

  /** Starts a machine from a disk, at position 0, in the life of this number. */
  static boot(disk: Uint8Array, life: number): ToyMachine {
    const machine = new ToyMachine()
    machine.#boot = life
    machine.#view.write(0, disk)
    machine.#table.recover(disk)
    machine.#mix(machine.flushes ^ (life << 20))
    machine.#start('boot', 40)
    return machine
  }

  get position(): number {
    return this.#position
  }

  /** Guest time in microseconds. */
  get timeUs(): number {
    return this.#clock.at(this.#position)
  }

  /** When the guest wants to be woken. */
  get timerUs(): number {
    return this.#timerUs
  }

  get isOff(): boolean {
    return this.#isOff
  }

  /** Whether the position stands still until something comes from outside. */
  get isIdle(): boolean {
    return this.#isOff || (this.#tasks.length === 0 && this.#position < this.#timerPosition)
  }

  get wantsEntropy(): boolean {
    return this.#wantsEntropy
  }

  get rtcOffsetNs(): bigint {
    return this.#clock.rtcOffsetNs
  }

  /** Disk requests that have been made and not completed. */
  get pending(): ReadonlyMap<number, DiskRequest> {
    return this.#pending
  }

  /** The count of flushes in its disk's records. */
  get flushes(): number {
    return this.#table.row(FLUSH_KEY).value
  }

  get ramPages(): number {
    return this.#ram.pages
  }

  /** Runs to `limit`, or until it is idle or off, or has put out or asked for something. */
  run(limit: number): void {
    while (this.#position < limit && !this.#isOff && this.#outputs.length + this.#made.length === 0) {
      if (this.#position >= this.#timerPosition) this.#onTimer()
      const task = this.#tasks[0]
      if (task === undefined) return
      this.#steps(Math.min(task.steps, limit - this.#position, this.#timerPosition - this.#position), task)
    }
  }

  input(port: number, bytes: Uint8Array): void {
    this.#mixBytes(bytes)
    if (port === PORT.entropy) {
      this.#wantsEntropy = false
      return
    }
    if (port === PORT.console) return this.#start('echo', 8, bytes)
    this.#requests.push(bytes)
    this.#serveNext()
  }

  correctClock(correction: ClockCorrection): void {
    this.#clock.correct(this.#position, correction)
    this.#mix(this.#clock.at(this.#position))
    this.#setTimer(this.#timerUs)
  }

  /** A disk request is done; `data` is what was read. */
  complete(number: number, status: 'ok' | 'error', data: Uint8Array | undefined): void {
    const request = this.#pending.get(number)
    assert(request !== undefined, `disk request ${number} is not under way`)
    this.#pending.delete(number)
    this.#mix(number * 2 + (status === 'ok' ? 1 : 0))
    const serving = this.#serving
    if (serving === undefined || !serving.waits.includes(number)) return
    serving.waits = serving.waits.filter((wait) => wait !== number)
    if (status !== 'ok') serving.isFailed = true
    if (data !== undefined) {
      this.#mixBytes(data)
      serving.found = decodeRecord(data, decodeRequest(serving.bytes)!.key)?.value
    }
    if (serving.waits.length > 0) return
    if (serving.isWriting && !serving.isFailed) this.#flushed = this.#table.row(FLUSH_KEY).attempt
    this.#start('finish', 5)
  }

  powerButton(): void {
    this.#start('powerOff', 20)
  }

  takeOutputs(): GuestOutput[] {
    const outputs = this.#outputs
    this.#outputs = []
    return outputs
  }

  takeRequests(): DiskRequest[] {
    const made = this.#made
    this.#made = []
    return made
  }

  /** The number of the flush that has just been reported to the guest, if any. */
  takeFlush(): number | undefined {
    const flushed = this.#flushed
    this.#flushed = undefined
    return flushed
  }

  /** Registers, devices and RAM: what a digest record carries. */
  digest(): bigint {
    return this.#digestWith(this.#ram.digest())
  }

  /** The same for what is really in RAM, together with the disk. */
  stateDigest(): bigint {
    return BigInt.asUintN(64, this.#digestWith(this.#ram.trueDigest()) * 5n + this.#view.digest())
  }

  #digestWith(ram: bigint): bigint {
    const registers = (BigInt(this.#a >>> 0) << 32n) | BigInt(this.#b >>> 0)
    const devices = this.#tasks.length + this.#requests.length * 64 + this.#pending.size * 4096
    return BigInt.asUintN(64, ram * 3n + registers + BigInt(this.#position * 4096 + devices))
  }

  /** Re-reads pages of RAM: the digest of what is there, or the number of a page that has changed by itself. */
  reread(firstPage: number, pages: number): { digest: bigint } | { corruptPage: number } {
    let digest = 0n
    for (let page = firstPage; page < firstPage + pages; page++) {
      const hash = this.#ram.reread(page)
      if (hash === undefined) return { corruptPage: page }
      digest += hash
    }
    return { digest: BigInt.asUintN(64, digest) }
  }

  /** Flips a bit behind the digest's back: a fault. */
  corrupt(bit: number): void {
    this.#ram.corrupt(bit)
  }

  /** A bug that tests plant: the next life's outputs count from the start. */
  restartOrdinals(): void {
    this.#ordinals.clear()
  }

  // Steps

  #steps(count: number, task: Task): void {
    let [a, b] = [this.#a, this.#b]
    let position = this.#position
    for (let i = 0; i < count; i++) {
      position++
      a = Math.imul(a ^ (a >>> 15) ^ position, 0x2c1b_3c6d)
      b = (b + a) | 0
      if ((position & 31) === 0) {
        const word = SCRATCH + ((a >>> 8) % SCRATCH_WORDS) * 4
        b = Math.imul(b ^ this.#ram.u32(word), 0x297a_2d39)
        this.#ram.setU32(word, b >>> 0)
      }
    }
    this.#a = a
    this.#b = b
    this.#position = position
    task.steps -= count
    if (task.steps > 0) return
    this.#tasks.shift()
    this.#finish(task)
  }

  #finish(task: Task): void {
    switch (task.kind) {
      case 'boot':
        this.#wantsEntropy = true
        this.#put(PORT.console, encodeAscii(`boot ${this.#table.row(FLUSH_KEY).value}\n`))
        return this.#setTimer(this.timeUs + HOUSEKEEPING_US)
      case 'serve':
        return this.#serve()
      case 'finish':
        return this.#finishServing()
      case 'housekeeping':
        this.#rounds++
        if (this.#rounds % 4 === 0) this.#put(PORT.console, encodeAscii(`round ${this.#rounds}\n`))
        if (this.#rounds % 8 === 0) this.#wantsEntropy = true
        return
      case 'echo':
        return this.#put(PORT.console, task.bytes)
      case 'powerOff':
        this.#isOff = true
        return
    }
  }

  #onTimer(): void {
    this.#start('housekeeping', 10 + (this.#a & 15))
    this.#setTimer(this.timeUs + HOUSEKEEPING_US)
  }

  #setTimer(us: number): void {
    this.#timerUs = us
    this.#timerPosition = us === NEVER ? NEVER : Math.max(this.#position, this.#clock.positionOf(us))
  }

  #start(kind: TaskKind, steps: number, bytes: Uint8Array = new Uint8Array(0)): void {
    this.#tasks.push({ kind, steps: steps + (this.#b & 7), bytes })
  }

  #put(port: number, bytes: Uint8Array): void {
    const ordinal = (this.#ordinals.get(port) ?? 0) + 1
    this.#ordinals.set(port, ordinal)
    this.#outputs.push({ port, ordinal, bytes, position: this.#position })
  }

  #mix(value: number): void {
    this.#a = Math.imul(this.#a ^ (value | 0), 0x85eb_ca6b) ^ (this.#a >>> 13)
    this.#b = (this.#b + this.#a) | 0
  }

  #mixBytes(bytes: Uint8Array): void {
    this.#mix(Number(hash64(bytes) & 0xffff_ffffn))
  }

  // The service

  #serveNext(): void {
    if (this.#serving !== undefined) return
    const bytes = this.#requests.shift()
    if (bytes === undefined) return
    if (decodeRequest(bytes) === undefined) return this.#serveNext()
    this.#serving = {
      bytes,
      waits: [],
      isFailed: false,
      value: 0,
      version: 0,
      place: 0,
      isWriting: false,
      found: undefined,
    }
    this.#start('serve', 30 + (this.#a & 63))
  }

  #serve(): void {
    const serving = this.#serving!
    const request = decodeRequest(serving.bytes)!
    const row = this.#table.row(request.key)
    const value = valueAfter(request, row.value)
    if (value === undefined) {
      // Now and then the answer to a read comes from the disk.
      if (request.kind !== 'get' || row.version === 0 || (this.#a & 3) !== 0) return this.#start('finish', 5)
      const read = {
        kind: 'read',
        offset: recordOffset(request.key, row.place),
        length: RECORD_BYTES,
      } as const
      serving.waits = [this.#ask({ ...read, bytes: new Uint8Array(0) })]
      return
    }
    const flush = this.#table.row(FLUSH_KEY)
    const [version, count] = [this.#table.begin(request.key), this.#table.begin(FLUSH_KEY)]
    const place = row.place === 0 ? 1 : 0
    Object.assign(serving, { value, version, place, isWriting: true })
    serving.waits = [
      this.#write(request.key, place, version, value),
      this.#write(FLUSH_KEY, flush.place === 0 ? 1 : 0, count, count),
      this.#ask({ kind: 'flush', offset: 0, length: 0, bytes: new Uint8Array(0) }),
    ]
  }

  #finishServing(): void {
    const serving = this.#serving!
    const request = decodeRequest(serving.bytes)!
    const { client, operation, key, kind } = request
    const old = this.#table.row(key).value
    const isDone = kind === 'get' || (serving.isWriting && !serving.isFailed)
    if (serving.isWriting && !serving.isFailed) {
      this.#table.set(key, serving.value, serving.version, serving.place)
      const flush = this.#table.row(FLUSH_KEY)
      this.#table.set(FLUSH_KEY, flush.attempt, flush.attempt, flush.place === 0 ? 1 : 0)
    }
    const served = this.#table.count(client)
    const value = kind === 'get' ? (serving.found ?? old) : serving.value
    const status = serving.isFailed ? 'disk error' : isDone ? 'done' : 'not done'
    this.#serving = undefined
    this.#put(PORT.net, encodeAnswer({ client, operation, status, value, served, boot: this.#boot }))
    this.#serveNext()
  }

  #write(key: number, place: 0 | 1, version: number, value: number): number {
    const bytes = encodeRecord({ key, version, value })
    const offset = recordOffset(key, place)
    this.#view.write(offset, bytes)
    return this.#ask({ kind: 'write', offset, length: bytes.length, bytes })
  }

  #ask(request: Omit<DiskRequest, 'number'>): number {
    const number = ++this.#lastRequest
    const numbered = { ...request, number }
    this.#pending.set(number, numbered)
    this.#made.push(numbered)
    return number
  }

  save(writer: StateWriter): void {
    writer.section('machine', 1, () => {
      writer.u64('position', BigInt(this.#position))
      writer.u32('a', this.#a >>> 0)
      writer.u32('b', this.#b >>> 0)
      this.#clock.save(writer)
      writer.u64('timerUs', BigInt(this.#timerUs))
      writer.u32('tasks', this.#tasks.length)
      for (const { kind, steps, bytes } of this.#tasks) {
        writer.u32('kind', TASKS.indexOf(kind))
        writer.u32('steps', steps)
        writer.bytes('bytes', bytes)
      }
      writer.u32('requests', this.#requests.length)
      for (const bytes of this.#requests) writer.bytes('request', bytes)
      writer.flag('isServing', this.#serving !== undefined)
      if (this.#serving !== undefined) saveServing(writer, this.#serving)
      writer.u32('pending', this.#pending.size)
      for (const request of this.#pending.values()) saveRequest(writer, request)
      writer.u32('lastRequest', this.#lastRequest)
      writer.u32('ports', this.#ordinals.size)
      for (const [port, ordinal] of this.#ordinals) {
        writer.u32('port', port)
        writer.u32('ordinal', ordinal)
      }
      writer.u32('boot', this.#boot)
      writer.u32('rounds', this.#rounds)
      writer.flag('wantsEntropy', this.#wantsEntropy)
      writer.flag('isOff', this.#isOff)
      writer.bytes('ram', this.#ram.bytes)
      writer.bytes('view', this.#view.bytes)
    })
  }

  static load(reader: StateReader): ToyMachine {
    const machine = new ToyMachine()
    reader.section('machine', 1, () => machine.#load(reader))
    return machine
  }

  #load(reader: StateReader): void {
    this.#position = Number(reader.u64('position'))
    this.#a = reader.u32('a') | 0
    this.#b = reader.u32('b') | 0
    this.#clock.load(reader)
    const timerUs = Number(reader.u64('timerUs'))
    for (let count = reader.u32('tasks'); count > 0; count--) {
      const kind = TASKS[reader.u32('kind')]!
      this.#tasks.push({ kind, steps: reader.u32('steps'), bytes: reader.bytes('bytes') })
    }
    for (let count = reader.u32('requests'); count > 0; count--) this.#requests.push(reader.bytes('request'))
    if (reader.flag('isServing')) this.#serving = loadServing(reader)
    for (let count = reader.u32('pending'); count > 0; count--) {
      const request = loadRequest(reader)
      this.#pending.set(request.number, request)
    }
    this.#lastRequest = reader.u32('lastRequest')
    for (let count = reader.u32('ports'); count > 0; count--) {
      const port = reader.u32('port')
      this.#ordinals.set(port, reader.u32('ordinal'))
    }
    this.#boot = reader.u32('boot')
    this.#rounds = reader.u32('rounds')
    this.#wantsEntropy = reader.flag('wantsEntropy')
    this.#isOff = reader.flag('isOff')
    this.#ram.write(0, reader.bytes('ram'))
    this.#view.write(0, reader.bytes('view'))
    this.#setTimer(timerUs)
  }
}

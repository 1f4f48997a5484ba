/**
 * One process's copy of the machine: what the effects of its member that concern the machine do. The computer is on a
 * thread of its own (machine_thread.ts), the disk is here.
 *
 *     empty --boot--> primary
 *     empty --storeChunk..., install--> backup --takeOver--> primary
 */
import { assert } from '../../base/assert.ts'
import { FormatError, UserError } from '../../base/errors.ts'
import type { BaseImage } from '../../host/base_image.ts'
import type { DiskFault } from '../../host/disk_faults.ts'
import { systemErrorCode } from '../../host/file_error.ts'
import type { HeldDisk } from '../../host/held_disk.ts'
import type { JoiningDisk } from '../../host/joined_disk.ts'
import type { MachineDirectory } from '../../host/machine_directory.ts'
import type { OverlayDisk } from '../../host/overlay_disk.ts'
import { ReplicaDisk, type ReplicaDiskEvents } from '../../host/replica_disk.ts'
import { NoticeLimit } from '../../host/secure_notices.ts'
import { withinTime } from '../../host/time_limit.ts'
import { PAGE_BYTES, RAM_BASE } from '../../machine/layout.ts'
import type { ExecutionState } from '../../replication/message.ts'
import type { Effect, Frontier, Input } from '../../replication/ports.ts'
import { LifeRecording, type RecordingOptions } from './life_recording.ts'
import { MachineHandle, type MachineThreadOptions } from './machine_handle.ts'
import { PACK_PAGES, packPages } from './packed_pages.ts'
import { StateReceiver, type StateSink, StateSource } from './state_transfer.ts'
import type { Inspection, MachineCommand, MachineReport, ThreadEffect } from './thread_messages.ts'

/** How long the machine may stand still for a state that somebody asks for. */
const TAKE_MS = 10_000
/** To install a state syncs all of its disk, which takes longer than what the guest asks for: so many times the limit. */
const INSTALL_LIMITS = 10

/** Those effects that are the machine's. */
export type MachineEffect =
  | ThreadEffect
  | Extract<Effect, { kind: 'failRequests' | 'readChunk' | 'storeChunk' | 'install' }>

export interface ReplicaOptions {
  readonly thread: MachineThreadOptions
  readonly directory: MachineDirectory
  readonly base: BaseImage
  /** This host's disk, if it has one that is whole. */
  readonly disk: OverlayDisk | undefined
  /** The generation that the disk gets when this process joins. */
  readonly joinGeneration: string
  /** A disk of which an operation takes longer has failed. */
  readonly diskLimitMs: number
  /** The state from which the machine starts, if not from power-on. */
  readonly first?: FirstState
  /** Where the logs of lives that begin here are kept; nowhere if absent. */
  readonly recording?: RecordingOptions
  give(input: Input): void
  /** Tells people about something. */
  onNotice(text: string): void
  /** This process cannot go on. */
  onFailed(message: string): void
}

/** A state to start from, once. */
export interface FirstState {
  /** Loads it page by page; resolves with the state of the computer without RAM. */
  load(onPage: (page: number, bytes: Uint8Array) => void): Promise<Uint8Array>
  /** No later start is from this state, durably. */
  drop(): Promise<void>
}

/** A machine's whole state at one position. */
export interface TakenState {
  /** Of the computer without RAM. */
  readonly state: Uint8Array
  /** Of RAM, as packed_pages.ts packs them. */
  readonly pages: readonly Uint8Array[]
  readonly frontier: Frontier
  readonly disk: HeldDisk
  /** The disk is not needed any more. */
  release(): void
}

export class Replica {
  readonly #options: ReplicaOptions
  readonly #machine: MachineHandle
  #recording: LifeRecording | undefined
  #overlay: OverlayDisk | undefined
  #disk: ReplicaDisk | undefined
  #isPrimary = false
  /** What came for the machine while the disk is synced for its cold start: it goes behind the boot (duty 3). */
  #behindBoot: MachineCommand[] | undefined
  /** The state that a joining copy gets, and the join for which it is. */
  #kept: { readonly join: number; readonly source: StateSource } | undefined
  #wantedJoin: number | undefined
  /** States that were asked for otherwise, by negative numbers, and whether one holds the disk. */
  readonly #takers = new Map<number, (taken: TakenState) => void>()
  #states = 0
  #isHeld = false
  #reading: Promise<void> = Promise.resolve()
  #joining: { readonly receiver: StateReceiver; disk: JoiningDisk | undefined } | undefined
  #storing: Promise<void> = Promise.resolve()
  readonly #inspections = new Map<number, (found: Inspection | undefined) => void>()
  #inspected = 0
  #isOver = false
  /** For what a guest can do as often as it likes. */
  readonly #notices: NoticeLimit
  /** For how long the machine stood still for the last state that was taken. */
  snapshotStopMs: number | undefined

  constructor(options: ReplicaOptions) {
    this.#options = options
    this.#overlay = options.disk
    this.#notices = new NoticeLimit(options.onNotice)
    this.#machine = new MachineHandle(options.thread, (report) => this.#onReport(report))
  }

  /** What the machine does and where it is, once this copy is a primary. */
  get progress(): { readonly state: ExecutionState; readonly position: bigint } | undefined {
    return this.#isPrimary ? this.#machine.progress.read() : undefined
  }

  /** Has the thread of the heartbeats know that this one is at work. */
  tick(): void {
    this.#machine.progress.tick()
  }

  /** Where this copy's machine is. */
  get position(): bigint {
    return this.#machine.progress.read().position
  }

  /** What arrives from outside; lost while there is no machine. */
  send(command: MachineCommand): void {
    this.#machine.send(command)
  }

  /** Position and digest of the machine at a moment when it stands still. Rejects with a UserError if there is none. */
  async inspect(): Promise<Inspection> {
    const request = ++this.#inspected
    const found = await new Promise<Inspection | undefined>((resolve) => {
      this.#inspections.set(request, resolve)
      this.#machine.send({ kind: 'inspect', request })
    })
    if (found === undefined) throw new UserError('this copy has no machine yet')
    return found
  }

  perform(effect: MachineEffect): void {
    switch (effect.kind) {
      case 'boot':
        return this.#boot(effect)
      case 'failRequests':
        return this.#disk?.failHeld()
      case 'snapshot':
        this.#wantedJoin = effect.join
        // Its state has no request in flight: the machine would stand still for as long as one hangs.
        if (this.isDiskHanging) return this.#failLater('the disk hangs')
        // Else it is sent when the disk is not held for something else any more.
        if (!this.#isHeld) this.#order(effect)
        return
      case 'dropSnapshot':
        return this.#dropSnapshot(effect)
      case 'readChunk':
        return this.#readChunk(effect.join, effect.number)
      case 'storeChunk':
        this.#storing = this.#storing.then(() => this.#whileWhole(() => this.#storeChunk(effect)))
        return
      case 'install':
        return this.#installLater(effect)
      case 'takeOver':
        this.#isPrimary = true
        return this.#order(effect)
      default:
        return this.#order(effect)
    }
  }

  /** Sends what has to reach the machine in the order of the effects. */
  #order(command: MachineCommand): void {
    if (this.#behindBoot === undefined) this.#machine.send(command)
    else this.#behindBoot.push(command)
  }

  /** Whether an operation of the disk has taken longer than it may. */
  get isDiskHanging(): boolean {
    return this.#disk?.isHanging === true
  }

  /** A fault that tests inject; without a disk there is nothing to fail. */
  injectDiskFault(fault: DiskFault): void {
    if (this.#disk !== undefined) this.#disk.faults.fault = fault
  }

  /** Resolves when all chunks that have come so far are stored. */
  stored(): Promise<void> {
    return this.#storing
  }

  /** Gives up what the disk waits for, and frees everything. */
  async end(): Promise<void> {
    this.#isOver = true
    await this.#machine.end()
    this.#recording?.finish()
    this.#kept?.source.release()
    // A piece of a state that is being written: the lock of the directory must not be given back before.
    await this.#storing
    await this.#joining?.disk?.abandon()
    await (this.#disk ?? this.#overlay)?.close()
  }

  #boot(effect: ThreadEffect & { kind: 'boot' }): void {
    const overlay = this.#overlay
    assert(overlay !== undefined, 'a cold start without a disk')
    this.#isPrimary = true
    this.#disk = this.#openDisk(overlay)
    this.#behindBoot = []
    this.#start(overlay, effect).catch((error: unknown) => {
      if (!isOutside(error)) throw error
      this.#options.onFailed(`the machine cannot start: ${error.message}`)
    })
  }

  async #start(overlay: OverlayDisk, effect: ThreadEffect & { kind: 'boot' }): Promise<void> {
    // What a crash has left unsynced is read by the guest, and must not be lost any more.
    await this.#inTime(overlay.flush(), 'syncing the disk')
    const { recording, onNotice } = this.#options
    if (recording !== undefined && !this.#isOver)
      this.#recording = await LifeRecording.begin(recording, effect.life, overlay, onNotice)
    const { first } = this.#options
    const start = first === undefined ? effect : await this.#load(first, effect.life)
    const waiting = this.#behindBoot!
    this.#behindBoot = undefined
    for (const command of [start, ...waiting]) this.#machine.send(command)
  }

  /** Brings the pages of a state to the machine; returns the command that starts it. */
  async #load(first: FirstState, life: number): Promise<MachineCommand> {
    this.#machine.send({ kind: 'beginInstall' })
    let group: { page: number; bytes: Uint8Array }[] = []
    const send = (): void => {
      for (const pages of packPages(group)) this.#machine.send({ kind: 'installPages', pages })
      group = []
    }
    const state = await first.load((page, bytes) => {
      group.push({ page, bytes: bytes.slice() })
      if (group.length === PACK_PAGES) send()
    })
    send()
    await first.drop()
    return { kind: 'bootFrom', life, state }
  }

  #openDisk(overlay: OverlayDisk): ReplicaDisk {
    const { give, onNotice } = this.#options
    const events: ReplicaDiskEvents = {
      onDone: (request, status, data) => this.#machine.send({ kind: 'diskDone', request, status, data }),
      onFailed: (reason) => {
        if (!this.#isOver) give({ kind: 'diskFailed', reason })
      },
      onFull: (isFull) => {
        if (this.#isOver) return
        const full = `no room for the guest's disk at ${overlay.place}: free some there`
        onNotice(isFull ? full : 'there is room again: the machine goes on')
        this.#machine.send({ kind: 'pause', isPaused: isFull })
        if (isFull) give({ kind: 'diskFailed', reason: 'no room' })
      },
      onNotice,
      onCorrupt: ({ sector, sectors }) => {
        if (!this.#isOver) void this.#convictDisk(`sectors ${sector} to ${sector + sectors - 1}`)
      },
    }
    const disk = new ReplicaDisk(overlay, events, { limitMs: this.#options.diskLimitMs })
    disk.scrubber?.start()
    return disk
  }

  /** The disk has changed by itself: nobody may start from it again (duty 13 of replication/ports.ts). */
  async #convictDisk(where: string): Promise<void> {
    try {
      await this.#options.directory.voidGeneration()
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      this.#options.onNotice(error.message)
    }
    this.#options.give({
      kind: 'convicted',
      report: `${where} of the disk have changed without being written`,
    })
  }

  // The state for a joining copy

  /**
   * The state of the primary's machine at some position from now on, with its disk, which has to be released. Throws a
   * UserError if this is no primary, or its state goes to a joining copy at the moment; rejects with one if requests to the
   * disk do not end for `limitMs`, for which the machine stands still.
   */
  takeState(limitMs = TAKE_MS): Promise<TakenState> {
    if (!this.#isPrimary) throw new UserError('this copy is not the primary')
    if (this.#wantedJoin !== undefined || this.#isHeld)
      throw new UserError('the state is on its way to a new copy: try again when the machine is protected')
    if (this.isDiskHanging) throw new UserError('the disk of this copy hangs: its state cannot be taken')
    this.#isHeld = true
    const number = --this.#states
    this.#order({ kind: 'snapshot', join: number, baseGeneration: undefined })
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#dropTaker(number)
        reject(new UserError('requests to the disk do not end: its state cannot be taken'))
      }, limitMs)
      this.#takers.set(number, (taken) => {
        clearTimeout(timer)
        resolve(taken)
      })
    })
  }

  /** Nobody waits for this state any more: the machine goes on. */
  #dropTaker(number: number): void {
    this.#takers.delete(number)
    this.#isHeld = false
    this.#order({ kind: 'dropSnapshot', join: number })
    this.#beginWaitingJoin()
  }

  #onState({ join, frontier, state, pages, stopMs }: MachineReport & { kind: 'stateTaken' }): void {
    const taker = this.#takers.get(join)
    if (taker !== undefined) {
      this.#takers.delete(join)
      const disk = this.#disk!.hold()
      const release = (): void => {
        disk.release()
        this.#isHeld = false
        this.#beginWaitingJoin()
      }
      return taker({ state, pages, frontier, disk, release })
    }
    if (join !== this.#wantedJoin) return
    this.#kept?.source.release()
    this.snapshotStopMs = stopMs
    this.#kept = { join, source: new StateSource({ state, pages, disk: this.#disk!.hold() }) }
    this.#options.give({ kind: 'snapshotTaken', join, frontier })
  }

  #beginWaitingJoin(): void {
    if (this.#wantedJoin === undefined || this.#kept !== undefined) return
    this.#order({ kind: 'snapshot', join: this.#wantedJoin, baseGeneration: undefined })
  }

  #dropSnapshot(effect: ThreadEffect & { kind: 'dropSnapshot' }): void {
    if (effect.join === this.#wantedJoin) this.#wantedJoin = undefined
    if (effect.join === this.#kept?.join) {
      this.#kept.source.release()
      this.#kept = undefined
    }
    this.#order(effect)
  }

  /** Several are read at a time, and handed on in order. */
  #readChunk(join: number, number: number): void {
    const kept = this.#kept
    if (kept?.join !== join || number >= kept.source.chunks) return
    const isLast = number === kept.source.chunks - 1
    const reading = this.#inTime(kept.source.read(number), 'reading what a new copy gets').then(
      (bytes): Input => ({ kind: 'chunkRead', join, number, isLast, bytes }),
      (error: unknown): Input => {
        if (systemErrorCode(error) === undefined) throw error
        return { kind: 'diskFailed', reason: `it cannot be copied: ${(error as Error).message}` }
      },
    )
    this.#reading = this.#reading.then(async () => {
      const input = await reading
      if (this.#kept === kept) this.#options.give(input)
    })
  }

  // The state that this copy joins with

  async #storeChunk({ number, bytes }: MachineEffect & { kind: 'storeChunk' }): Promise<void> {
    if (number === 0) await this.#beginJoin()
    await this.#joining!.receiver.take(bytes)
  }

  async #beginJoin(): Promise<void> {
    const { directory, base } = this.#options
    await this.#joining?.disk?.abandon()
    await this.#overlay?.close()
    this.#overlay = undefined
    this.#machine.send({ kind: 'beginInstall' })
    const sink: StateSink = {
      header: async (sectors, baseDigest) => {
        if (baseDigest !== base.digest) throw new FormatError(`a disk with another base, ${baseDigest}`)
        this.#joining!.disk = await directory.beginJoin(base, sectors)
      },
      pages: (pages) => this.#machine.send({ kind: 'installPages', pages }),
      zeros: (sector, sectors) => this.#joining!.disk!.zeros(sector, sectors),
      data: (sector, content) => this.#joining!.disk!.data(sector, content),
    }
    this.#joining = { receiver: new StateReceiver(sink), disk: undefined }
  }

  #installLater(effect: MachineEffect & { kind: 'install' }): void {
    const limitMs = this.#options.diskLimitMs * INSTALL_LIMITS
    this.#storing = this.#storing.then(() => this.#whileWhole(() => this.#install(effect), limitMs))
  }

  async #install({ join, life, frontier }: MachineEffect & { kind: 'install' }): Promise<void> {
    const { receiver, disk } = this.#joining!
    const { state } = receiver
    assert(disk !== undefined, 'a state without a disk')
    this.#joining = undefined
    this.#overlay = await disk.finish(this.#options.joinGeneration)
    this.#disk = this.#openDisk(this.#overlay)
    this.#machine.send({ kind: 'finishInstall', join, state, life, frontier: frontier as Frontier })
  }

  /** Does something with the state that arrives; what goes wrong there ends this copy's joining. */
  async #whileWhole(action: () => Promise<void>, limitMs?: number): Promise<void> {
    if (this.#isOver) return
    try {
      await this.#inTime(action(), 'writing the state of this copy', limitMs)
    } catch (error) {
      if (!isOutside(error)) throw error
      this.#isOver = true
      this.#options.give({ kind: 'diskFailed', reason: error.message })
    }
  }

  /** Has the protocol hear of an operation of the disk that hangs. */
  #inTime<T>(operation: Promise<T>, what: string, limitMs = this.#options.diskLimitMs): Promise<T> {
    return withinTime(operation, limitMs, (waitedMs) =>
      this.#failLater(`${what} has not ended for ${waitedMs / 1000} s`),
    )
  }

  #failLater(reason: string): void {
    setImmediate(() => {
      if (!this.#isOver) this.#options.give({ kind: 'diskFailed', reason })
    })
  }

  #onReport(report: MachineReport): void {
    switch (report.kind) {
      case 'disk':
        for (const request of report.requests) this.#disk!.submit(request)
        return
      case 'stateTaken':
        return this.#onState(report)
      case 'explained':
        return this.#options.onNotice(`the difference: ${report.text}`)
      case 'flipped':
        return this.#options.onNotice(flippedText(report.page))
      case 'restarted':
        return this.#notices.say('the guest starts anew')
      case 'inspected':
        this.#inspections.get(report.request)?.(report.found)
        this.#inspections.delete(report.request)
        return
      case 'failed':
        return this.#options.onFailed(report.message)
      case 'appended':
        this.#recording?.append(report.bytes, report.frontier)
        return this.#options.give(report)
      default:
        return this.#options.give(report)
    }
  }
}

/** Whether it is an error of the outside, and no mistake of ours. */
function isOutside(error: unknown): error is Error {
  return error instanceof UserError || systemErrorCode(error) !== undefined
}

/** A page by its guest physical address, as divergences name it. */
function flippedText(page: number | undefined): string {
  if (page === undefined) return 'no bit was flipped: there is no such page'
  return `a bit was flipped in page 0x${(RAM_BASE + page * PAGE_BYTES).toString(16)}`
}

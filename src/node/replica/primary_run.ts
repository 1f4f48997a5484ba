/**
 * The computer as the primary runs it, in real time on a thread of its own: everything that reaches it is logged at the
 * position where it is applied, and everything that it puts out is announced in the log.
 *
 *     waiting --something arrives, the guest's timer--> correct the clock, deliver, execute a slice --> waiting
 *        |--stop--> stopped --execution--> waiting
 *        '--the guest powers off--> off
 *
 * A slice ends early where something arrives or a frame leaves. Records travel in batches, after `flushMs`, or at once if
 * a frame is among what they announce.
 */
import { randomBytes } from 'node:crypto'
import { CorruptionError } from '../../base/errors.ts'
import {
  type Computer,
  type ComputerStop,
  type ExternalEvent,
  type Output,
  PORT,
} from '../../board/computer.ts'
import { compareEvidence, decodeEvidence } from '../../board/evidence.ts'
import { type RecordedOutput, Recorder } from '../../board/recorder.ts'
import type { CompletedRead } from '../../board/replayer.ts'
import type { Witness } from '../../board/witness.ts'
import { type DiskRequest, SECTOR_BYTES } from '../../devices/virtio_block.ts'
import { GENERATION_BYTES } from '../../devices/vm_generation.ts'
import type { LogPlace } from '../../log/batch.ts'
import type { ExecutionState } from '../../replication/message.ts'
import type { AppendRequest, Frontier } from '../../replication/ports.ts'
import { HostClock } from '../host_clock.ts'
import { ArrivedEvents } from './arrived_events.ts'
import type { MachineReport } from './thread_messages.ts'

const SLICE_MS = 4
/** Between looks at the clock and at what has arrived; that many steps take longer where code is met for the first time. */
const PIECE_MS = 0.2
/** Records are handed on when they are so many bytes. */
const BATCH_BYTES = 64 * 1024
/** Bytes on their way to or from the disk at which the machine is held (see runner.ts). */
const DISK_BYTES_MAX = 64 * 1024 * 1024
const DISK_REQUEST_OVERHEAD = 4096
const SLEEP_MAX_MS = 60_000
/** Keys that wait at most; more are lost, as a serial line loses them. */
const TYPED_PIECES_MAX = 4096
const TYPED_BYTES_MAX = 256 * 1024
/** The least of the thread's time that is left for other things than digests is 1 - 1/this. */
const DIGEST_SHARE = 100
const DIGEST_DELAY_MAX_MS = 10_000
/** Digests that a backup may not have compared yet; it lags by less, or is dropped. */
const WITNESSES = 4

export interface PrimaryRunPorts {
  report(report: MachineReport): void
  /** Whether commands have arrived that nobody has looked at. */
  hasCommands(): boolean
  readonly flushMs: number
}

export class PrimaryRun {
  readonly #computer: Computer
  readonly #ports: PrimaryRunPorts
  readonly #recorder: Recorder
  readonly #clock: HostClock
  readonly #arrived = new ArrivedEvents()
  /** Keys that the guest has not taken. */
  #typed: Uint8Array[] = []
  #typedBytes = 0
  #outputs: RecordedOutput[] = []
  #firstIndex: bigint
  /** When the oldest record that waits was made. */
  #waitingSince: number | undefined
  #digestIndex: bigint | undefined
  /** A digest is wanted, not before this time. */
  #digestDueMs: number | undefined
  #nextDigestMs = 0
  #pace = 1
  #resumeMs = 0
  #isTaking = true
  #isStopped = false
  #isPaused = false
  #isOff = false
  /** Guest time at which an idle machine goes on by itself; undefined if it does not. */
  #idleUntil: bigint | undefined
  #isIdle = false
  readonly #diskRequests = new Map<number, number>()
  #diskBytes = 0
  /** The states that are wanted, by their numbers. */
  #snapshots: number[] = []
  /** What this copy was at the latest digests, oldest first. */
  readonly #witnesses: (Witness & { readonly index: bigint })[] = []

  /** Goes on at `place`, where the computer stands. */
  constructor(computer: Computer, place: LogPlace, ports: PrimaryRunPorts) {
    this.#computer = computer
    this.#ports = ports
    this.#recorder = new Recorder(computer, place, ({ index, state }) => {
      // The oldest one's memory is used again.
      const oldest = this.#witnesses.length < WITNESSES ? undefined : this.#witnesses.shift()
      const hashes = oldest?.hashes ?? new BigUint64Array(computer.machine.layout.ramPages)
      computer.machine.ram.copyHashes(hashes)
      this.#witnesses.push({ index, state, hashes })
    })
    this.#firstIndex = place.nextIndex
    this.#clock = new HostClock(computer)
    computer.stopsAtFrames = true
  }

  /**
   * What a backup had at its end: outputs that no record announces, requests that its disk has got, and those of them
   * that are done. The guest may have forgotten some, by a reset of the device; the disk works on them all the same.
   */
  carryOn(left: {
    readonly outputs: readonly Output[]
    readonly submitted: ReadonlyMap<number, DiskRequest>
    readonly done: ReadonlyMap<number, CompletedRead>
    readonly isOff: boolean
  }): void {
    this.#announce(this.#recorder.recordOutputs(left.outputs))
    for (const request of left.submitted.values()) this.#count(request)
    for (const [request, { status, data }] of left.done) this.diskDone(request, status, data)
    if (left.isOff) this.#onOff()
    this.flush()
  }

  /** Hands the disk what a snapshot has left in flight. */
  resubmit(): void {
    const requests = this.#computer.diskRequestsInFlight
    for (const request of requests) this.#count(request)
    if (requests.length > 0) this.#ports.report({ kind: 'disk', requests })
  }

  /** Tells the guest that this is another life, so that no two share their random numbers. */
  announceLife(): void {
    this.deliver({
      kind: 'input',
      port: PORT.generation,
      bytes: Uint8Array.from(randomBytes(GENERATION_BYTES)),
    })
  }

  get state(): ExecutionState {
    const isHeld = this.#isStopped || this.#isPaused || this.#pace === 0
    if (this.#isOff || isHeld || this.#snapshots.length > 0) return 'stopped'
    return this.#isIdle ? 'idle' : 'running'
  }

  deliver(event: ExternalEvent): void {
    this.#arrived.add(event)
  }

  /** Types on the serial console. */
  type(bytes: Uint8Array): void {
    if (this.#typed.length >= TYPED_PIECES_MAX || this.#typedBytes + bytes.length > TYPED_BYTES_MAX) return
    this.#typed.push(bytes)
    this.#typedBytes += bytes.length
  }

  diskDone(request: number, status: 'ok' | 'error', data: Uint8Array | undefined): void {
    this.#diskBytes -= this.#diskRequests.get(request) ?? 0
    this.#diskRequests.delete(request)
    this.deliver({ kind: 'completion', request, status, ...(data === undefined ? {} : { data }) })
  }

  append(request: AppendRequest): void {
    if (this.#isOff) return
    if (request.kind === 'released') this.#recorder.note(request)
    // At once, so that whoever asks for several gets as many.
    else if (request.isUrgent) this.#recordDigest()
    else this.#digestDueMs ??= Math.max(performance.now(), this.#nextDigestMs)
    this.#wait()
  }

  setExecution(pace: number, inputs: 'taken' | 'held'): void {
    this.#pace = pace
    this.#isTaking = inputs === 'taken'
    this.#isStopped = false
  }

  pause(isPaused: boolean): void {
    this.#isPaused = isPaused
  }

  /** Stops where it is, and says so. */
  stop(): void {
    this.#isStopped = true
    if (!this.#isOff) this.#recorder.note({ kind: 'reached' })
    this.flush()
    this.#ports.report({ kind: 'stopped' })
  }

  /** The state is wanted as soon as no request runs; until then nothing is executed. */
  takeSnapshot(join: number): void {
    this.#snapshots.push(join)
  }

  dropSnapshot(join: number): void {
    this.#snapshots = this.#snapshots.filter((wanted) => wanted !== join)
  }

  /** Those whose state can be taken now: no request runs, everything is logged. */
  readySnapshots(): { readonly joins: readonly number[]; readonly frontier: Frontier } | undefined {
    if (this.#snapshots.length === 0 || this.#isOff) return undefined
    this.#deliverCompletions()
    if (this.#diskRequests.size > 0) return undefined
    const joins = this.#snapshots
    this.#snapshots = []
    // So that the next batch counts from here.
    this.#recorder.note({ kind: 'reached' })
    this.flush()
    return { joins, frontier: this.#recorder.frontier }
  }

  /** Names what the other copy has otherwise, by what it says about itself at the digest of record `index`. */
  explain(index: bigint, evidence: Uint8Array): string {
    const at = this.#witnesses.findIndex((one) => one.index === index)
    if (at < 0) return `this copy does not know any more what it was at record ${index}`
    return compareEvidence(this.#witnesses[at]!, decodeEvidence(evidence), this.#witnesses[at - 1]?.hashes)
  }

  /**
   * The other copy has something else, and has not convicted itself: reads all RAM again, and stops if this copy's is to
   * blame. Else the page would be found when its turn comes, minutes later, and every copy that joins until then gets
   * what it holds, and differs as well. If the other copy is right but for digests, it goes on from here.
   */
  checkRam(): void {
    this.#unlessConvicted(() => {
      this.#recorder.checkRam()
      this.#ports.report({ kind: 'sound' })
    })
  }

  /** Does what there is to do; returns how long it may be left alone, in milliseconds. */
  turn(): number {
    const now = performance.now()
    if (this.#mayRun(now) && this.#hasWork()) this.#run()
    if (this.#digestDueMs !== undefined && now >= this.#digestDueMs) this.#recordDigest()
    return this.#restMs()
  }

  /** Hands on what is recorded. */
  flush(): void {
    this.#waitingSince = undefined
    const bytes = this.#recorder.takeBatch()
    if (bytes === undefined) return
    const { frontier } = this.#recorder
    const outputs = this.#outputs
    const appended = {
      bytes,
      firstIndex: this.#firstIndex,
      frontier,
      outputs,
      digestIndex: this.#digestIndex,
    }
    this.#firstIndex = frontier.nextIndex
    this.#outputs = []
    this.#digestIndex = undefined
    this.#ports.report({ kind: 'appended', ...appended })
  }

  #mayRun(now: number): boolean {
    if (this.#isOff || this.#isStopped || this.#isPaused || this.#snapshots.length > 0) return false
    return this.#pace > 0 && this.#diskBytes <= DISK_BYTES_MAX && now >= this.#resumeMs
  }

  #hasWork(): boolean {
    const { frameRoom } = this.#computer
    const hasArrived = this.#isTaking ? this.#arrived.hasAny(frameRoom) : this.#arrived.hasCompletions
    if (!this.#isIdle || hasArrived) return true
    if (this.#isTaking && this.#typed.length > 0 && this.#computer.consoleRoom > 0) return true
    return this.#idleUntil !== undefined && this.#clock.msUntil(this.#idleUntil) <= 0
  }

  #run(): void {
    if (this.#clock.isDue || this.#isIdle) this.#deliver(this.#clock.event())
    this.#deliverArrived()
    const start = performance.now()
    const { boots } = this.#computer
    const stop = this.#runSlice(start)
    if (this.#computer.boots !== boots) this.#ports.report({ kind: 'restarted' })
    this.#isIdle = stop.reason === 'idle'
    this.#idleUntil = stop.reason === 'idle' ? stop.until : undefined
    if (stop.reason === 'power') this.#onOff()
    if (this.#pace < 1)
      this.#resumeMs = performance.now() + (performance.now() - start) * (1 / this.#pace - 1)
  }

  #runSlice(start: number): ComputerStop {
    const computer = this.#computer
    const first = computer.position
    const end = first + this.#clock.stepsIn(SLICE_MS)
    const piece = this.#clock.stepsIn(PIECE_MS)
    for (;;) {
      const next = computer.position + piece
      const stop = computer.run(next < end ? next : end)
      this.#collect()
      const ms = performance.now() - start
      const isOn = stop.reason === 'output' || (stop.reason === 'limit' && next < end)
      if (isOn && ms < SLICE_MS && !this.#ports.hasCommands()) continue
      this.#clock.measured(Number(computer.position - first), ms)
      return stop
    }
  }

  #deliver(event: ExternalEvent): void {
    this.#recorder.deliver(event)
    this.#wait()
    // What is left of the batch must hold the records of a whole slice's outputs.
    if (this.#recorder.pendingBytes >= BATCH_BYTES) this.flush()
  }

  #deliverArrived(): void {
    if (!this.#isTaking) return this.#deliverCompletions()
    for (const event of this.#arrived.takeAll(this.#computer.frameRoom)) this.#deliver(event)
    for (let room = this.#computer.consoleRoom; room > 0 && this.#typed.length > 0; ) {
      const keys = this.#typed[0]!.subarray(0, room)
      if (keys.length === this.#typed[0]!.length) this.#typed.shift()
      else this.#typed[0] = this.#typed[0]!.subarray(keys.length)
      room -= keys.length
      this.#typedBytes -= keys.length
      this.#deliver({ kind: 'input', port: PORT.uart, bytes: keys })
    }
  }

  /** What the disk has done goes to the guest also while other inputs are held. */
  #deliverCompletions(): void {
    for (const event of this.#arrived.takeCompletions()) this.#deliver(event)
    this.#collect()
  }

  /** Takes what the guest has put out and asked for. */
  #collect(): void {
    const requests = this.#computer.takeDiskRequests()
    for (const request of requests) this.#count(request)
    if (requests.length > 0) this.#ports.report({ kind: 'disk', requests })
    const wanted = this.#computer.entropyWanted
    if (wanted > 0 && !this.#arrived.isEntropyComing)
      this.deliver({ kind: 'input', port: PORT.entropy, bytes: Uint8Array.from(randomBytes(wanted)) })
    this.#announce(this.#recorder.takeOutputs())
  }

  #announce(outputs: readonly RecordedOutput[]): void {
    if (outputs.length === 0) return
    for (const output of outputs) this.#outputs.push(output)
    const isUrgent = outputs.some(({ port }) => port === PORT.net)
    if (isUrgent || this.#recorder.pendingBytes >= BATCH_BYTES) this.flush()
    else this.#wait()
  }

  #count({ id, kind, sectors }: DiskRequest): void {
    const data = kind === 'read' || kind === 'write' ? sectors * SECTOR_BYTES : 0
    this.#diskRequests.set(id, data + DISK_REQUEST_OVERHEAD)
    this.#diskBytes += data + DISK_REQUEST_OVERHEAD
  }

  #recordDigest(): void {
    this.#digestDueMs = undefined
    if (this.#isOff) return
    const start = performance.now()
    this.#unlessConvicted(() => {
      this.#digestIndex = this.#recorder.recordDigest()
    })
    const end = performance.now()
    this.#nextDigestMs = end + Math.min(DIGEST_DELAY_MAX_MS, (end - start) * DIGEST_SHARE)
    this.#wait()
  }

  #unlessConvicted(check: () => void): void {
    try {
      check()
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      this.#isStopped = true
      this.#ports.report({ kind: 'convicted', report: error.message })
    }
  }

  #onOff(): void {
    this.#isOff = true
    this.#recorder.note({ kind: 'reached' })
    this.flush()
    this.#ports.report({ kind: 'poweredOff' })
  }

  /** Records wait for others from now on. */
  #wait(): void {
    if (this.#recorder.pendingBytes > 0) this.#waitingSince ??= performance.now()
  }

  #restMs(): number {
    const now = performance.now()
    let rest = SLEEP_MAX_MS
    if (this.#waitingSince !== undefined) {
      const left = this.#waitingSince + this.#ports.flushMs - now
      if (left <= 0) this.flush()
      else rest = left
    }
    if (this.#digestDueMs !== undefined) rest = Math.min(rest, this.#digestDueMs - now)
    if (this.#mayRun(now)) {
      if (this.#hasWork()) return 0
      if (this.#idleUntil !== undefined) rest = Math.min(rest, this.#clock.msUntil(this.#idleUntil))
    } else if (this.#resumeMs > now) rest = Math.min(rest, this.#resumeMs - now)
    return Math.max(0, rest)
  }
}

/**
 * Runs a computer in real time on the event loop of its thread.
 *
 *     deliver what has arrived -> correct the clock -> execute a slice -> take outputs and requests -> yield or sleep
 *
 * A slice is a few milliseconds, so that input, timers and the disk are served between slices. While the guest idles
 * the loop sleeps until the guest's next timer or until something arrives. Everything that reaches the computer goes
 * through the recorder.
 */
import { randomFillSync } from 'node:crypto'
import type { Computer, ComputerStop, ExternalEvent, Output } from '../board/computer.ts'
import { PORT } from '../board/computer.ts'
import type { Recorder } from '../board/recorder.ts'
import type { PowerRequest } from '../devices/syscon.ts'
import { type DiskRequest, SECTOR_BYTES } from '../devices/virtio_block.ts'
import { ConsoleInput } from './console_input.ts'
import { collectGarbage } from './heap.ts'
import { HostClock } from './host_clock.ts'

const SLICE_MS = 4
/** A slice is executed in pieces, and ends early where the guest turns out to be much slower than it was. */
const PIECE_MS = 1
const SLICE_MAX_MS = 5
/**
 * Bytes on their way to or from the disk at which the machine is held. A driver's requests in flight are fewer (see
 * virtio_block.ts); but a guest that resets the device again and again leaves ever more behind.
 */
const DISK_BYTES_MAX = 64 * 1024 * 1024
/** What a request counts beyond its data. */
const DISK_REQUEST_OVERHEAD = 4096
/** Sleeps shorter than this are not worth a timer of a whole millisecond. */
const SLEEP_MIN_MS = 0.2
/** The longest sleep: host clocks drift, and timers of the runtime end at 2^31 ms. */
const SLEEP_MAX_MS = 60_000
/** A guest that idles for so long does not miss the time that collecting garbage takes. */
const QUIET_MS = 100
const DIGEST_EVERY_MS = 2000
/** A batch of records is handed on when it is this old or this large. */
const BATCH_MS = 100
const BATCH_BYTES = 64 * 1024

/** The outside world of a computer. */
export interface RunnerEnvironment {
  /** Takes a disk request; the answer comes by `Runner.complete`. */
  submitDisk(request: DiskRequest): void
  output(output: Output): void
  /** The guest has reset itself and starts anew. */
  restarted?(): void
  /** Takes a batch of records. */
  log?(batch: Uint8Array): void
  /** What a sample of the state's digest is recorded for; without it none is. */
  readonly recordDigests: boolean
}

/** Why a run ended. */
export type RunEnd =
  | { readonly reason: 'power'; readonly request: PowerRequest }
  | { readonly reason: 'stopped' }

export class Runner {
  readonly #computer: Computer
  readonly #recorder: Recorder
  readonly #environment: RunnerEnvironment
  readonly #clock: HostClock
  #arrived: ExternalEvent[] = []
  readonly #typed = new ConsoleInput()
  #wake: (() => void) | undefined
  #hasRun = false
  #isStopping = false
  #isPaused = false
  /** What the requests that the disk has not done yet count, by id. */
  readonly #diskRequests = new Map<number, number>()
  #diskBytes = 0
  #idleMs = 0
  #hasCollectedGarbage = false
  #lastDigestMs = performance.now()
  #lastBatchMs = performance.now()
  #failure: unknown

  constructor(computer: Computer, recorder: Recorder, environment: RunnerEnvironment) {
    this.#computer = computer
    this.#recorder = recorder
    this.#environment = environment
    this.#clock = new HostClock(computer)
  }

  /** Milliseconds for which the machine had nothing to do. */
  get idleMs(): number {
    return this.#idleMs
  }

  /** Hands in something from outside. */
  deliver(event: ExternalEvent): void {
    this.#arrived.push(event)
    this.#wake?.()
  }

  /** Types on the serial console, as fast as the guest takes it; resolves when it has taken everything. */
  type(bytes: Uint8Array): Promise<void> {
    const taken = this.#typed.push(bytes)
    this.#wake?.()
    return taken
  }

  /** Answers a disk request. */
  complete(request: number, status: 'ok' | 'error', data: Uint8Array | undefined): void {
    this.#diskBytes -= this.#diskRequests.get(request) ?? 0
    this.#diskRequests.delete(request)
    this.deliver({ kind: 'completion', request, status, ...(data === undefined ? {} : { data }) })
  }

  /** Ends `run` at the next slice. */
  stop(): void {
    this.#isStopping = true
    this.#wake?.()
  }

  /** Holds the machine while `paused`, for example while the host's disk is full. */
  pause(paused: boolean): void {
    this.#isPaused = paused
    this.#wake?.()
  }

  /** Makes `run` fail with `error`: the log could not be written, say. */
  fail(error: unknown): void {
    this.#failure ??= error
    this.#wake?.()
  }

  /** Runs until the guest powers off or `stop` is called; after a stop it can go on. */
  async run(): Promise<RunEnd> {
    // What a snapshot left in flight; when a run goes on, the disk has its requests already.
    if (!this.#hasRun) for (const request of this.#computer.diskRequestsInFlight) this.#submitDisk(request)
    this.#hasRun = true
    try {
      return await this.#loop()
    } finally {
      this.#log(true)
    }
  }

  /** Applies what has arrived already, without executing; for the moment before a snapshot. */
  settle(): void {
    this.#deliverArrived()
    this.#collect()
    this.#log(true)
  }

  async #loop(): Promise<RunEnd> {
    while (!this.#isStopping) {
      if (this.#failure !== undefined) throw this.#failure
      if (this.#isPaused || this.#diskBytes > DISK_BYTES_MAX) {
        await this.#sleep(SLEEP_MAX_MS)
        continue
      }
      const end = await this.#turn()
      if (end !== undefined) return end
    }
    this.#isStopping = false
    this.#collect()
    return { reason: 'stopped' }
  }

  async #turn(): Promise<RunEnd | undefined> {
    if (this.#clock.isDue || this.#computer.machine.isIdle) this.#recorder.deliver(this.#clock.event())
    this.#deliverArrived()
    const { boots } = this.#computer
    const stop = this.#runSlice()
    this.#collect()
    if (this.#computer.boots !== boots) this.#environment.restarted?.()
    if (stop.reason === 'power') return stop
    if (stop.reason === 'idle') await this.#idle(stop.until)
    else await new Promise<void>((resolve) => setImmediate(resolve))
    return undefined
  }

  #runSlice(): ComputerStop {
    const first = this.#computer.position
    const end = first + this.#clock.stepsIn(SLICE_MS)
    const piece = this.#clock.stepsIn(PIECE_MS)
    const start = performance.now()
    for (;;) {
      const next = this.#computer.position + piece
      const stop = this.#computer.run(next < end ? next : end)
      const ms = performance.now() - start
      if (stop.reason === 'limit' && next < end && ms < SLICE_MAX_MS) continue
      this.#clock.measured(Number(this.#computer.position - first), ms)
      return stop
    }
  }

  #submitDisk(request: DiskRequest): void {
    const { kind, sectors } = request
    const data = kind === 'read' || kind === 'write' ? sectors * SECTOR_BYTES : 0
    this.#diskRequests.set(request.id, data + DISK_REQUEST_OVERHEAD)
    this.#diskBytes += data + DISK_REQUEST_OVERHEAD
    this.#environment.submitDisk(request)
  }

  async #idle(until: bigint | undefined): Promise<void> {
    const ms = until === undefined ? SLEEP_MAX_MS : Math.min(SLEEP_MAX_MS, this.#clock.msUntil(until))
    const start = performance.now()
    // The event loop has its turn also where something has arrived: a guest that reads entropy without end would
    // shut out everything else.
    if (this.#hasWork || ms < SLEEP_MIN_MS) await new Promise<void>((resolve) => setImmediate(resolve))
    else {
      if (ms >= QUIET_MS) this.#collectGarbageOnce()
      await this.#sleep(Math.max(0, ms - (performance.now() - start)))
    }
    this.#idleMs += performance.now() - start
  }

  /** What the start of the machine left behind. */
  #collectGarbageOnce(): void {
    if (!this.#hasCollectedGarbage) collectGarbage()
    this.#hasCollectedGarbage = true
  }

  /** Whether the loop has something to do before the guest goes on idling. */
  get #hasWork(): boolean {
    if (this.#arrived.length > 0 || (!this.#typed.isEmpty && this.#computer.consoleRoom > 0)) return true
    return this.#isStopping || this.#isPaused || this.#failure !== undefined
  }

  /** Sleeps until something arrives, at most `ms`. */
  async #sleep(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.ceil(ms))
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    this.#wake = undefined
  }

  #deliverArrived(): void {
    const events = this.#arrived
    this.#arrived = []
    for (const event of events) {
      this.#recorder.deliver(event)
      // What is left of the batch must hold the records of a whole slice's outputs.
      if (this.#recorder.pendingBytes >= BATCH_BYTES) this.#log(true)
    }
    const bytes = this.#typed.take(this.#computer.consoleRoom)
    if (bytes !== undefined) this.#recorder.deliver({ kind: 'input', port: PORT.uart, bytes })
  }

  #collect(): void {
    for (const request of this.#computer.takeDiskRequests()) this.#submitDisk(request)
    const wanted = this.#computer.entropyWanted
    if (wanted > 0)
      this.deliver({ kind: 'input', port: PORT.entropy, bytes: randomFillSync(new Uint8Array(wanted)) })
    const outputs = this.#recorder.takeOutputs()
    if (this.#environment.recordDigests && performance.now() - this.#lastDigestMs >= DIGEST_EVERY_MS) {
      this.#recorder.recordDigest()
      this.#lastDigestMs = performance.now()
    }
    this.#log()
    for (const output of outputs) this.#environment.output(output)
  }

  /** Hands the records on, unless more may join them first. */
  #log(isUrgent = false): void {
    const now = performance.now()
    const isYoung = now - this.#lastBatchMs < BATCH_MS && this.#recorder.pendingBytes < BATCH_BYTES
    if (isYoung && !isUrgent) return
    this.#lastBatchMs = now
    const batch = this.#recorder.takeBatch()
    if (batch !== undefined) this.#environment.log?.(batch)
  }
}

/**
 * Runs the guest's disk requests: side by side where the rules allow it, so that a slow one delays only what must
 * wait for it.
 *
 *   - Requests that overlap, where one writes, discards or zeroes, run in the order they came in.
 *   - A flush waits for all writes, discards and zeroes before it; nothing waits for a flush.
 *
 * The order in which requests finish is not deterministic: the log's completion records carry it to the other copy.
 *
 * A full disk is not an error to the guest: the request is tried again until there is room (`onFull` tells the owner,
 * who pauses the machine). Every other error of the system is status "error", or, if the owner takes `onHeld`, holds
 * the request: it is tried again until it works or the owner calls `failHeld`.
 *
 *     waiting --> running --ok--> done          full disk: running --> waits for room --> running
 *                    |                          onHeld:    running --> held ------------> running
 *                    '--error--> done                                    '--failHeld--> done, with status "error"
 *
 * What is not an error of the system is a bug of ours and stops the process.
 */
import { isFullError, systemErrorCode } from './file_error.ts'

/** What a queue needs of a disk; OverlayDisk has it. */
export interface QueuedDisk {
  read(sector: number, sectors: number): Promise<Uint8Array>
  write(sector: number, bytes: Uint8Array): Promise<void>
  discard(sector: number, sectors: number): Promise<void>
  zeroes(sector: number, sectors: number): Promise<void>
  flush(): Promise<void>
}

/** A request within the disk's capacity. `data` has the bytes of a write; a flush has no sectors. */
export interface DiskRequest {
  readonly id: number
  readonly kind: 'read' | 'write' | 'flush' | 'discard' | 'zeroes'
  readonly sector: number
  readonly sectors: number
  readonly data?: Uint8Array
}

export interface DiskQueueEvents {
  /** A request is done. `data` are the bytes of a read with status "ok". */
  readonly onDone: (id: number, status: 'ok' | 'error', data: Uint8Array | undefined) => void
  /** The first request found the disk full (true), or the last one that did has got through (false). */
  readonly onFull: (full: boolean) => void
  /**
   * An error of the system holds the request, here and at each attempt after that fails. Without this it is a status.
   */
  readonly onHeld?: (request: DiskRequest, error: Error) => void
  /** An error that the guest is about to see as status "error", for the host's own log. */
  readonly onError: (request: DiskRequest, error: Error) => void
}

interface Running {
  readonly request: DiskRequest
  readonly done: Promise<void>
}

interface Outcome {
  /** An error of the system. */
  readonly error: Error | undefined
  readonly data: Uint8Array | undefined
}

/** What ends a pause: its time, or its owner, who wants no further attempt. */
type PauseEnd = 'over' | 'given up'

/** How long to wait before a request is tried again. */
const RETRY_MS = 1000

export class DiskQueue {
  readonly #disk: QueuedDisk
  readonly #events: DiskQueueEvents
  readonly #retryMs: number
  readonly #running = new Set<Running>()
  /** Each ends the pause of a request that waits for room, or of one that is held. */
  readonly #waiting = new Set<(end: PauseEnd) => void>()
  readonly #held = new Set<(end: PauseEnd) => void>()
  #full = 0
  #closed = false

  constructor(disk: QueuedDisk, events: DiskQueueEvents, retryMs = RETRY_MS) {
    this.#disk = disk
    this.#events = events
    this.#retryMs = retryMs
  }

  /** Requests that are not done yet. */
  get length(): number {
    return this.#running.size
  }

  /** Takes a request; `onDone` is called later, never from within this call. */
  submit(request: DiskRequest): void {
    const before = [...this.#running].filter((earlier) => mustWait(request, earlier.request))
    const running: Running = {
      request,
      done: Promise.all(before.map((earlier) => earlier.done)).then(() => this.#run(request)),
    }
    this.#running.add(running)
    // Outside of the chain above, so that a bug in a callback is an unhandled rejection and stops the process.
    void running.done.then(() => this.#running.delete(running))
  }

  /** Waits until every request so far is done and its `onDone` has returned. */
  async drain(): Promise<void> {
    await Promise.all([...this.#running].map((running) => running.done))
  }

  /** Requests that are held end with status "error". One that is just tried again may be held again. */
  failHeld(): void {
    for (const wake of this.#held) wake('given up')
  }

  /** Gives up waiting: requests that found the disk full, or are held, are tried once more and then fail. */
  abandon(): void {
    this.#closed = true
    for (const wake of [...this.#waiting, ...this.#held]) wake('over')
  }

  async #run(request: DiskRequest): Promise<void> {
    let wasFull = false
    let outcome = await this.#attempt(request)
    for (; outcome.error !== undefined && !this.#closed; outcome = await this.#attempt(request)) {
      const isFull = isFullError(outcome.error)
      if (isFull !== wasFull) this.#countFull(isFull)
      wasFull = isFull
      if (!isFull && this.#events.onHeld === undefined) break
      // Before anybody hears of it, since they may call failHeld at once.
      const pause = this.#pause(isFull ? this.#waiting : this.#held)
      if (!isFull) this.#events.onHeld?.(request, outcome.error)
      if ((await pause) === 'given up') break
    }
    if (wasFull) this.#countFull(false)
    if (outcome.error !== undefined) this.#events.onError(request, outcome.error)
    this.#events.onDone(request.id, outcome.error === undefined ? 'ok' : 'error', outcome.data)
  }

  async #attempt(request: DiskRequest): Promise<Outcome> {
    try {
      return { error: undefined, data: await this.#perform(request) }
    } catch (error) {
      if (!(error instanceof Error) || systemErrorCode(error) === undefined) throw error
      return { error, data: undefined }
    }
  }

  async #perform(request: DiskRequest): Promise<Uint8Array | undefined> {
    const { kind, sector, sectors } = request
    if (kind === 'read') return this.#disk.read(sector, sectors)
    if (kind === 'write') await this.#disk.write(sector, request.data!)
    else if (kind === 'flush') await this.#disk.flush()
    else if (kind === 'discard') await this.#disk.discard(sector, sectors)
    else await this.#disk.zeroes(sector, sectors)
    return undefined
  }

  #countFull(isFull: boolean): void {
    this.#full += isFull ? 1 : -1
    if (this.#full === (isFull ? 1 : 0)) this.#events.onFull(isFull)
  }

  async #pause(pauses: Set<(end: PauseEnd) => void>): Promise<PauseEnd> {
    return new Promise((resolve) => {
      const wake = (end: PauseEnd): void => {
        clearTimeout(timer)
        pauses.delete(wake)
        resolve(end)
      }
      const timer = setTimeout(() => wake('over'), this.#retryMs)
      pauses.add(wake)
    })
  }
}

function changes(request: DiskRequest): boolean {
  return request.kind !== 'read' && request.kind !== 'flush'
}

/** Whether `request` may start only when `earlier` is done. */
function mustWait(request: DiskRequest, earlier: DiskRequest): boolean {
  if (request.kind === 'flush') return changes(earlier)
  if (earlier.kind === 'flush' || !(changes(request) || changes(earlier))) return false
  return (
    request.sector < earlier.sector + earlier.sectors && earlier.sector < request.sector + request.sectors
  )
}

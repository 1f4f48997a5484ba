/**
 * A replica's requests to its own disk.
 *
 * What the guest sees of a disk must be the same on both copies. So an error of this host's disk is not shown to it: the
 * request is held, the protocol hears of it (`onFailed`) and decides whether the other copy carries on without this one,
 * or whether there is nobody else and the guest has to hear of it (`failHeld`). Meanwhile it is tried again every
 * second, and may work after all. Room that is missing is no error: it is waited for, however long (`onFull`). A disk that
 * hangs gives no error at all: an operation that has not ended for `limitMs` is told as one that failed (`onFailed`), and
 * goes on being waited for, since it may still be done: the guest must not be told that it was not.
 *
 *     running --ok--> done 'ok'             held: tried again; failHeld --> done 'error'
 *        |--error----> held                 waiting for room: tried again
 *        '--no room--> waiting for room
 *
 * Requests run and wait as in DiskQueue, on which this is built; those that wait for one that is held are held up too.
 * After a failed sync every further flush fails (OverlayDisk), so it is held, and fails at each attempt.
 */
import { assert } from '../base/assert.ts'
import { BadExtents } from './bad_extents.ts'
import { BlockChecksums, withChecksums } from './block_checksums.ts'
import { FaultyDisk } from './disk_faults.ts'
import { DiskQueue, type DiskRequest } from './disk_queue.ts'
import { DiskScrubber, type SectorExtent } from './disk_scrubber.ts'
import type { HeldDisk } from './held_disk.ts'
import type { OverlayDisk } from './overlay_disk.ts'
import { TimedDisk } from './time_limit.ts'

export interface ReplicaDiskEvents {
  /** A request is done, as the guest is to see it. `data` are the bytes of a read with status "ok". */
  readonly onDone: (id: number, status: 'ok' | 'error', data: Uint8Array | undefined) => void
  /** An error of the system holds a request; told at each attempt that fails, and whenever one hangs for `limitMs`. */
  readonly onFailed: (reason: string) => void
  /** The first request found the disk full (true), or none waits for room any more (false). */
  readonly onFull: (isFull: boolean) => void
  /** Something that people should know. */
  readonly onNotice: (text: string) => void
  /** If given, what is written is checked: the extent has changed without being written, which convicts the disk. */
  readonly onCorrupt?: (extent: SectorExtent) => void
}

export interface ReplicaDiskOptions {
  /** How long to wait between attempts; a second by default. */
  readonly retryMs?: number
  /** An operation that takes longer is told as one that failed. */
  readonly limitMs: number
}

export class ReplicaDisk {
  /** Checks what was written, while it is started; present if `onCorrupt` was given. */
  readonly scrubber: DiskScrubber | undefined
  /** For tests. */
  readonly faults: FaultyDisk
  readonly #disk: OverlayDisk
  readonly #timed: TimedDisk
  readonly #events: ReplicaDiskEvents
  readonly #queue: DiskQueue
  readonly #bad = new BadExtents()
  #isClosed = false

  /** Takes the disk over, and closes it in the end. */
  constructor(disk: OverlayDisk, events: ReplicaDiskEvents, { retryMs, limitMs }: ReplicaDiskOptions) {
    this.#disk = disk
    this.#events = events
    this.faults = new FaultyDisk(disk)
    const timed = new TimedDisk(this.faults, limitMs, (problem) => {
      if (!this.#isClosed) events.onFailed(problem)
    })
    this.#timed = timed
    const { onCorrupt } = events
    const checksums = new BlockChecksums()
    if (onCorrupt !== undefined) {
      const onUnreadable = (extent: SectorExtent, error: Error): void => this.#onUnreadable(extent, error)
      this.scrubber = new DiskScrubber(timed, checksums, { onCorrupt, onUnreadable })
    }
    const queueEvents = {
      onDone: this.#onDone.bind(this),
      onHeld: this.#onHeld.bind(this),
      onError: (request: DiskRequest, error: Error) =>
        this.#notify(`the guest is told that ${describe(request)} failed: ${error.message}`),
      onFull: (isFull: boolean) => {
        if (!this.#isClosed) events.onFull(isFull)
      },
    }
    this.#queue = new DiskQueue(
      onCorrupt === undefined ? timed : withChecksums(timed, checksums),
      queueEvents,
      retryMs,
    )
  }

  /** Whether requests run, wait or are held. */
  get isBusy(): boolean {
    return this.#queue.length > 0
  }

  /** Whether an operation has not ended for longer than the limit. */
  get isHanging(): boolean {
    return this.#timed.isLate
  }

  /** Where reads have failed with an error of the system, in order of sectors. */
  get badExtents(): readonly SectorExtent[] {
    return this.#bad.list
  }

  /** Takes a request; `onDone` is called later, never from within this call. */
  submit(request: DiskRequest): void {
    assert(!this.#isClosed, 'a request to a disk that is closed')
    this.#queue.submit(request)
  }

  /** The requests that are held end with status "error". Those that wait for room go on waiting. */
  failHeld(): void {
    this.#queue.failHeld()
  }

  /** Waits until every request so far is done and its `onDone` has returned: for as long as one is held, or has no room. */
  async drain(): Promise<void> {
    await this.#queue.drain()
  }

  /** The disk as it is now, until it is released: see OverlayDisk.hold. No write, discard or zeroes may be running. */
  hold(): HeldDisk {
    return this.#disk.hold()
  }

  /**
   * Ends what runs, and closes the disk. No event comes any more; a request that is held or waits for room gets a last
   * attempt. Throws a UserError if the disk cannot be flushed, and it is closed all the same.
   */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#queue.abandon()
    await this.scrubber?.stop()
    await this.#queue.drain()
    await this.#disk.close()
  }

  #onDone(id: number, status: 'ok' | 'error', data: Uint8Array | undefined): void {
    if (!this.#isClosed) this.#events.onDone(id, status, data)
  }

  #onHeld(request: DiskRequest, error: Error): void {
    if (request.kind === 'read') this.#bad.add(request)
    if (!this.#isClosed) this.#events.onFailed(`${describe(request)} failed: ${error.message}`)
  }

  #onUnreadable(extent: SectorExtent, error: Error): void {
    this.#bad.add(extent)
    const { sector, sectors } = extent
    this.#notify(`sectors ${sector} to ${sector + sectors - 1} could not be read again: ${error.message}`)
  }

  #notify(text: string): void {
    if (!this.#isClosed) this.#events.onNotice(text)
  }
}

function describe({ kind, sector, sectors }: DiskRequest): string {
  return kind === 'flush' ? 'a flush' : `the ${kind} of ${sectors} sectors from ${sector} on`
}

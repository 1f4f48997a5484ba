/**
 * The connections that are to send everything unacknowledged, since a primary has been attached: a burst of frames at a
 * time. A guest has some hundred buffers for frames, and after a failover thousands of connections would send at once;
 * what it drops comes again only after a timeout.
 */
import type { TcpConnection } from './tcp_connection.ts'
import type { Timed } from './timer_queue.ts'

/** Frames in a burst, unless one connection has more. */
const BURST_FRAMES = 64
/** A guest needs about so long for a burst. */
const PAUSE_MS = 5

export interface PacedFrames {
  readonly now: number
  /** Frames that have been transmitted so far. */
  readonly frames: number
  schedule(entry: Timed): void
}

export class AttachPace implements Timed {
  queued: Timed['queued']
  deadline = Number.POSITIVE_INFINITY
  readonly #ports: PacedFrames
  #waiting: readonly TcpConnection[] = []
  #next = 0

  constructor(ports: PacedFrames) {
    this.#ports = ports
  }

  /** Begins with these; what waited before is forgotten. */
  begin(connections: readonly TcpConnection[]): void {
    this.#waiting = connections
    this.#next = 0
    this.onDeadline()
  }

  onDeadline(): void {
    this.deadline = Number.POSITIVE_INFINITY
    const end = this.#ports.frames + BURST_FRAMES
    while (this.#next < this.#waiting.length && this.#ports.frames < end)
      this.#waiting[this.#next++]!.attach()
    if (this.#next === this.#waiting.length) {
      this.#waiting = []
      this.#next = 0
      return
    }
    this.deadline = this.#ports.now + PAUSE_MS
    this.#ports.schedule(this)
  }
}

/**
 * Operations of a disk that take too long. A disk that hangs gives no error: a request to it just never ends, and nothing
 * can end it. So whoever waits is told, and decides; the operation itself goes on, and may end after all.
 */
import type { QueuedDisk } from './disk_queue.ts'

/**
 * The limit is counted in so many steps. A process that was stopped, as with its computer, finds all timers due at once
 * when it goes on, before it hears that the operation has ended meanwhile: by then one step has passed, and not the limit.
 */
const STEPS = 8

/** Waits for an operation, and calls `onLate` whenever this process has waited another `limitMs` without its end. */
export async function withinTime<T>(
  operation: Promise<T>,
  limitMs: number,
  onLate: (waitedMs: number) => void,
): Promise<T> {
  let steps = 0
  const timer = setInterval(() => {
    if (++steps % STEPS === 0) onLate((steps / STEPS) * limitMs)
  }, limitMs / STEPS)
  try {
    return await operation
  } finally {
    clearInterval(timer)
  }
}

/** A disk's operations, and which of them are late. */
export class TimedDisk implements QueuedDisk {
  readonly #disk: QueuedDisk
  readonly #limitMs: number
  readonly #onLate: (problem: string) => void
  /** In the order in which they became it. */
  readonly #late = new Set<object>()

  /** `onLate` hears in a sentence of the operation that has been late for longest, every `limitMs`. */
  constructor(disk: QueuedDisk, limitMs: number, onLate: (problem: string) => void) {
    this.#disk = disk
    this.#limitMs = limitMs
    this.#onLate = onLate
  }

  /** Whether an operation has not ended for longer than the limit. */
  get isLate(): boolean {
    return this.#late.size > 0
  }

  read(sector: number, sectors: number): Promise<Uint8Array> {
    return this.#watch(`a read at sector ${sector}`, this.#disk.read(sector, sectors))
  }

  write(sector: number, bytes: Uint8Array): Promise<void> {
    return this.#watch(`a write at sector ${sector}`, this.#disk.write(sector, bytes))
  }

  discard(sector: number, sectors: number): Promise<void> {
    return this.#watch(`a discard at sector ${sector}`, this.#disk.discard(sector, sectors))
  }

  zeroes(sector: number, sectors: number): Promise<void> {
    return this.#watch(`zeroing at sector ${sector}`, this.#disk.zeroes(sector, sectors))
  }

  flush(): Promise<void> {
    return this.#watch('a flush', this.#disk.flush())
  }

  async #watch<T>(what: string, operation: Promise<T>): Promise<T> {
    const self = {}
    try {
      return await withinTime(operation, this.#limitMs, (waitedMs) => {
        this.#late.add(self)
        const [first] = this.#late
        // Where one hangs, all do.
        if (first === self) this.#onLate(`${what} has not ended for ${waitedMs / 1000} s`)
      })
    } finally {
      this.#late.delete(self)
    }
  }
}

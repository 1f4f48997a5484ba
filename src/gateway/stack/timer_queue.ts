/**
 * The deadlines of all connections and of the rest, in a heap. An entry moves at once when its deadline comes nearer, and only when it
 * is looked at when it has moved away: a busy connection puts its timeout off with every acknowledgement.
 */

export interface Timed {
  /** When something is to be done; Infinity if nothing is. Whoever lowers it calls `schedule`. */
  readonly deadline: number
  /** The queue's own notes. */
  queued: { at: number; index: number } | undefined
  onDeadline(): void
}

export class TimerQueue {
  readonly #heap: Timed[] = []
  readonly #onEarlier: () => void

  /** `onEarlier` is called when the earliest deadline has come nearer. */
  constructor(onEarlier: () => void) {
    this.#onEarlier = onEarlier
  }

  /** Notes that the deadline of `entry` may have come nearer. */
  schedule(entry: Timed): void {
    const { deadline, queued } = entry
    if (queued === undefined) {
      if (deadline === Number.POSITIVE_INFINITY) return
      entry.queued = { at: deadline, index: this.#heap.length }
      this.#heap.push(entry)
      this.#rise(entry)
    } else if (deadline < queued.at) {
      queued.at = deadline
      this.#rise(entry)
    } else return
    if (this.#heap[0] === entry) this.#onEarlier()
  }

  remove(entry: Timed): void {
    const { queued } = entry
    if (queued === undefined) return
    entry.queued = undefined
    const last = this.#heap.pop()!
    if (last === entry) return
    last.queued!.index = queued.index
    this.#heap[queued.index] = last
    this.#rise(last)
    this.#sink(last)
  }

  /** Not later than the earliest deadline. */
  get earliest(): number {
    return this.#heap[0]?.queued?.at ?? Number.POSITIVE_INFINITY
  }

  /** Does everything whose deadline has come. Whatever is due schedules itself again for later. */
  run(now: number): void {
    for (;;) {
      const entry = this.#heap[0]
      if (entry === undefined || entry.queued!.at > now) return
      this.remove(entry)
      if (entry.deadline <= now) entry.onDeadline()
      else this.schedule(entry)
    }
  }

  #rise(entry: Timed): void {
    const own = entry.queued!
    while (own.index > 0) {
      const parent = this.#heap[(own.index - 1) >> 1]!
      if (parent.queued!.at <= own.at) return
      this.#swap(entry, parent)
    }
  }

  #sink(entry: Timed): void {
    const own = entry.queued!
    for (;;) {
      const left = this.#heap[2 * own.index + 1]
      const right = this.#heap[2 * own.index + 2]
      const child = right !== undefined && right.queued!.at < left!.queued!.at ? right : left
      if (child === undefined || child.queued!.at >= own.at) return
      this.#swap(child, entry)
    }
  }

  /** `lower` and its parent `upper` change places. */
  #swap(lower: Timed, upper: Timed): void {
    const index = lower.queued!.index
    lower.queued!.index = upper.queued!.index
    upper.queued!.index = index
    this.#heap[lower.queued!.index] = lower
    this.#heap[upper.queued!.index] = upper
  }
}

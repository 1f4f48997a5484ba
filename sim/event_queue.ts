/** Simulated time: what is to happen, in the order of (time, number of scheduling). */
import { assert } from '../src/base/assert.ts'

export interface Event {
  readonly atMs: number
  readonly number: number
  /** Taken away when the event has happened or been cancelled. */
  action: (() => void) | undefined
}

export class EventQueue {
  /** A binary heap: no event is later than those below it. */
  readonly #heap: Event[] = []
  #nowMs = 0
  #scheduled = 0

  get nowMs(): number {
    return this.#nowMs
  }

  /** How many events have ever been scheduled. */
  get scheduled(): number {
    return this.#scheduled
  }

  /** Lets `action` happen after `delayMs`; at equal times what was scheduled first comes first. */
  after(delayMs: number, action: () => void): Event {
    assert(delayMs >= 0, `an event ${-delayMs} ms ago`)
    const event: Event = { atMs: this.#nowMs + delayMs, number: this.#scheduled++, action }
    this.#push(event)
    return event
  }

  cancel(event: Event): void {
    event.action = undefined
  }

  /** Lets the next event happen; false if there is none, or none until `limitMs`. */
  step(limitMs: number): boolean {
    const event = this.#heap[0]
    if (event === undefined || event.atMs > limitMs) return false
    this.#pop()
    const { action } = event
    if (action === undefined) return true
    this.#nowMs = event.atMs
    event.action = undefined
    action()
    return true
  }

  #push(event: Event): void {
    const heap = this.#heap
    let at = heap.length
    while (at > 0) {
      const above = (at - 1) >> 1
      if (!isBefore(event, heap[above]!)) break
      heap[at] = heap[above]!
      at = above
    }
    heap[at] = event
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()!
    const length = heap.length
    if (length === 0) return
    let at = 0
    for (;;) {
      let below = 2 * at + 1
      if (below >= length) break
      if (below + 1 < length && isBefore(heap[below + 1]!, heap[below]!)) below++
      if (!isBefore(heap[below]!, last)) break
      heap[at] = heap[below]!
      at = below
    }
    heap[at] = last
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.number < b.number)
}

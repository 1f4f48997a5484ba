/**
 * Calls and answers in the order of their times, as doubly linked lists from which an operation can be lifted and to
 * which it can be put back in constant time. Operations are put back in the reverse order of lifting, so that the
 * links of a lifted event are still right when it comes back.
 *
 * An event is a number, and earlier events have smaller ones. Those of answered operations are one ring, whose head is
 * 0; the calls of open ones, which have no answer, are another, whose head is greater than all. So candidates that must
 * have happened can be tried before those that only may.
 */
import { isOpen, type Operation } from './history.ts'

/** The head of the answered operations, and what stands for no event at all. */
export const NO_EVENT = 0

interface TimedEvent {
  readonly time: number
  readonly operation: number
  readonly isCall: boolean
}

export class EventList {
  readonly #next: Int32Array
  readonly #previous: Int32Array
  readonly #events: readonly TimedEvent[]
  readonly #callOf: Int32Array
  /** NO_EVENT for open operations. */
  readonly #answerOf: Int32Array
  readonly #openHead: number

  constructor(operations: readonly Operation<unknown, unknown>[]) {
    this.#events = operations.flatMap(eventsOf).sort(byTime)
    this.#openHead = this.#events.length + 1
    this.#next = new Int32Array(this.#openHead + 1)
    this.#previous = new Int32Array(this.#openHead + 1)
    this.#callOf = new Int32Array(operations.length)
    this.#answerOf = new Int32Array(operations.length)
    for (const [index, { operation, isCall }] of this.#events.entries()) {
      const eventOf = isCall ? this.#callOf : this.#answerOf
      eventOf[operation] = index + 1
    }
    const events = this.#events.map((_, index) => index + 1)
    const { answered = [], open = [] } = Object.groupBy(events, (event) =>
      this.#isOpen(event) ? 'open' : 'answered',
    )
    this.#join([NO_EVENT, ...answered])
    this.#join([this.#openHead, ...open])
  }

  /** The first call of an answered operation. */
  get first(): number {
    return this.#next[NO_EVENT]!
  }

  /**
   * The next call that could come before the answer of `bound`, which must be the first answer in the list: calls of
   * answered operations first, then those of open ones; NO_EVENT if there is none.
   */
  nextCall(call: number, bound: number): number {
    const answer = this.#answerOf[bound]!
    const next = this.#next[call]!
    if (next !== answer) return next < answer ? next : NO_EVENT
    const open = this.#next[this.#openHead]!
    return open < answer ? open : NO_EVENT
  }

  /** Whether the operation of this event is open. */
  #isOpen(event: number): boolean {
    return this.#answerOf[this.operation(event)] === NO_EVENT
  }

  operation(event: number): number {
    return this.#events[event - 1]!.operation
  }

  callOf(operation: number): number {
    return this.#callOf[operation]!
  }

  lift(operation: number): void {
    this.#unlink(this.#callOf[operation]!)
    this.#unlink(this.#answerOf[operation]!)
  }

  putBack(operation: number): void {
    this.#link(this.#answerOf[operation]!)
    this.#link(this.#callOf[operation]!)
  }

  /** Makes a ring of events. */
  #join(ring: readonly number[]): void {
    for (const [place, event] of ring.entries()) {
      const next = ring[(place + 1) % ring.length]!
      this.#next[event] = next
      this.#previous[next] = event
    }
  }

  #unlink(event: number): void {
    if (event === NO_EVENT) return
    this.#next[this.#previous[event]!] = this.#next[event]!
    this.#previous[this.#next[event]!] = this.#previous[event]!
  }

  #link(event: number): void {
    if (event === NO_EVENT) return
    this.#next[this.#previous[event]!] = event
    this.#previous[this.#next[event]!] = event
  }
}

function eventsOf(operation: Operation<unknown, unknown>, index: number): TimedEvent[] {
  const call = { time: operation.call, operation: index, isCall: true }
  if (isOpen(operation)) return [call]
  return [call, { time: operation.return!, operation: index, isCall: false }]
}

/** At equal times calls come first, which makes the operations concurrent. */
function byTime(a: TimedEvent, b: TimedEvent): number {
  return a.time - b.time || Number(b.isCall) - Number(a.isCall) || a.operation - b.operation
}

/**
 * Looks for an order in which the operations of one object could have happened one at a time: the search of Wing and
 * Gong ("Testing and Verifying Concurrent Objects", 1993), with Lowe's memory of configurations ("Testing for
 * Linearizability", 2017).
 *
 * A *configuration* is the set of operations put in order so far, and the state they lead to. From it any operation
 * may come next whose call precedes the first answer among the rest. Where none can, the last one is taken back. No
 * configuration is entered twice. The search ends well when every answered operation has its place; open ones need none.
 *
 * An observation (an answered operation that changes no state) may as well come as soon as it can: whatever could come
 * before it can come after it. So observations are tried first, and if that leads nowhere nothing else will.
 *
 * Open operations are what makes such a search explode: each stays a candidate to the end. Three rules leave out only
 * orders to which there is an equivalent one with fewer, or with earlier, open operations:
 *
 *   - An open operation that would not change the state is left out.
 *   - Of open operations with the same input, the one called first comes first.
 *   - An open operation is *needless* if the one right after it could do without it and would lead to the same state.
 *
 * The last rule depends on how a configuration was reached, which the memory of configurations does not know; yet it
 * loses nothing. What it cuts off, say x after needless i, leads from the configuration before i, whose candidates are
 * the same, to one that has i still to spend. That configuration is tried as well, or cut off for a needless
 * operation before i, and so on; the stack ends. (What is equal up to unspent open operations is as good or better.)
 */
import { assert } from '../../src/base/assert.ts'
import { EventList, NO_EVENT } from './event_list.ts'
import { isOpen, type Operation } from './history.ts'
import type { Model } from './model.ts'
import { OperationSet } from './operation_set.ts'

/** How far the search got at best: one answer that no order explains. */
export interface DeadEnd<State, Input, Output> {
  /** An order of every operation answered before `blocked`, and perhaps of some that were answered later. */
  readonly prefix: readonly Operation<Input, Output>[]
  /** The first answered operation that has a place in no order of those answered before it. */
  readonly blocked: Operation<Input, Output>
  /** All states in which those orders end, in none of which `blocked` can have its answer. */
  readonly states: readonly State[]
}

export type SearchResult<State, Input, Output> =
  | { readonly kind: 'ordered'; readonly steps: number; readonly order: readonly Operation<Input, Output>[] }
  | { readonly kind: 'impossible'; readonly steps: number; readonly deadEnd: DeadEnd<State, Input, Output> }
  | { readonly kind: 'exhausted'; readonly steps: number }

/** As many configurations as a Set can hold; a step adds at most one. */
export const SEARCH_STEPS_MAX = 2 ** 24 - 1

/** An order of operations, by its last one; orders share their beginnings, so that keeping one costs nothing. */
interface Placed<State> {
  readonly before: Placed<State> | undefined
  readonly operation: number
  readonly stateBefore: State
  readonly stateKeyBefore: string
}

/** One search. Answered operations are numbered by their answers, open ones follow by their calls. */
export class Search<State, Input, Output> {
  readonly #model: Model<State, Input, Output>
  readonly #operations: readonly Operation<Input, Output>[]
  readonly #answered: number
  readonly #observations: Uint8Array
  /** For each open operation the one before it with the same input. */
  readonly #twinOf: ReadonlyMap<number, number>
  readonly #events: EventList
  readonly #answeredInOrder: OperationSet
  readonly #openInOrder: OperationSet
  readonly #seen = new Set<string>()
  #state: State
  #stateKey: string
  #last: Placed<State> | undefined
  #steps = 0

  #blockedAfter: Placed<State> | undefined
  #blocked = -1
  readonly #blockedStates = new Map<string, State>()

  constructor(model: Model<State, Input, Output>, history: readonly Operation<Input, Output>[]) {
    const answered = history.filter((operation) => !isOpen(operation)).sort((a, b) => a.return! - b.return!)
    const open = history.filter(isOpen).sort((a, b) => a.call - b.call)
    this.#model = model
    this.#operations = [...answered, ...open]
    this.#answered = answered.length
    this.#observations = Uint8Array.from(answered, ({ input, output }) =>
      Number(model.isObservation(input, output!)),
    )
    this.#twinOf = twins(open.map(({ input }) => model.inputKey(input)))
    this.#events = new EventList(this.#operations)
    this.#answeredInOrder = new OperationSet(answered.length)
    this.#openInOrder = new OperationSet(open.length)
    this.#state = model.initial
    this.#stateKey = model.stateKey(model.initial)
  }

  /** Runs once. A step is one look at one operation, so that the bound means the same on every computer. */
  run(stepsMax: number): SearchResult<State, Input, Output> {
    assert(
      stepsMax > 0 && stepsMax <= SEARCH_STEPS_MAX,
      `steps must be 1 to ${SEARCH_STEPS_MAX}: ${stepsMax}`,
    )
    this.#placeObservations(stepsMax)
    let call = this.#events.first
    while (!this.#isComplete()) {
      if (this.#steps === stepsMax) return { kind: 'exhausted', steps: stepsMax }
      if (call === NO_EVENT) {
        this.#noteDeadEnd()
        const last = this.#takeBack()
        if (last === undefined) return this.#impossible()
        call = this.#callAfter(this.#events.callOf(last))
      } else if (this.#place(call)) {
        this.#placeObservations(stepsMax)
        call = this.#events.first
      } else {
        call = this.#callAfter(call)
      }
    }
    return { kind: 'ordered', steps: this.#steps, order: this.#orderUpTo(this.#last) }
  }

  #isComplete(): boolean {
    return this.#answeredInOrder.missing === this.#answered
  }

  /** The next candidate; the first answer among the rest is that of the first operation that is not in order. */
  #callAfter(call: number): number {
    return this.#events.nextCall(call, this.#answeredInOrder.missing)
  }

  /** Puts all observations in order that can come next. */
  #placeObservations(stepsMax: number): void {
    let call = this.#events.first
    while (!this.#isComplete() && call !== NO_EVENT && this.#steps < stepsMax) {
      const operation = this.#events.operation(call)
      if (this.#isOpen(operation)) return
      const isPlaced = this.#isObservation(operation) && this.#place(call)
      call = isPlaced ? this.#events.first : this.#callAfter(call)
    }
  }

  /** Puts an operation next in order, if its answer allows that and it leads to something new. */
  #place(call: number): boolean {
    this.#steps++
    const operation = this.#events.operation(call)
    const { input, output } = this.#operations[operation]!
    const state = this.#model.apply(this.#state, input, output)
    if (state === undefined) return false
    const stateKey = this.#model.stateKey(state)
    if (this.#isOpen(operation) && (stateKey === this.#stateKey || this.#hasTwinBefore(operation)))
      return false
    if (this.#isLastNeedless(operation, stateKey)) return false
    if (!this.#enter(operation, stateKey)) return false
    this.#last = { before: this.#last, operation, stateBefore: this.#state, stateKeyBefore: this.#stateKey }
    this.#state = state
    this.#stateKey = stateKey
    this.#events.lift(operation)
    return true
  }

  /** Adds an operation to the configuration, unless what that gives has been seen before. */
  #enter(operation: number, stateKey: string): boolean {
    this.#add(operation)
    const seenBefore = this.#seen.size
    this.#seen.add(`${this.#answeredInOrder.key()};${this.#openInOrder.key()};${stateKey}`)
    if (this.#seen.size > seenBefore) return true
    this.#delete(operation)
    return false
  }

  /** Takes back the observations at the end, and what comes before them; gives its number. */
  #takeBack(): number | undefined {
    for (;;) {
      const last = this.#last
      if (last === undefined) return undefined
      this.#last = last.before
      this.#state = last.stateBefore
      this.#stateKey = last.stateKeyBefore
      this.#delete(last.operation)
      this.#events.putBack(last.operation)
      if (!this.#isObservation(last.operation)) return last.operation
    }
  }

  #isOpen(operation: number): boolean {
    return operation >= this.#answered
  }

  #isObservation(operation: number): boolean {
    return this.#observations[operation] === 1
  }

  /** Whether an open operation with the same input should come before this one. */
  #hasTwinBefore(operation: number): boolean {
    const twin = this.#twinOf.get(operation - this.#answered)
    return twin !== undefined && !this.#openInOrder.has(twin)
  }

  /** Whether `operation` would lead to the same state without the open operation that is now last. */
  #isLastNeedless(operation: number, stateKey: string): boolean {
    const last = this.#last
    if (last === undefined || !this.#isOpen(last.operation)) return false
    const { input, output } = this.#operations[operation]!
    const without = this.#model.apply(last.stateBefore, input, output)
    return without !== undefined && this.#model.stateKey(without) === stateKey
  }

  #add(operation: number): void {
    if (this.#isOpen(operation)) this.#openInOrder.add(operation - this.#answered)
    else this.#answeredInOrder.add(operation)
  }

  #delete(operation: number): void {
    if (this.#isOpen(operation)) this.#openInOrder.delete(operation - this.#answered)
    else this.#answeredInOrder.delete(operation)
  }

  /** Keeps the dead ends at the latest answer that any order reached. */
  #noteDeadEnd(): void {
    const blocked = this.#answeredInOrder.missing
    if (blocked < this.#blocked) return
    if (blocked > this.#blocked) {
      this.#blocked = blocked
      this.#blockedAfter = this.#last
      this.#blockedStates.clear()
    }
    this.#blockedStates.set(this.#stateKey, this.#state)
  }

  #orderUpTo(last: Placed<State> | undefined): readonly Operation<Input, Output>[] {
    const order: Operation<Input, Output>[] = []
    for (let placed = last; placed !== undefined; placed = placed.before)
      order.push(this.#operations[placed.operation]!)
    return order.reverse()
  }

  #impossible(): SearchResult<State, Input, Output> {
    const deadEnd = {
      prefix: this.#orderUpTo(this.#blockedAfter),
      blocked: this.#operations[this.#blocked]!,
      states: [...this.#blockedStates.values()],
    }
    return { kind: 'impossible', steps: this.#steps, deadEnd }
  }
}

/** For each place in a list of keys the last place before it with the same key, if there is one. */
function twins(keys: readonly string[]): ReadonlyMap<number, number> {
  const latest = new Map<string, number>()
  const found = new Map<number, number>()
  for (const [place, key] of keys.entries()) {
    const twin = latest.get(key)
    if (twin !== undefined) found.set(place, twin)
    latest.set(key, place)
  }
  return found
}

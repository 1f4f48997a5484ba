/**
 * Concurrent histories: what clients asked a service for, when, and what they were answered. A history holds only
 * what the clients saw; when an operation took effect, between its call and its answer, is what a checker looks for.
 */
import { assert } from '../../src/base/assert.ts'
import type { Model } from './model.ts'

/**
 * One operation of one client. It is *open* when its answer never came (the client gave up, the connection broke): it
 * may have taken effect at any time after its call, or never. What certainly never reached the service, such as a
 * refused connection, does not belong into a history.
 */
export interface Operation<Input, Output> {
  readonly client: number
  /** Names the object. */
  readonly key: string
  /**
   * When it was called: a simulated time or an event's number. One operation precedes another if its answer came
   * *before* the other's call; at equal times they count as concurrent. Numbers of events, which are all different,
   * therefore find more.
   */
  readonly call: number
  /** When its answer came, `call` or later; undefined if it is open. */
  readonly return: number | undefined
  readonly input: Input
  /** Its answer; undefined if it is open. */
  readonly output: Output | undefined
}

/** Records a history; each call and each answer is an event with a number of its own. */
export class HistoryRecorder<Input, Output> {
  readonly #operations: Operation<Input, Output>[] = []
  #events = 0

  /** A client calls; gives what to name when the answer comes. */
  call(client: number, key: string, input: Input): number {
    const call = this.#events++
    return this.#operations.push({ client, key, call, return: undefined, input, output: undefined }) - 1
  }

  /** The answer to a call has come. A call that this is never said of stays open. */
  answer(call: number, output: Output): void {
    const operation = this.#operations[call]
    assert(operation !== undefined && isOpen(operation), `call ${call} waits for no answer`)
    this.#operations[call] = { ...operation, return: this.#events++, output }
  }

  /** All operations so far, in the order of their calls. */
  history(): Operation<Input, Output>[] {
    return [...this.#operations]
  }
}

/** Whether the answer never came. */
export function isOpen({ output }: Operation<unknown, unknown>): boolean {
  return output === undefined
}

/** Throws an AssertionError for operations that no client can have seen. */
export function assertHistory(history: readonly Operation<unknown, unknown>[]): void {
  for (const operation of history) {
    const { client, key, call, return: answered = call } = operation
    const where = `client ${client}'s operation on '${key}' called at ${call}`
    assert(Number.isFinite(call) && Number.isFinite(answered), `${where}: times must be finite`)
    assert(answered >= call, `${where} is answered at ${answered}`)
    assert(
      (operation.return === undefined) === isOpen(operation),
      `${where}: an answer has a time and an output`,
    )
  }
}

/** The history of each object by itself, in the order of first use. */
export function historiesByKey<Input, Output>(
  history: readonly Operation<Input, Output>[],
): ReadonlyMap<string, Operation<Input, Output>[]> {
  return Map.groupBy(history, ({ key }) => key)
}

/** One line for people: `client 3 at 10 to 14: get -> "1"`. */
export function describeOperation<State, Input, Output>(
  model: Model<State, Input, Output>,
  { client, call, return: answered, input, output }: Operation<Input, Output>,
): string {
  const when = answered === undefined ? `at ${call}, no answer` : `at ${call} to ${answered}`
  return `client ${client} ${when}: ${model.describe(input, output)}`
}

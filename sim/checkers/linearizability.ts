/**
 * Checks that a service that clients use concurrently answers as if each operation had happened at one instant between
 * its call and its answer: linearizability (Herlihy and Wing, 1990). A history is linearizable exactly if each object's
 * part of it is, so each key is searched by itself, which keeps the searches small (Horn and Kroening, "Faster
 * Linearizability Checking via P-Compositionality", 2015). A service that does not divide has one key.
 *
 * The search takes exponential time at worst and is therefore bounded, in steps and not in seconds, so that a verdict
 * is the same on every computer. Where the bound was met nothing is known, and that never counts as passed.
 */

import { explainDeadEnd } from './explanation.ts'
import { assertHistory, historiesByKey, type Operation } from './history.ts'
import type { Model } from './model.ts'
import { type DeadEnd, Search, type SearchResult } from './search.ts'

export interface LinearizabilityOptions {
  /** The bound for each key, at most SEARCH_STEPS_MAX. A history without trouble takes one to two steps an operation. */
  readonly stepsMax: number
}

/** Every answer is explained. */
export interface Linearizable<Input, Output> {
  readonly kind: 'linearizable'
  /** Over all keys. */
  readonly steps: number
  /** For each key an order that explains its answers; open operations that need not have happened are left out. */
  readonly orders: ReadonlyMap<string, readonly Operation<Input, Output>[]>
}

/** Some answer is wrong, whatever the keys without a result would have given. */
export interface NotLinearizable<State, Input, Output> {
  readonly kind: 'not linearizable'
  readonly steps: number
  /** Every key whose history has no order, the one with the fewest operations first: the rest is about that one. */
  readonly keys: readonly [string, ...string[]]
  readonly deadEnd: DeadEnd<State, Input, Output>
  /** Lines for people: the operation that cannot be ordered, what came before it and what was going on meanwhile. */
  readonly explanation: string
}

/** No answer was found wrong, but not all were explained. */
export interface Unknown {
  readonly kind: 'unknown'
  readonly steps: number
  /** Whose search met the bound. */
  readonly keys: readonly string[]
  readonly explanation: string
}

export type Verdict<State, Input, Output> =
  | Linearizable<Input, Output>
  | NotLinearizable<State, Input, Output>
  | Unknown

interface KeyResult<State, Input, Output> {
  readonly key: string
  readonly history: readonly Operation<Input, Output>[]
  readonly result: SearchResult<State, Input, Output>
}

/** Compares a history with what the model says of each key. The operations may come in any order. */
export function checkLinearizable<State, Input, Output>(
  model: Model<State, Input, Output>,
  history: readonly Operation<Input, Output>[],
  { stepsMax }: LinearizabilityOptions,
): Verdict<State, Input, Output> {
  assertHistory(history)
  const results = [...historiesByKey(history)].map(([key, part]) => ({
    key,
    history: part,
    result: new Search(model, part).run(stepsMax),
  }))
  const steps = results.reduce((sum, { result }) => sum + result.steps, 0)
  return (
    notLinearizable(model, results, steps) ??
    unknown(results, steps, stepsMax) ??
    linearizable(results, steps)
  )
}

/** The verdict failed, or could not be reached; `message` says why. */
export class LinearizabilityError extends Error {
  override readonly name = 'LinearizabilityError'
}

/** Throws a LinearizabilityError for any verdict but 'linearizable', also for 'unknown'. */
export function requireLinearizable<State, Input, Output>(
  verdict: Verdict<State, Input, Output>,
): asserts verdict is Linearizable<Input, Output> {
  if (verdict.kind !== 'linearizable')
    throw new LinearizabilityError(`${verdict.kind}: ${verdict.explanation}`)
}

function notLinearizable<State, Input, Output>(
  model: Model<State, Input, Output>,
  results: readonly KeyResult<State, Input, Output>[],
  steps: number,
): NotLinearizable<State, Input, Output> | undefined {
  const failures = results
    .flatMap(({ key, history, result }) =>
      result.kind === 'impossible' ? [{ key, history, deadEnd: result.deadEnd }] : [],
    )
    .sort((a, b) => a.history.length - b.history.length)
  const [smallest, ...others] = failures
  if (smallest === undefined) return undefined
  const { key, history, deadEnd } = smallest
  return {
    kind: 'not linearizable',
    steps,
    keys: [key, ...others.map((other) => other.key)],
    deadEnd,
    explanation: explainDeadEnd(model, history, deadEnd),
  }
}

function unknown(
  results: readonly KeyResult<unknown, unknown, unknown>[],
  steps: number,
  stepsMax: number,
): Unknown | undefined {
  const exhausted = results.filter(({ result }) => result.kind === 'exhausted')
  if (exhausted.length === 0) return undefined
  const keys = exhausted.map(({ key }) => key)
  const counts = exhausted.map(({ key, history }) => `'${key}' with ${history.length} operations`)
  const explanation = `${stepsMax} steps were not enough for ${counts.join(', ')}`
  return { kind: 'unknown', steps, keys, explanation }
}

function linearizable<Input, Output>(
  results: readonly KeyResult<unknown, Input, Output>[],
  steps: number,
): Linearizable<Input, Output> {
  const orders = new Map<string, readonly Operation<Input, Output>[]>()
  for (const { key, result } of results) if (result.kind === 'ordered') orders.set(key, result.order)
  return { kind: 'linearizable', steps, orders }
}

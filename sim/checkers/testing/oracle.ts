/** What linearizability means, without any cleverness: for small histories, and to check an order that was found. */
import { isOpen, type Operation } from '../history.ts'
import type { Model } from '../model.ts'

function precedes(a: Operation<unknown, unknown>, b: Operation<unknown, unknown>): boolean {
  return a.return !== undefined && a.return < b.call
}

/** Tries every order of every choice of open operations, for one key. */
export function hasOrder<State, Input, Output>(
  model: Model<State, Input, Output>,
  history: readonly Operation<Input, Output>[],
  state: State = model.initial,
): boolean {
  if (history.every(isOpen)) return true
  return history.some((operation) => {
    if (history.some((other) => precedes(other, operation))) return false
    const next = model.apply(state, operation.input, operation.output)
    const rest = history.filter((other) => other !== operation)
    return next !== undefined && hasOrder(model, rest, next)
  })
}

/** The keys of all states in which orders of what must precede `blocked`, and of what may, can end. */
export function statesBefore<State, Input, Output>(
  model: Model<State, Input, Output>,
  history: readonly Operation<Input, Output>[],
  blocked: Operation<Input, Output>,
  state: State = model.initial,
): Set<string> {
  const isComplete = !history.some(
    (other) => other !== blocked && other.return !== undefined && other.return < blocked.return!,
  )
  const candidates = history.filter(
    (operation) => operation !== blocked && !history.some((other) => precedes(other, operation)),
  )
  const states = new Set<string>(isComplete ? [model.stateKey(state)] : [])
  for (const operation of candidates) {
    const next = model.apply(state, operation.input, operation.output)
    const rest = history.filter((other) => other !== operation)
    if (next !== undefined) for (const key of statesBefore(model, rest, blocked, next)) states.add(key)
  }
  return states
}

/** Whether `order` explains the history of one key: all that was answered, in an order that time and answers allow. */
export function isOrderOf<State, Input, Output>(
  model: Model<State, Input, Output>,
  order: readonly Operation<Input, Output>[],
  history: readonly Operation<Input, Output>[],
): boolean {
  const placed = new Set(order)
  const isComplete =
    placed.size === order.length &&
    order.every((operation) => history.includes(operation)) &&
    history.every((operation) => isOpen(operation) || placed.has(operation))
  return isComplete && keepsTime(order) && isExecution(model, order)
}

/** No operation comes after one that was called later than its answer. */
function keepsTime(order: readonly Operation<unknown, unknown>[]): boolean {
  let latestCall = Number.NEGATIVE_INFINITY
  return order.every((operation) => {
    latestCall = Math.max(latestCall, operation.call)
    return operation.return === undefined || operation.return >= latestCall
  })
}

function isExecution<State, Input, Output>(
  model: Model<State, Input, Output>,
  order: readonly Operation<Input, Output>[],
): boolean {
  let state: State | undefined = model.initial
  for (const { input, output } of order) {
    state = model.apply(state, input, output)
    if (state === undefined) return false
  }
  return true
}

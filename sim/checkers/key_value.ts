/** A store of values by key, and what its operations mean for one key. */
import { unreachable } from '../../src/base/assert.ts'
import type { Operation } from './history.ts'
import type { Model } from './model.ts'

/** What a key holds; null if it is absent. */
export type Value = string | null

export type KeyValueInput =
  | { readonly kind: 'get' }
  | { readonly kind: 'put'; readonly value: string }
  /** Puts `value` if the key holds `expected` (null: if it is absent). */
  | { readonly kind: 'cas'; readonly expected: Value; readonly value: string }
  | { readonly kind: 'delete' }
  /** Adds one to a decimal integer; an absent key counts as 0; any other value is left alone. */
  | { readonly kind: 'increment' }

/**
 * The answer. get: the value; put: true; cas: whether it was done; delete: whether there was a value; increment: the
 * new value, or null if the value is no integer.
 */
export type KeyValueOutput = Value | boolean

export type KeyValueOperation = Operation<KeyValueInput, KeyValueOutput>

const decimalInteger = /^(?:0|-?[1-9][0-9]*)$/

/** What the store does with a key that holds `value`: what the key holds then, and the answer. */
export function executeKeyValue(
  value: Value,
  input: KeyValueInput,
): { value: Value; output: KeyValueOutput } {
  switch (input.kind) {
    case 'get':
      return { value, output: value }
    case 'put':
      return { value: input.value, output: true }
    case 'cas':
      return value === input.expected ? { value: input.value, output: true } : { value, output: false }
    case 'delete':
      return { value: null, output: value !== null }
    case 'increment':
      return increment(value)
    default:
      return unreachable(input)
  }
}

function increment(value: Value): { value: Value; output: Value } {
  if (!decimalInteger.test(value ?? '0')) return { value, output: null }
  const next = String(BigInt(value ?? '0') + 1n)
  return { value: next, output: next }
}

/** A value for people: in quotes, or `absent`. */
export function describeValue(value: Value): string {
  return value === null ? 'absent' : JSON.stringify(value)
}

/** The meaning of one key, which is absent at first. */
export const keyValueModel: Model<Value, KeyValueInput, KeyValueOutput> = {
  initial: null,
  apply(state, input, output) {
    const done = executeKeyValue(state, input)
    return output === undefined || output === done.output ? done.value : undefined
  },
  isObservation: ({ kind }, output) => kind === 'get' || output === false || output === null,
  stateKey: (state) => JSON.stringify(state),
  inputKey: describeInput,
  describeState: describeValue,
  describe(input, output) {
    const asked = describeInput(input)
    if (output === undefined || (input.kind === 'put' && output === true)) return asked
    return `${asked} -> ${typeof output === 'boolean' ? output : describeValue(output)}`
  },
}

function describeInput(input: KeyValueInput): string {
  if (input.kind === 'put') return `put ${describeValue(input.value)}`
  if (input.kind === 'cas') return `cas ${describeValue(input.expected)} to ${describeValue(input.value)}`
  return input.kind
}

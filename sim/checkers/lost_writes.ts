/**
 * The direct question after a failover: is any acknowledged write gone? It follows from linearizability if the history
 * has final reads; asked by itself it needs no search, and its answer names the write.
 */
import { assert } from '../../src/base/assert.ts'
import { describeOperation, historiesByKey, isOpen } from './history.ts'
import {
  describeValue,
  executeKeyValue,
  type KeyValueOperation,
  keyValueModel,
  type Value,
} from './key_value.ts'

/** A key whose final value no write that could have been the last explains. */
export interface LostWrite {
  readonly key: string
  readonly finalValue: Value
  /** The acknowledged writes of which one should have been the last: no other was called after their answer. */
  readonly lastWrites: readonly KeyValueOperation[]
  /** Lines for people. */
  readonly explanation: string
}

/**
 * Keys whose final value cannot be right. `finalValues` holds what was read of each key of the history after all
 * answers had come. Such a value is explained by the last acknowledged write (any of them, if several overlap), by an
 * open operation, which may take effect as late as it likes, or, if no write was acknowledged, by absence. Finds
 * less than a check of linearizability: which answers were given on the way does not matter here.
 */
export function findLostWrites(
  history: readonly KeyValueOperation[],
  finalValues: ReadonlyMap<string, Value>,
): LostWrite[] {
  return [...historiesByKey(history)].flatMap(([key, operations]) => {
    const finalValue = finalValues.get(key)
    assert(finalValue !== undefined, `'${key}' has no final value`)
    return findLostWrite(key, operations, finalValue) ?? []
  })
}

function findLostWrite(
  key: string,
  operations: readonly KeyValueOperation[],
  finalValue: Value,
): LostWrite | undefined {
  const writes = operations.filter(isAcknowledgedWrite)
  const latestCall = writes.reduce((latest, { call }) => Math.max(latest, call), Number.NEGATIVE_INFINITY)
  const lastWrites = writes.filter((write) => write.return! >= latestCall)
  const open = operations.filter(isOpen)
  const values = new Set(lastWrites.map(acknowledgedValue))
  if (lastWrites.length === 0) values.add(null)
  for (const { input } of open) {
    if (input.kind === 'put' || input.kind === 'cas') values.add(input.value)
    if (input.kind === 'delete') values.add(null)
  }
  const increments = open.filter(({ input }) => input.kind === 'increment').length
  if (isReached(finalValue, values, increments)) return undefined
  return { key, finalValue, lastWrites, explanation: explain(key, finalValue, operations, lastWrites) }
}

function isAcknowledgedWrite({ input, output }: KeyValueOperation): boolean {
  if (output === undefined || input.kind === 'get') return false
  if (input.kind === 'cas') return output === true
  return input.kind !== 'increment' || output !== null
}

/** What a key holds right after an acknowledged write. */
function acknowledgedValue({ input, output }: KeyValueOperation): Value {
  if (input.kind === 'increment') return output as Value
  return input.kind === 'put' || input.kind === 'cas' ? input.value : null
}

/** Whether at most so many increments lead from one of the values to the final one. */
function isReached(finalValue: Value, values: ReadonlySet<Value>, increments: number): boolean {
  let reached = values
  for (let count = 0; count < increments && !reached.has(finalValue); count++) {
    reached = new Set([...reached].map((value) => executeKeyValue(value, { kind: 'increment' }).value))
  }
  return reached.has(finalValue)
}

function explain(
  key: string,
  finalValue: Value,
  operations: readonly KeyValueOperation[],
  lastWrites: readonly KeyValueOperation[],
): string {
  const describe = (operation: KeyValueOperation) => `  ${describeOperation(keyValueModel, operation)}`
  const writers = operations.filter(
    (operation) => isAcknowledgedWrite(operation) && acknowledgedValue(operation) === finalValue,
  )
  return [
    `key '${key}' ends as ${describeValue(finalValue)}, but the last acknowledged write is`,
    ...(lastWrites.length === 0 ? ['  none'] : lastWrites.map(describe)),
    ...(writers.length === 0
      ? ['No write gives that value.']
      : ['That value is from', ...writers.slice(-1).map(describe)]),
  ].join('\n')
}

/**
 * What the clients of a protected machine must have seen. Two judges look at it: the search for an order that explains
 * every answer (linearizability), and the plain questions whether an acknowledged value is missing at the end, is there
 * twice, or stands elsewhere than its answer said. The second follow from the first; asked by themselves they need no
 * search, and their answers name the value.
 */

import { describeOperation, historiesByKey, isOpen } from '../../sim/checkers/history.ts'
import { checkLinearizable } from '../../sim/checkers/linearizability.ts'
import { type ListOperation, listModel } from './list_model.ts'

/** For each key. A history without trouble takes one to two steps an operation, and a key has some hundred. */
const STEPS_MAX = 1_000_000

export interface HistoryOptions {
  /** Operations whose answer never came: where connections are meant to break, there are some. None by default. */
  readonly openMax?: number
}

export interface HistoryReport {
  readonly operations: number
  readonly keys: number
  /** Empty if all is well. Lines for people. */
  readonly faults: readonly string[]
}

/** Looks at a whole history, which ends with a read of each key. */
export function checkHistory(
  history: readonly ListOperation[],
  { openMax = 0 }: HistoryOptions = {},
): HistoryReport {
  const keys = historiesByKey(history)
  const faults = [...keys].flatMap(([key, operations]) => keyFaults(key, operations))
  const open = history.filter(isOpen)
  if (open.length > openMax) {
    const shown = open.slice(0, 5).map((operation) => describeOperation(listModel, operation))
    faults.push(`${open.length} operations were never answered: ${shown.join('; ')}`)
  }
  const verdict = checkLinearizable(listModel, history, { stepsMax: STEPS_MAX })
  if (verdict.kind !== 'linearizable') faults.push(`${verdict.kind}: ${verdict.explanation}`)
  return { operations: history.length, keys: keys.size, faults }
}

/** The plain questions about one key. */
function keyFaults(key: string, operations: readonly ListOperation[]): string[] {
  const final = finalList(operations)
  if (final === undefined) return [`key '${key}': no read of all of it came after all other answers`]
  const pushed = new Map(
    operations.flatMap((operation) =>
      operation.input.kind === 'push' ? [[operation.input.value, operation] as const] : [],
    ),
  )
  return [...doubled(final), ...strange(final, pushed), ...lost(final, pushed)].map(
    (fault) => `key '${key}': ${fault}`,
  )
}

type Pushed = ReadonlyMap<string, ListOperation>

function doubled(final: readonly string[]): string[] {
  return final.flatMap((value, i) =>
    final.indexOf(value) < i ? [`doubled write: ${value} stands at ${final.indexOf(value)} and at ${i}`] : [],
  )
}

function strange(final: readonly string[], pushed: Pushed): string[] {
  return final.flatMap((value) => (pushed.has(value) ? [] : [`strange value: nobody has written ${value}`]))
}

function lost(final: readonly string[], pushed: Pushed): string[] {
  return [...pushed].flatMap(([value, operation]) => {
    if (isOpen(operation)) return []
    const at = final.indexOf(value)
    const said = describeOperation(listModel, operation)
    if (at < 0) return [`lost write: ${value} is missing at the end; ${said}`]
    return at + 1 === operation.output ? [] : [`moved write: ${value} stands at ${at}; ${said}`]
  })
}

/** What was read of the whole list after all answers that came had come. */
function finalList(operations: readonly ListOperation[]): readonly string[] | undefined {
  const last = operations.findLast(
    ({ input, output }) => input.kind === 'read' && input.count === 'all' && output !== undefined,
  )
  if (last === undefined) return undefined
  const isAfterAll = operations.every((other) => other === last || (other.return ?? other.call) < last.call)
  return isAfterAll ? (last.output as readonly string[]) : undefined
}

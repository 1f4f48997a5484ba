/** Why a history is not linearizable, in lines for people. */
import { describeOperation, isOpen, type Operation } from './history.ts'
import type { Model } from './model.ts'
import type { DeadEnd } from './search.ts'

/** So many lines of each list are shown; an explanation is to be read. */
const LINES_MAX = 10

/**
 * Names the operation that cannot be ordered, what its key can have held by then, the end of an order of what precedes
 * it, and the operations that were under way at the same time and could have come before it, but do not help.
 */
export function explainDeadEnd<State, Input, Output>(
  model: Model<State, Input, Output>,
  history: readonly Operation<Input, Output>[],
  { prefix, blocked, states }: DeadEnd<State, Input, Output>,
): string {
  const describe = (operation: Operation<Input, Output>) => `  ${describeOperation(model, operation)}`
  const meanwhile = history.filter((other) => other !== blocked && overlap(other, blocked))
  return [
    `key '${blocked.key}': no order explains the answer of`,
    describe(blocked),
    `By then the key can only have held ${lastOf(states.map(model.describeState), ', ')}.`,
    ...list(`An order of ${prefix.length} operations before it:`, prefix.map(describe)),
    ...list('Under way at the same time:', meanwhile.map(describe)),
  ].join('\n')
}

/** Whether either could come before the other. */
function overlap(a: Operation<unknown, unknown>, b: Operation<unknown, unknown>): boolean {
  return a.call <= endOf(b) && b.call <= endOf(a)
}

function endOf(operation: Operation<unknown, unknown>): number {
  return isOpen(operation) ? Number.POSITIVE_INFINITY : operation.return!
}

function list(heading: string, lines: readonly string[]): string[] {
  if (lines.length === 0) return []
  return [heading, lastOf(lines, '\n')]
}

/** The last entries, and how many there are before them. */
function lastOf(entries: readonly string[], separator: string): string {
  const left = entries.length - LINES_MAX
  const shown = entries.slice(-LINES_MAX)
  return (left > 0 ? [`${separator === '\n' ? '  ' : ''}(${left} more)`, ...shown] : shown).join(separator)
}

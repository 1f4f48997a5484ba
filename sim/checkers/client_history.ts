/** The clients' operations on the toy service, as the checkers of histories read them. */
import type { ClientOperation } from '../history.ts'
import type { Answer, Request } from '../toy_service.ts'
import type { KeyValueInput, KeyValueOperation, KeyValueOutput, Value } from './key_value.ts'

/** Times are simulated milliseconds; what is called and answered at one instant counts as concurrent. */
export function keyValueHistory(operations: readonly ClientOperation[]): KeyValueOperation[] {
  return operations.map(({ client, callMs, returnMs, request, answer }) => ({
    client,
    key: String(request.key),
    call: callMs,
    return: answer === undefined ? undefined : returnMs,
    input: inputOf(request),
    output: answer && outputOf(request, answer),
  }))
}

/**
 * For each key the answer of its last read, if that was called after all answers on it had come: what the run ends with.
 */
export function finalValues(history: readonly KeyValueOperation[]): ReadonlyMap<string, Value> {
  const values = new Map<string, Value>()
  for (const [key, operations] of Map.groupBy(history, (operation) => operation.key)) {
    const last = operations.findLast(({ input, output }) => input.kind === 'get' && output !== undefined)
    if (last === undefined) continue
    const isAfterAll = operations.every((other) => other === last || (other.return ?? other.call) < last.call)
    if (isAfterAll) values.set(key, last.output as Value)
  }
  return values
}

function inputOf({ kind, value, expected }: Request): KeyValueInput {
  switch (kind) {
    case 'put':
      return { kind, value: String(value) }
    case 'cas':
      return { kind, expected: valueFrom(expected), value: String(value) }
    default:
      return { kind }
  }
}

function outputOf({ kind }: Request, { status, value }: Answer): KeyValueOutput {
  switch (kind) {
    case 'get':
      return valueFrom(value)
    case 'increment':
      return String(value)
    case 'put':
    case 'cas':
    case 'delete':
      return status === 'done'
  }
}

/** The service has no value 0: it stands for none. */
function valueFrom(value: number): Value {
  return value === 0 ? null : String(value)
}

/** Inputs and effects in a line for the trace. */
import type { Effect, Input, MachineOutput } from '../src/replication/ports.ts'

export function describeInput(input: Input): string {
  return describe(input)
}

export function describeEffect(effect: Effect): string {
  return describe(effect)
}

/** Name and fields; bytes only by their length, records by their range. */
function describe(value: Input | Effect): string {
  const { kind, ...fields } = value
  return [kind, ...Object.entries(fields).map(([name, field]) => `${name}=${show(name, field)}`)].join(' ')
}

function show(name: string, value: unknown): string {
  if (value === undefined) return '-'
  if (value instanceof Uint8Array) return `${value.length} bytes`
  if (name === 'outputs') return (value as MachineOutput[]).map(showOutput).join(',') || 'none'
  if (name === 'batch') return showBatch(value as { firstIndex: bigint; records: readonly unknown[] })
  if (Array.isArray(value)) return `[${value.map((item) => show('', item)).join(' ')}]`
  if (typeof value !== 'object' || value === null) return String(value)
  return `{${Object.entries(value)
    .map(([key, field]) => `${key}=${show(key, field)}`)
    .join(' ')}}`
}

function showOutput({ index, port, ordinal }: MachineOutput): string {
  return `${port}:${ordinal}@${index}`
}

function showBatch({ firstIndex, records }: { firstIndex: bigint; records: readonly unknown[] }): string {
  return `${firstIndex}+${records.length}`
}

/**
 * A host's numbers as Prometheus reads them (text format 0.0.4). Names follow its conventions: base units at the end,
 * `_total` on what only grows. A state is a gauge for each value it can have, of which one is 1.
 */
import { PROTECTION_REASONS } from '../../replication/protection.ts'
import type { HostStatus } from './control_methods.ts'

export const METRICS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

/** What is measured beside the status. */
export interface HostNumbers {
  readonly version: string
  /** Of the code that decides what a machine does (software_build.ts). */
  readonly build: string
  readonly releasedOutputs: number
  readonly outputDelaySumMs: number
  readonly cpuSeconds: number
  readonly residentBytes: number
  /** When the process started, since 1970. */
  readonly startSeconds: number
}

type Labels = Readonly<Record<string, string>>
type Sample = readonly [labels: Labels, value: number | string]

const ROLES: readonly HostStatus['role'][] = ['starting', 'joining', 'backup', 'primary']
const STATES: readonly HostStatus['protection'][] = ['protected', 'not protected', 'stopped', 'halted']

export function metricsText(status: HostStatus, numbers: HostNumbers): string {
  const { machine, host } = status
  const families: string[] = []
  const family = (kind: string, name: string, help: string, samples: readonly Sample[]): void => {
    if (samples.length === 0) return
    const lines = samples.map(([labels, value]) => `${series(name, { machine, host, ...labels })} ${value}`)
    families.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${kind}`, ...lines)
  }
  const one = (value: number | string | null): Sample[] => (value === null ? [] : [[{}, value]])
  const seconds = (ms: number | null): number | null => (ms === null ? null : rounded(ms / 1000))
  const { version, build } = numbers
  family('gauge', 'understudy_build_info', 'Which program this is.', [[{ version, build }, 1]])
  family('gauge', 'understudy_role', 'What this copy is: 1 for one of the roles.', roleSamples(status))
  family('gauge', 'understudy_protection', 'How safe the machine is: 1 for one state and reason.', [
    ...protectionSamples(status),
  ])
  family('gauge', 'understudy_configuration_epoch', 'Epoch, if this is the primary.', one(status.epoch))
  family('gauge', 'understudy_configuration_life', 'Life, if this is the primary.', one(status.life))
  const position = 'Steps that this copy has executed: instructions, traps and interrupts.'
  family('counter', 'understudy_executed_steps_total', position, one(status.position))
  const lag = 'How far behind the other copy is, if this is the primary.'
  family('gauge', 'understudy_backup_lag_seconds', lag, one(seconds(status.lagMs)))
  family('counter', 'understudy_log_bytes_total', 'Bytes of log sent to the backup.', one(status.logBytes))
  delayFamily(families, status, numbers)
  const stop = 'For how long the machine stood still for the state that a joining copy got last.'
  family('gauge', 'understudy_join_stop_seconds', stop, one(seconds(status.joinStopMs)))
  family('counter', 'process_cpu_seconds_total', 'CPU time of this process.', one(numbers.cpuSeconds))
  family('gauge', 'process_resident_memory_bytes', 'Resident memory.', one(numbers.residentBytes))
  const start = 'When this process started, since 1970.'
  family('gauge', 'process_start_time_seconds', start, one(numbers.startSeconds))
  return `${families.join('\n')}\n`
}

function roleSamples({ role }: HostStatus): Sample[] {
  return ROLES.map((one) => [{ role: one }, one === role ? 1 : 0])
}

/** Every state with every reason that it can have. That of a copy that has halted is free text, and is in its log. */
function protectionSamples({ protection, reason }: HostStatus): Sample[] {
  return STATES.flatMap((state): Sample[] => {
    const isNow = state === protection
    if (state !== 'not protected') return [[{ state, reason: '' }, isNow ? 1 : 0]]
    return PROTECTION_REASONS.map((one) => [{ state, reason: one }, isNow && one === reason ? 1 : 0])
  })
}

function delayFamily(families: string[], status: HostStatus, numbers: HostNumbers): void {
  const { machine, host, outputDelayMs } = status
  const name = 'understudy_output_delay_seconds'
  const labels = { machine, host }
  families.push(
    `# HELP ${name} For how long outputs wait for the backup; quantiles are of the latest thousand.`,
    `# TYPE ${name} summary`,
    `${series(name, { ...labels, quantile: '0.5' })} ${rounded(outputDelayMs.p50 / 1000)}`,
    `${series(name, { ...labels, quantile: '0.99' })} ${rounded(outputDelayMs.p99 / 1000)}`,
    `${series(`${name}_sum`, labels)} ${rounded(numbers.outputDelaySumMs / 1000)}`,
    `${series(`${name}_count`, labels)} ${numbers.releasedOutputs}`,
  )
}

function series(name: string, labels: Labels): string {
  const pairs = Object.entries(labels).map(([label, value]) => `${label}="${escaped(value)}"`)
  return `${name}{${pairs.join(',')}}`
}

/** To the microsecond: what a sum of doubles has beyond it means nothing. */
const rounded = (seconds: number): number => Math.round(seconds * 1e6) / 1e6

const escaped = (value: string): string =>
  value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')

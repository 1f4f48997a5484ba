/** The report of a run, as `--report FILE.json` writes it. */
import { writeOutputFile } from './files.ts'

/** How a run ended: by itself, at the limit it was given, waiting for nothing, or by the user. */
export type ReportedEnd = 'exit' | 'limit' | 'idle' | 'interrupted'

export interface RunReport {
  readonly kind: 'understudy-report'
  readonly version: 1
  readonly end: ReportedEnd
  /** The guest's own status; null unless it ended by itself. */
  readonly exitStatus: number | null
  /** From the first instruction to the end. */
  readonly wallSeconds: number
  /** The part of wallSeconds in which the guest waited. */
  readonly idleSeconds: number
  /** Steps taken since the machine was created. */
  readonly position: number
  /** Steps of this run per second that was not idle. */
  readonly instructionsPerSecond: number
  /** The digest of the machine at its end: 16 hexadecimal digits. */
  readonly digest: string
}

export interface RunMeasurement {
  readonly end: ReportedEnd
  readonly exitStatus: number | undefined
  readonly wallSeconds: number
  readonly idleSeconds: number
  readonly position: bigint
  /** Steps taken in this run; the position, unless it began with a snapshot. */
  readonly steps: bigint
  readonly digest: bigint
}

export function runReport(measured: RunMeasurement): RunReport {
  const busySeconds = measured.wallSeconds - measured.idleSeconds
  return {
    kind: 'understudy-report',
    version: 1,
    end: measured.end,
    exitStatus: measured.exitStatus ?? null,
    wallSeconds: measured.wallSeconds,
    idleSeconds: measured.idleSeconds,
    position: Number(measured.position),
    instructionsPerSecond: busySeconds > 0 ? Math.round(Number(measured.steps) / busySeconds) : 0,
    digest: measured.digest.toString(16).padStart(16, '0'),
  }
}

/** Writes the report. Throws a UserError if that is not possible. */
export async function writeRunReport(path: string, report: RunReport): Promise<void> {
  await writeOutputFile(path, `${JSON.stringify(report, undefined, 2)}\n`)
}

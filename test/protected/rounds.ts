/** What happens to a pair again and again while clients use it: a round each, with what was seen of it. */
import assert from 'node:assert/strict'
import type { PairStatus } from '../../src/node/host/pair_control.ts'
import { checkHistory } from './check_history.ts'
import { type ProtectedPair, signal } from './pair.ts'
import { Workload, type WorkloadOptions } from './workload.ts'

/** Far above any pause: an answer that has not come by then never comes. */
const PATIENCE_MS = 60_000
/** Answers that clients must have before a fault, and after it. */
const OPERATIONS_MIN = 100
const LOOK_MS = 50
const SERVICE_MS_MAX = 120_000

export interface RoundReport {
  readonly round: number
  readonly operations: number
  /** Connection errors, wrong answers, and what the history's judges found. */
  readonly errors: readonly string[]
  /** The longest time that an operation of any client took. */
  readonly longestPauseMs: number
  /** From each fault to protection. */
  readonly unprotectedMs: readonly number[]
}

export type Fault = (pair: ProtectedPair, before: PairStatus) => Promise<void> | void

/** The primary's host is gone from one instruction to the next. */
export const killPrimary: Fault = (_, before) => {
  assert.ok(before.primary !== null)
  signal(before.primary.pid, 'SIGKILL')
}

export const killBackup: Fault = (_, before) => {
  assert.ok(before.backup !== null)
  signal(before.backup.pid, 'SIGKILL')
}

export const failOver: Fault = async (pair) => {
  await pair.command('failover')
}

/** What clients saw while something happened. */
export type ServiceReport = Pick<RoundReport, 'operations' | 'errors' | 'longestPauseMs'>

/** Under load: each fault, and protection again. Throws only if the pair does not serve, or is not protected again. */
export async function runRound(
  pair: ProtectedPair,
  round: number,
  faults: readonly Fault[],
): Promise<RoundReport> {
  let before = await pair.untilProtected()
  const unprotectedMs: number[] = []
  const seen = await underLoad(pair, { name: `round${round}` }, async (untilServed) => {
    for (const fault of faults) {
      if (unprotectedMs.length > 0) await untilServed()
      const start = performance.now()
      await fault(pair, before)
      before = await pair.untilProtected(before.epoch ?? 0)
      unprotectedMs.push(Math.round(performance.now() - start))
    }
  })
  return { round, ...seen, unprotectedMs }
}

/**
 * Has clients use the machine before, during and after `action`, which may wait until they have had more answers. Throws
 * only if they get none any more.
 */
export async function underLoad(
  pair: ProtectedPair,
  options: Omit<WorkloadOptions, 'port'>,
  action: (untilServed: () => Promise<void>, workload: Workload) => Promise<void>,
): Promise<ServiceReport> {
  const workload = await Workload.start({ port: pair.port, ...options })
  const operations = Math.max(OPERATIONS_MIN, options.connections ?? 0)
  const untilServed = (): Promise<void> => untilAnswered(pair, workload, operations)
  await untilServed()
  await action(untilServed, workload)
  await untilServed()
  const { history, connectionErrors, wrongAnswers, longestPauseMs } = await workload.finish(PATIENCE_MS)
  const { operations: seen, faults } = checkHistory(history)
  const errors = [...connectionErrors, ...wrongAnswers, ...faults]
  return { operations: seen, errors, longestPauseMs: Math.round(longestPauseMs) }
}

/** Waits until the clients have had some more answers, or have lost their connections. */
async function untilAnswered(pair: ProtectedPair, workload: Workload, operations: number): Promise<void> {
  const wanted = workload.operations + operations
  for (const end = performance.now() + SERVICE_MS_MAX; workload.operations < wanted; ) {
    if (workload.connectionErrors.length > 0) return
    assert.ok(performance.now() < end, `the clients get no answers${pair.logs()}`)
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
  }
}

/** A round in a line. */
export function describeRound(report: RoundReport): string {
  const protectedAgain = report.unprotectedMs.map((ms) => `${(ms / 1000).toFixed(1)} s`).join(', ')
  return `round ${report.round}: ${describeService(report)}, protected again after ${protectedAgain}`
}

/** What clients saw in a line. */
export function describeService({ operations, errors, longestPauseMs }: ServiceReport): string {
  return `longest pause ${longestPauseMs} ms, ${operations} operations, ${errors.length} errors`
}

/**
 * `npm run sim -- [SEED] [--seeds N] [--steps N] [--trace]`: simulates clusters, and says what went wrong. The same seed
 * gives the same run, byte for byte.
 */
import { execFileSync } from 'node:child_process'
import { parseArgs } from 'node:util'
import { ensurePinnedNode, root } from '../tools/runtime.ts'
import { allCheckers } from './checkers/all.ts'
import { Coverage } from './checkers/coverage.ts'
import { missingPairs } from './checkers/coverage_goals.ts'
import { FAULT_NAMES, type FaultName } from './faults.ts'
import { type RunResult, simulate } from './simulate.ts'

ensurePinnedNode()

const USAGE = `npm run sim -- [SEED] [options]

  SEED            the first seed, 1 by default
  --seeds N       how many seeds, one after the other; 1 by default
  --steps N       events after which a run ends at the latest
  --trace         prints all that happens
  --only FAULT    only this fault, in every run; may be given again
  --coverage      prints which faults have met which states
  --help          this text`

const TAIL_LINES = 60

function readArguments() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      seeds: { type: 'string', default: '1' },
      steps: { type: 'string', default: '2000000' },
      trace: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true },
      coverage: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(USAGE)
    process.exit(0)
  }
  const number = (text: string, what: string) => {
    const value = Number(text)
    if (!Number.isInteger(value) || value < 0) throw new Error(`${what} wants a number: see --help`)
    return value
  }
  const unknown = values.only?.find((name) => !(FAULT_NAMES as readonly string[]).includes(name))
  if (unknown !== undefined)
    throw new Error(`there is no fault '${unknown}'; there are ${FAULT_NAMES.join(', ')}`)
  return {
    faults: values.only as FaultName[] | undefined,
    showsCoverage: values.coverage,
    seed: number(positionals[0] ?? '1', 'SEED'),
    seeds: number(values.seeds, '--seeds'),
    maxEvents: number(values.steps, '--steps'),
    isTraced: values.trace,
  }
}

type Arguments = ReturnType<typeof readArguments>

function run(
  seed: number,
  { maxEvents, faults }: Arguments,
  coverage: Coverage,
  onLine?: (line: string) => void,
) {
  return simulate({
    seed,
    checkers: allCheckers(),
    watchers: [coverage],
    maxEvents,
    ...(faults && { faults }),
    ...(onLine && { onLine }),
  })
}

function reportFailure({ seed, failures }: RunResult, options: Arguments): void {
  const commit = execFileSync('git', ['rev-parse', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim()
  const lines: string[] = []
  run(seed, options, new Coverage(), (line) => {
    lines.push(line)
    if (lines.length > TAIL_LINES * 2) lines.splice(0, TAIL_LINES)
  })
  console.log(lines.slice(-TAIL_LINES).join('\n'))
  console.log(`\nseed ${seed} fails at commit ${commit}`)
  for (const failure of failures) console.log(`  ${failure}`)
  console.log(`again: npm run sim -- ${seed} --trace`)
}

function printExcuses(results: readonly RunResult[]): void {
  const counts = new Map<string, number>()
  for (const excuse of results.flatMap(({ excuses }) => excuses)) {
    counts.set(excuse, (counts.get(excuse) ?? 0) + 1)
  }
  for (const [excuse, count] of [...counts].sort())
    console.log(`  excused ${String(count).padStart(5)} x ${excuse}`)
}

function printCoverage(coverage: Coverage): void {
  console.log(coverage.table())
  const missing = missingPairs(coverage)
  console.log(`${missing.length} pairs that should meet have not:`)
  for (const [state, pairs] of Map.groupBy(missing, (pair) => pair.state)) {
    console.log(`  ${state}: ${pairs.map(({ fault }) => fault).join(', ')}`)
  }
}

function main(): void {
  const options = readArguments()
  const { seed, seeds, isTraced, showsCoverage } = options
  const coverage = new Coverage()
  const startMs = performance.now()
  const results: RunResult[] = []
  let failed = 0
  for (let i = 0; i < seeds; i++) {
    const result = run(seed + i, options, coverage, isTraced ? (line) => console.log(line) : undefined)
    results.push(result)
    if (result.failures.length === 0) continue
    failed++
    if (failed === 1) reportFailure(result, options)
    else console.log(`seed ${result.seed} fails: ${result.failures[0]}`)
  }
  const seconds = (performance.now() - startMs) / 1000
  const sum = (pick: (result: RunResult) => number) =>
    results.reduce((total, result) => total + pick(result), 0)
  console.log(
    `${seeds} seeds, ${failed} failed; ${(sum((r) => r.simulatedMs) / 3_600_000).toFixed(2)} simulated hours in ` +
      `${seconds.toFixed(1)} s (${(seeds / seconds).toFixed(1)} seeds a second)`,
  )
  for (const name of Object.keys(results[0]?.statistics ?? {}) as (keyof RunResult['statistics'])[]) {
    console.log(`  ${name.padEnd(12)} ${sum((result) => result.statistics[name])}`)
  }
  printExcuses(results)
  if (showsCoverage) printCoverage(coverage)
  if (failed > 0) process.exitCode = 1
}

main()

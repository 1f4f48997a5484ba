/**
 * `npm run soak`: kills one primary of a protected machine after the other, for as long as is asked for, while clients
 * use it, and says what they saw. Ends with status 1 at the first round that has an error, and shows the logs.
 */
import { parseArgs } from 'node:util'
import { median } from '../../bench/results.ts'
import { ensurePinnedNode } from '../../tools/runtime.ts'
import { systemImage } from '../system_image.ts'
import { flip } from './flips.ts'
import { ProtectedPair } from './pair.ts'
import {
  describeRound,
  type Fault,
  failOver,
  killBackup,
  killPrimary,
  type RoundReport,
  runRound,
} from './rounds.ts'

ensurePinnedNode()

const USAGE = `npm run soak -- [options]

  --rounds N      rounds, 10 by default; each is a fault under load
  --fault FAULT   primary (the default): its host is killed; backup: that one is; failover: a hand-over in order;
                  flip-primary, flip-backup: a bit flips in RAM that is left alone there; flip-written: in a page that
                  the backup has just written
  --json          prints every round as JSON, and not the summary alone
  --help          this text`

const FAULTS: Readonly<Record<string, Fault>> = {
  primary: killPrimary,
  backup: killBackup,
  failover: failOver,
  'flip-primary': flip({ side: 'primary', isWritten: false }),
  'flip-backup': flip({ side: 'backup', isWritten: false }),
  'flip-written': flip({ side: 'backup', isWritten: true }),
}

interface Request {
  readonly rounds: number
  readonly fault: string
  readonly isJson: boolean
}

function readRequest(): Request {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '10' },
      fault: { type: 'string', default: 'primary' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(USAGE)
    process.exit(0)
  }
  const rounds = Number(values.rounds)
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds wants a number of at least 1')
  if (!Object.hasOwn(FAULTS, values.fault)) throw new Error(`there is no fault ${values.fault}; see --help`)
  return { rounds, fault: values.fault, isJson: values.json }
}

function summaryOf(reports: readonly RoundReport[]): object {
  const spread = (values: readonly number[]): object => ({ p50: median(values), max: Math.max(...values) })
  return {
    rounds: reports.length,
    operations: reports.reduce((sum, { operations }) => sum + operations, 0),
    errors: reports.reduce((sum, { errors }) => sum + errors.length, 0),
    longestPauseMs: spread(reports.map(({ longestPauseMs }) => longestPauseMs)),
    unprotectedMs: spread(reports.flatMap(({ unprotectedMs }) => unprotectedMs)),
  }
}

/** Runs rounds to the last, or to the first with an error. */
async function soak(pair: ProtectedPair, { rounds, fault }: Request): Promise<RoundReport[]> {
  await pair.untilServing()
  const reports: RoundReport[] = []
  for (let round = 1; round <= rounds; round++) {
    const report = await runRound(pair, round, [FAULTS[fault]!])
    reports.push(report)
    console.error(describeRound(report))
    if (report.errors.length === 0) continue
    console.error(`${report.errors.join('\n')}${pair.logs()}`)
    process.exitCode = 1
    break
  }
  return reports
}

async function main(): Promise<void> {
  const request = readRequest()
  const image = await systemImage()
  if ('missing' in image) throw new Error(image.missing)
  const pair = await ProtectedPair.start(image, ['--allow-faults'])
  try {
    const rounds = await soak(pair, request)
    const summary = summaryOf(rounds)
    const report = { kind: 'understudy-soak', version: 1, fault: request.fault, summary, rounds }
    console.log(JSON.stringify(request.isJson ? report : summary, undefined, 2))
  } finally {
    await pair.end()
  }
}

await main().catch((error: unknown) => {
  console.error(`soak: ${error instanceof Error ? error.message : error}`)
  process.exitCode = 1
})

/**
 * Each planted bug is found, and it is the bug that is found: the same run without it passes.
 *
 * A bug that shows only where certain faults meet is looked for in runs with just these faults. The search begins with
 * seed 1, or with the first seed that is known to find the bug; it goes on, so that a change of the simulator that makes
 * other runs of the same seeds costs time and nothing else.
 */
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { BUGS, type Bug } from '../src/replication/planted.ts'
import { allCheckers } from './checkers/all.ts'
import type { FaultName } from './faults.ts'
import { type RunResult, simulate } from './simulate.ts'

const SEEDS_MAX = 2000

interface Hunt {
  /** Only these faults; undefined: what each seed chooses. */
  readonly faults?: readonly FaultName[]
  /** Where the search begins: all seeds before were tried, in vain, with the simulator as it was then. */
  readonly firstSeed?: number
}

const HUNTS: Readonly<Partial<Record<Bug, Hunt>>> = {
  // The primary must be heard of again between the seal and the claim's answer.
  'acknowledgement after the seal': {
    faults: [
      'partition',
      'primary pause',
      'arbiter answers lost',
      'arbiter down',
      'channel half open',
      'slow disk',
    ],
  },
  // The addition must land after its joining copy was given up, and that one must live to hear of it.
  'abandoned change': {
    faults: [
      'arbiter requests late',
      'arbiter answers lost',
      'channel half open',
      'partition',
      'process crash',
    ],
    firstSeed: 109,
  },
  'joiner eligible early': { firstSeed: 25 },
  'cold start while a backup lives': { firstSeed: 27 },
  're-emission with other bytes': { firstSeed: 11 },
  // There must be an old disk at the host of the recorded primary.
  'cold start from an old disk': {
    faults: ['old disk restored', 'primary crash', 'process crash'],
    firstSeed: 26,
  },
  // The copy's claim must come before the primary's change that drops it.
  'live after a divergence': {
    faults: ['RAM corruption', 'arbiter requests late', 'arbiter down', 'partition', 'primary crash'],
  },
  // What was in flight must be a read, or the disk of the copy must be what is left.
  'request in flight at joining': {
    faults: ['process crash', 'slow disk', 'total power cut', 'primary crash'],
    firstSeed: 38,
  },
}

interface Find {
  readonly bug: Bug
  readonly seed: number
  readonly result: RunResult
}

const finds: Find[] = []

function run(bug: Bug, seed: number, planted: readonly Bug[]): RunResult {
  const faults = HUNTS[bug]?.faults
  return simulate({ seed, checkers: allCheckers(), planted: new Set(planted), ...(faults && { faults }) })
}

function hunt(bug: Bug): Find | undefined {
  for (let seed = HUNTS[bug]?.firstSeed ?? 1; seed <= SEEDS_MAX; seed++) {
    const result = run(bug, seed, [bug])
    if (result.failures.length > 0) return { bug, seed, result }
  }
  return undefined
}

/** The checkers that have found something; what a failed assertion of the core's own has ended has no checker's name. */
function findersOf({ failures }: RunResult): string[] {
  const names = allCheckers().map(({ name }) => name)
  return [
    ...new Set(
      failures.map((failure) => names.find((name) => failure.startsWith(`${name}:`)) ?? 'own assertion'),
    ),
  ]
}

for (const bug of BUGS) {
  test(`'${bug}' is found, and without it the same run passes`, () => {
    const find = hunt(bug)
    assert.ok(find !== undefined, `${SEEDS_MAX} seeds do not find it`)
    finds.push(find)
    assert.deepEqual(run(bug, find.seed, []).failures, [])
  })
}

after(() => {
  console.log(`${'bug'.padEnd(44)} seed  found by`)
  for (const { bug, seed, result } of finds) {
    console.log(`${bug.padEnd(44)} ${String(seed).padStart(4)}  ${findersOf(result).join(', ')}`)
  }
})

/**
 * The protocol as a Promela model (model/failover.pml), searched to the end by Spin: the model as it is has no error, and
 * each planted bug is found. Spin writes the search as a C program, so that this needs a compiler too.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { root } from '../tools/runtime.ts'
import { lacks } from './guest_process.ts'

const home = mkdtempSync(join(tmpdir(), 'model-test-'))
const model = join(root, 'model', 'failover.pml')
/** Twice what the largest variant takes. */
const MEGABYTES_MAX = 1500
/** Steps of one run; the longest take some seventy, and a search that would go deeper says so. */
const DEPTH_MAX = 10_000

interface Search {
  readonly report: string
  readonly errors: number
  readonly states: number
}

function run(program: string, parameters: readonly string[], cwd: string): string {
  const { status, error, stdout, stderr } = spawnSync(program, parameters, { cwd, encoding: 'utf8' })
  assert.ok(error === undefined, `${program}: ${error?.message}`)
  assert.equal(status, 0, `${program} ${parameters.join(' ')}\n${stdout}\n${stderr}`)
  return stdout
}

/** Searches the variant of the model that the macros select. `optimize` pays where there are many states. */
function search(macros: readonly string[], optimize: '-O0' | '-O1'): Search {
  const folder = mkdtempSync(join(home, 'variant-'))
  run('spin', ['-a', ...macros.map((macro) => `-D${macro}`), model], folder)
  const options = [optimize, '-w', '-DSAFETY', '-DSFH', `-DMEMLIM=${MEGABYTES_MAX}`]
  run('gcc', [...options, '-o', 'pan', 'pan.c'], folder)
  const report = run(join(folder, 'pan'), [`-m${DEPTH_MAX}`], folder)
  rmSync(folder, { recursive: true })
  const number = (pattern: RegExp) => Number(pattern.exec(report)?.[1] ?? assert.fail(report))
  return { report, errors: number(/errors: (\d+)/), states: number(/(\d+) states, stored/) }
}

/** `statesMin`: a search that sees far fewer has lost a part of the model. */
function assertHolds(macros: readonly string[], statesMin: number): void {
  const { report, errors, states } = search(macros, '-O1')
  assert.equal(errors, 0, report)
  assert.doesNotMatch(report, /max search depth too small|Search not completed|out of memory/)
  assert.ok(states >= statesMin, `${states} states, at least ${statesMin} expected`)
}

/** Each macro of the model with the smallest variant in which the bug can do harm. */
const bugs: readonly (readonly [name: string, macros: readonly string[]])[] = [
  ['an output is released before its acknowledgement', ['BUG_EARLY_RELEASE', 'PAIR']],
  ['a backup acknowledges after its seal', ['BUG_ACK_AFTER_SEAL', 'PAIR']],
  ['a backup goes live before the last record', ['BUG_LIVE_EARLY', 'PAIR']],
  ['a change whose outcome is unknown is taken for lost', ['BUG_UNKNOWN_LOST', 'PAIR']],
  ['an addition that may still land is forgotten with its copy', ['BUG_ABANDONED_CHANGE']],
  ['a joining copy is added before it is complete', ['BUG_JOINER_INCOMPLETE']],
  ['the gate is opened before the change that adds the backup', ['BUG_GATE_OPENED']],
  ['a cold start does not ask whether the backup lives', ['BUG_COLD_START', 'PAIR']],
  ['a restarted process keeps its identity', ['BUG_IDENTITY', 'PAIR']],
]

const skip = lacks('spin') || lacks('gcc')

describe('the model of the protocol', { skip }, () => {
  after(() => rmSync(home, { recursive: true }))

  test('keeps one lineage and one releaser over two failovers with a new backup between them', () => {
    assertHolds(['PAIR', 'CRASHES=2', 'RECORDS=2', 'EPOCHS=4'], 2_000_000)
  })
  test('keeps them while copies join and cold starts happen', () => {
    assertHolds(['CRASHES=1', 'RECORDS=2', 'EPOCHS=3'], 500_000)
  })
  test('keeps them when the primary hands over', () => {
    assertHolds(['PAIR', 'HANDOVER', 'CRASHES=1', 'RECORDS=2', 'EPOCHS=3'], 500_000)
  })
  test('is protected at the end, with everything released, if nothing fails', () => {
    assertHolds(['FAULTLESS', 'CRASHES=0', 'DOUBTS=0', 'RECORDS=4'], 5_000)
  })
  test('always gets back to a machine that runs, if every process that dies is started again', () => {
    assertHolds(['PAIR', 'CRASHES=2', 'DOUBTS=0', 'RECORDS=2', 'EPOCHS=9', 'INCARNATIONS=3'], 100_000)
  })

  for (const [name, macros] of bugs) {
    test(`finds the error when ${name}`, () => {
      const { report, errors } = search([...macros, 'CRASHES=1', 'RECORDS=2', 'EPOCHS=3'], '-O0')
      assert.ok(errors > 0, report)
      assert.match(report, /assertion violated/)
    })
  }
})

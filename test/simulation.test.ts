/** A campaign of simulated clusters: what `npm run sim -- 1 --seeds 1000` does. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { allCheckers } from '../sim/checkers/all.ts'
import { Coverage } from '../sim/checkers/coverage.ts'
import { missingPairs } from '../sim/checkers/coverage_goals.ts'
import { simulate } from '../sim/simulate.ts'

const SEEDS = 1000
/** So that a failure names its seed soon, and the seeds are spread over the test's lines. */
const PART = 100
/** Seeds that a meeting may need which the campaign did not bring about. */
const MEETING_SEEDS = 100

const coverage = new Coverage()

for (let first = 1; first <= SEEDS; first += PART) {
  test(`seeds ${first} to ${first + PART - 1} break no rule`, () => {
    for (let seed = first; seed < first + PART; seed++) {
      const { failures } = simulate({ seed, checkers: allCheckers(), watchers: [coverage] })
      assert.deepEqual(failures, [], `npm run sim -- ${seed} --trace`)
    }
  })
}

test('every fault has met every state of the protocol that it should meet', () => {
  for (const pair of missingPairs(coverage)) {
    for (let seed = 1; seed <= MEETING_SEEDS && coverage.count(pair) === 0; seed++) {
      const { failures } = simulate({
        ...{ seed, checkers: allCheckers(), watchers: [coverage] },
        appointments: [pair],
      })
      assert.deepEqual(failures, [], `seed ${seed} with '${pair.fault}' in ${pair.state}`)
    }
    assert.notEqual(coverage.count(pair), 0, `'${pair.fault}' never met ${pair.state}`)
  }
})

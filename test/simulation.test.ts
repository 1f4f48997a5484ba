/** A campaign of simulated clusters: what `npm run sim -- 1 --seeds 1000` does. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { allCheckers } from '../sim/checkers/all.ts'
import { simulate } from '../sim/simulate.ts'

const SEEDS = 1000
/** So that a failure names its seed soon, and the seeds are spread over the test's lines. */
const PART = 100

for (let first = 1; first <= SEEDS; first += PART) {
  test(`seeds ${first} to ${first + PART - 1} break no rule`, () => {
    for (let seed = first; seed < first + PART; seed++) {
      const { failures } = simulate({ seed, checkers: allCheckers() })
      assert.deepEqual(failures, [], `npm run sim -- ${seed} --trace`)
    }
  })
}

/** Translated code against the interpreter: the same state at every position, whatever is translated and when. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { firstDifference } from '../../base/state.ts'
import { nodeEngine } from '../../host/engine.ts'
import type { Machine } from '../machine.ts'
import { coldCopy } from '../testing/program.ts'
import { runTo, stormMachine } from '../testing/storm.ts'

const seeds = fc.noBias(fc.integer({ min: 0, max: 1_000_000 }))
const harts = fc.constantFrom(1, 2)
const cuts = fc.array(fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 20_000 })), {
  minLength: 1,
  maxLength: 30,
})

function sameState(one: Machine, other: Machine): void {
  assert.equal(one.position, other.position)
  const difference = firstDifference(one.saveState(), other.saveState())
  const place = `at position ${one.position}`
  if (difference) assert.fail(`${place}: ${difference.path} is ${difference.left} and ${difference.right}`)
  assert.equal(one.digest(), other.digest(), `RAM ${place}`)
}

test('a storm does the same translated and interpreted, wherever it is stopped', () => {
  let translated = 0
  fc.assert(
    fc.property(seeds, harts, cuts, (seed, hartCount, pieces) => {
      const interpreted = stormMachine(nodeEngine, hartCount, seed)
      const eager = stormMachine(nodeEngine, hartCount, seed, 'eager')
      for (const piece of pieces) {
        const end = interpreted.position + BigInt(piece)
        runTo(interpreted, end)
        runTo(eager, end)
        sameState(eager, interpreted)
      }
      translated += eager.translatorCounts!.regions
    }),
    { numRuns: 30, endOnFailure: true },
  )
  assert.ok(translated > 100, `${translated} regions`)
})

test('a cold copy that translates and the warm interpreter stay equal', () => {
  fc.assert(
    fc.property(seeds, harts, cuts, (seed, hartCount, pieces) => {
      const warm = stormMachine(nodeEngine, hartCount, seed, 'eager')
      runTo(warm, 10_000n)
      const cold = coldCopy(nodeEngine, warm, 'eager')
      for (const piece of pieces) {
        const end = warm.position + BigInt(piece)
        runTo(warm, end)
        runTo(cold, end)
        sameState(cold, warm)
      }
    }),
    { numRuns: 10, endOnFailure: true },
  )
})

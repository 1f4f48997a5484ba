/** Loops that a region has only the first round of, since they had not been met when it was made. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../../host/engine.ts'
import { Program } from '../testing/program.ts'

const ROUNDS = 4_000_000

test('a loop in the middle of a block, met after its region was made, is translated after all', () => {
  // How far the code behind the first loop is predecoded with it depends on how long it is.
  for (const padding of [4, 12, 20, 28, 36]) {
    const { machine } = new Program(
      nodeEngine,
      `li s0, ${ROUNDS}; li s1, ${ROUNDS}
     first: addi a0, a0, 1; addi s0, s0, -1; bnez s0, first
       ${'addi a1, a1, 1;'.repeat(padding)}
     second: ${'xor a2, a2, s1;'.repeat(8)} addi s1, s1, -1; bnez s1, second`,
      { translation: 'hot' },
    )
    const stepsOfFirst = BigInt(ROUNDS * 3)
    machine.run(stepsOfFirst)
    assert.ok(machine.translatorCounts!.regions > 0, 'the first loop is translated')
    const before = machine.translatorCounts!.steps
    machine.run(machine.position + BigInt(ROUNDS * 10))
    const share = (machine.translatorCounts!.steps - before) / (ROUNDS * 10)
    assert.ok(share > 0.5, `with ${padding} instructions between, ${share} of the second loop is translated`)
  }
})

/** Blocks that take more steps than a slice has while little is translated: they are executed in long slices only. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../../host/engine.ts'
import { BothWays } from '../testing/both_ways.ts'
import { DATA } from '../testing/program.ts'

test('a block of two hundred instructions does the same both ways, stopped anywhere in it', () => {
  const block = 'addi a0, a0, 1; xor a1, a1, a0; sd a1, 0(s3); ld a2, 8(s3); add a3, a3, a2\n'.repeat(40)
  // The short loop is translated first, and with nearly all steps in it slices become long.
  const both = new BothWays(
    nodeEngine,
    `li s1, 100; li s3, ${DATA}
     1: li s2, 2500; 2: addi a4, a4, 1; xor a5, a5, a4; addi s2, s2, -1; bnez s2, 2b
     ${block} addi s1, s1, -1; bnez s1, 1b; ecall`,
  )
  // Some more of the round each time, so that many stops are in the block.
  both.run(10_020n)
  both.finish(10_209n)
  // More than the short loop has: the long block was executed in a region as well.
  const { steps } = both.counts
  const short = 100 * 2500 * 4
  assert.ok(
    steps > short + 5000,
    `${steps} steps in translated code, ${short} of them in the short loop at most`,
  )
})

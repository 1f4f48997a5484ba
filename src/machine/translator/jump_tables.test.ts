/** Jumps to addresses in registers, as of a switch: their targets become known one after the other. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../../host/engine.ts'
import { BothWays } from '../testing/both_ways.ts'
import { Program } from '../testing/program.ts'

/** A switch of cases cases in a loop of so many rounds, by random numbers; each case does something of its own. */
function switchOf(cases: number, rounds = 6000): string {
  const bodies = Array.from(
    { length: cases },
    (_, i) => `case${i}: addi a0, a0, ${i}; xori a1, a0, ${i * 3}; j next`,
  )
  return `
      li s1, ${rounds}; li s2, 12345; li s3, 1103515245; la s4, table
   next:
      addi s1, s1, -1; beqz s1, done
      mul s2, s2, s3; addi s2, s2, 1013
      srli t0, s2, 20; li t1, ${cases}; remu t0, t0, t1
      slli t0, t0, 3; add t0, t0, s4; ld t0, 0(t0); jr t0
   ${bodies.join('\n')}
   done: ecall
   .align 3
   table: ${bodies.map((_, i) => `.dword case${i}`).join('; ')}`
}

test('a switch does the same both ways while its targets become known', () => {
  for (const cases of [1, 2, 3, 7, 20]) {
    for (const piece of [61n, 997n, 50_021n]) {
      const both = new BothWays(nodeEngine, switchOf(cases)).finish(piece)
      assert.ok(both.counts.regions > 0)
    }
  }
})

test('a hot switch becomes one region that knows where it goes', () => {
  const { machine } = new Program(nodeEngine, switchOf(9, 1e9), { translation: 'hot' })
  machine.run(600_000_000n)
  const before = machine.statistics().unknownJumps
  assert.ok(before > 0, 'first it does not know')
  machine.run(machine.position + 10_000_000n)
  assert.ok(machine.statistics().unknownJumps - before < 1000)
})

test('a jump that leaves its known targets goes where it goes', () => {
  // For long to one of two places, then to others, one of them in another page, one in the middle of a block.
  new BothWays(
    nodeEngine,
    `li s1, 3000; la s2, one; la s3, two; la s4, far; la s5, middle
  loop:
     addi s1, s1, -1; beqz s1, done
     mv t0, s2; andi t1, s1, 1; beqz t1, 1f; mv t0, s3
  1: li t1, 1200; bgtu s1, t1, 2f
     andi t1, s1, 7; bnez t1, 2f; mv t0, s4; andi t1, s1, 8; beqz t1, 2f; mv t0, s5
  2: jr t0
  one: addi a0, a0, 1; j loop
  two: addi a0, a0, 2
  middle: addi a1, a1, 3; j loop
  done: ecall
     .align 12
  far: addi a2, a2, 4; la t2, loop; jr t2`,
  ).finish(83n)
})

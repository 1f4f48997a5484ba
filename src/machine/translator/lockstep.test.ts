/** Translated code against the interpreter: the same state at every position, whatever is translated and when. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { nodeEngine } from '../../host/engine.ts'
import { CODE_SLOTS } from '../layout.ts'
import type { Machine } from '../machine.ts'
import { BothWays, requireSameState } from '../testing/both_ways.ts'
import { coldCopy, DATA } from '../testing/program.ts'
import { runTo, stormMachine } from '../testing/storm.ts'

const seeds = fc.noBias(fc.integer({ min: 0, max: 1_000_000 }))
const harts = fc.constantFrom(1, 2)
const tiers = fc.constantFrom('eager', 'patient')
const cuts = fc.array(fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 20_000 })), {
  minLength: 1,
  maxLength: 30,
})

test('a storm does the same translated and interpreted, wherever it is stopped', () => {
  let translated = 0
  fc.assert(
    fc.property(seeds, harts, tiers, cuts, (seed, hartCount, tier, pieces) => {
      const interpreted = stormMachine(nodeEngine, hartCount, seed)
      const other = stormMachine(nodeEngine, hartCount, seed, tier)
      for (const piece of pieces) {
        const end = interpreted.position + BigInt(piece)
        runTo(interpreted, end)
        runTo(other, end)
        requireSameState(other, interpreted)
      }
      translated += other.translatorCounts!.regions
    }),
    { numRuns: 30, endOnFailure: true },
  )
  assert.ok(translated > 100, `${translated} regions`)
})

test('a cold copy that translates and the warm interpreter stay equal', () => {
  fc.assert(
    fc.property(seeds, harts, cuts, (seed, hartCount, pieces) => {
      const warm = stormMachine(nodeEngine, hartCount, seed)
      runTo(warm, 10_000n)
      const cold = coldCopy(nodeEngine, warm, 'eager')
      for (const piece of pieces) {
        const end = warm.position + BigInt(piece)
        runTo(warm, end)
        runTo(cold, end)
        requireSameState(cold, warm)
      }
    }),
    { numRuns: 10, endOnFailure: true },
  )
})

/** Runs a program both ways, stopping at every `piece` steps; returns the one that translates. */
function requireSame(source: string, piece: bigint, ramBytes?: number): Machine {
  const both = new BothWays(nodeEngine, source, ramBytes === undefined ? {} : { ramBytes }).finish(piece)
  assert.ok(both.counts.regions > 0)
  return both.translated.machine
}

test('regions of pages that lose their place sleep, and are entered again if the page is what it was', () => {
  const pages = CODE_SLOTS + 200
  const machine = requireSame(
    `li s0, ${DATA}; li s1, ${pages}; li s2, 4096; li s3, 0x00150513; li s4, 0x8067
     mv s5, s0; mv s6, s1
  fill:                                       # addi a0, a0, 1; ret
     sw s3, 0(s5); sw s4, 4(s5); add s5, s5, s2; addi s6, s6, -1; bnez s6, fill
     li s7, 6
  round:
     mv s5, s0; mv s6, s1
  page:
     jalr ra, 0(s5); jalr ra, 0(s5); add s5, s5, s2; addi s6, s6, -1; bnez s6, page
     li t0, 0x100000; add s3, s3, t0; mv s5, s0; li s6, 100
  change:                                     # of pages that sleep: addi a0, a0, 2 and so on
     sw s3, 0(s5); add s5, s5, s2; addi s6, s6, -1; bnez s6, change
     addi s7, s7, -1; bnez s7, round`,
    50_021n,
    64 << 20,
  )
  assert.ok(machine.translatorCounts!.woken > 100, `${machine.translatorCounts!.woken} have woken`)
})

test('a loop that rewrites itself is left at once, and runs what it wrote', () => {
  const machine = requireSame(
    `la s0, target; li s1, 2000; li s2, 0x100000; li s3, 0x00050513
  loop:
     addi a1, a1, 1; andi t0, a1, 31; bnez t0, target
     add s3, s3, s2; sw s3, 0(s0)
  target:
     addi a0, a0, 0
     addi s1, s1, -1; bnez s1, loop`,
    37n,
  )
  assert.ok(machine.translatorCounts!.dropped > 5, `${machine.translatorCounts!.dropped} were dropped`)
})

test('a fault in the middle of a block has the state of before it, at every position', () => {
  requireSame(
    `li s0, ${DATA}; li s1, 300; li s2, -8
  loop:
     addi a1, a1, 3; xor a2, a2, a1; ld a3, 0(s0); addi a4, a4, 1
     andi t0, s1, 7; bnez t0, 1f
     mul a5, a4, a1; sd a5, 8(s0); lw a6, 0(s2); addi a7, a7, 5; sw a7, 4(s2)
  1: add a0, a0, a3
     addi s1, s1, -1; bnez s1, loop`,
    11n,
  )
})

test('a function that is written anew while its page is data runs what it is', () => {
  // 400 stores to the page make it data: its regions sleep.
  requireSame(
    `la s0, f; li s1, 400; li s2, 300; li s3, 0x7ff
     add s4, s0, s3; li s5, 0x00250513
  warm:
     jalr ra, 0(s0); addi s1, s1, -1; bnez s1, warm
  data:
     sb zero, 0(s4); addi s2, s2, -1; bnez s2, data
     sw s5, 0(s0)
     jalr ra, 0(s0); jalr ra, 0(s0); ecall
     .align 12
  f: addi a0, a0, 1
     ret`,
    53n,
  )
})

test('many loops one behind the other, and within each other, are emitted once each', () => {
  const behind = '1: addi t0, t0, -1\nbgtz t0, 1b\n'.repeat(20)
  const depth = 8
  const opened = Array.from({ length: depth }, (_, i) => `li s${i + 2}, 2\nloop${i}: addi a0, a0, 1`)
  const closed = Array.from({ length: depth }, (_, i) => depth - 1 - i).map(
    (i) => `addi s${i + 2}, s${i + 2}, -1\nbnez s${i + 2}, loop${i}`,
  )
  requireSame(
    `li s1, 30\nround: ${behind}\n${opened.join('\n')}\n${closed.join('\n')}\naddi s1, s1, -1\nbnez s1, round`,
    71n,
  )
})

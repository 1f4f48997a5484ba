/** Loops that are entered in their middle, as by a switch that leads into one: the region leaves there and comes in by a way in. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../../host/engine.ts'
import { BothWays } from '../testing/both_ways.ts'

/** A loop of `parts` pieces that is entered at any of them; each piece adds another number. `enter` goes to that with the number in t0. */
function loopOf(parts: number, enter: string): string {
  const pieces = Array.from({ length: parts }, (_, i) => `part${i}: addi a0, a0, ${i + 1}; xor a1, a1, a0`)
  return `
      li s1, 300; li s2, 12345; li s3, 1103515245; la s4, table
   next:
      addi s1, s1, -1; beqz s1, done
      mul s2, s2, s3; addi s2, s2, 1013; srli t1, s2, 20; andi t1, t1, 15; addi t1, t1, 1
      srli t0, s2, 24; li t2, ${parts}; remu t0, t0, t2
      ${enter}
   ${pieces.join('\n')}
      addi t1, t1, -1; bnez t1, part0
      j next
   done: ecall
   .align 3
   table: ${pieces.map((_, i) => `.dword part${i}`).join('; ')}`
}

const branches = (parts: number): string =>
  Array.from({ length: parts - 1 }, (_, i) => `li t2, ${i + 1}; beq t0, t2, part${i + 1}`).join('\n')

for (const [name, enter] of [
  ['by branches', branches],
  ['by a jump to an address in a register', () => 'slli t0, t0, 3; add t0, t0, s4; ld t0, 0(t0); jr t0'],
] as const) {
  test(`a loop that is entered anywhere ${name} does the same both ways`, () => {
    for (const parts of [2, 5, 16]) {
      for (const piece of [13n, 61n, 997n, 50_021n]) {
        const both = new BothWays(nodeEngine, loopOf(parts, enter(parts))).finish(piece)
        assert.ok(both.counts.regions > 0)
      }
    }
  })
}

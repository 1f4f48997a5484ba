/** A region has a limited number of ways in: its loops beyond them are reached in other ways, and do the same. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../../host/engine.ts'
import { BothWays } from '../testing/both_ways.ts'
import { translatedText } from '../testing/region_text.ts'

const WAYS_MAX = 32

/** Loops one behind the other, with so many rounds each; each adds another number. */
const loops = (rounds: readonly number[]): string =>
  rounds
    .map((count, i) => `li t0, ${count}\n1: addi a0, a0, ${i + 1}\naddi t0, t0, -1\nbgtz t0, 1b`)
    .join('\n')

const times = (count: number, value: number): number[] => Array.from({ length: count }, () => value)

test('a region is entered at its beginning and at the heads of its loops', () => {
  assert.deepEqual(translatedText(`${loops([2, 2, 2])}\necall`).entries, [0, 4, 20, 36])
  assert.deepEqual(translatedText('1: addi a0, a0, -1\nbnez a0, 1b\necall').entries, [0])
})

test('it has no more ways in than 32, its beginning among them', () => {
  for (const count of [31, 32, 33, 40]) {
    const { entries } = translatedText(`${loops(times(count, 2))}\necall`)
    assert.equal(entries.length, Math.min(count + 1, WAYS_MAX), `${count} loops`)
    assert.ok(entries.includes(0) && new Set(entries).size === entries.length)
  }
})

test('code that is nothing but heads of loops stays small, and does the same both ways', () => {
  const toItself = 'beq a0, a1, .\n'.repeat(400)
  const toPrevious = `nop\n${'beq a0, a1, .-4\n'.repeat(399)}`
  for (const heads of [toItself, toPrevious]) {
    const { entries, wasmBytes } = translatedText(`${heads}ecall`)
    assert.equal(entries.length, WAYS_MAX)
    assert.ok(wasmBytes < 50_000, `${wasmBytes} bytes`)
    const both = new BothWays(
      nodeEngine,
      `li a1, 1; li s1, 20\nround: ${heads}addi s1, s1, -1; bgtz s1, round`,
    )
    both.finish(83n)
    assert.ok(both.counts.regions > 0)
  }
})

test('as many loops as there are ways in, one more and many more do the same both ways', () => {
  for (const count of [31, 32, 33, 40]) {
    const both = new BothWays(
      nodeEngine,
      `li s1, 12\nround: ${loops(times(count, 9))}\naddi s1, s1, -1\nbnez s1, round`,
    ).finish(83n)
    assert.ok(both.counts.regions > 0)
  }
})

test('a long loop beyond the ways in is entered in the end, by a region of its own', () => {
  // Warm, so that one region has all loops; then the last loop runs long, and is stopped again and again.
  const both = new BothWays(
    nodeEngine,
    `li s1, 60; li s2, 2
  round:
     ${loops(times(80, 2))}
     mv t0, s2
  last:
     addi a1, a1, 3; xor a2, a2, a1; addi t0, t0, -1; bgtz t0, last
     addi s1, s1, -1; bnez s1, round
     li s1, 1; li s3, 5000
     mv t0, s2; li s2, 5000
     beq t0, s3, end
     j round
  end: ecall`,
  )
  both.run(30_000n)
  const { regions } = both.counts
  both.finish(701n)
  assert.ok(regions > 0 && both.counts.regions > regions, `${regions}, then ${both.counts.regions} regions`)
})

test('more loops within each other than there are ways in do the same both ways', () => {
  const depth = 20
  const registers = ['s2', 's3', 's4', 's5', 's6', 's7', 's8', 's9', 'a2', 'a3', 'a4', 'a5', 'a6', 'a7']
  const names = [...registers, 't1', 't2', 't3', 't4', 't5', 't6']
  // All but the innermost three go round once: 27 rounds in all are enough to stop anywhere.
  const rounds = (i: number): number => (i < depth - 3 ? 1 : 3)
  const opened = names.map((name, i) => `li ${name}, ${rounds(i)}\nloop${i}: addi a0, a0, ${i + 1}`)
  const closed = names.map((name, i) => `addi ${name}, ${name}, -1\nbnez ${name}, loop${i}`).reverse()
  const both = new BothWays(
    nodeEngine,
    `li s1, 30\nround: ${opened.join('\n')}\n${closed.join('\n')}\naddi s1, s1, -1\nbnez s1, round`,
  ).finish(61n)
  assert.ok(both.counts.regions > 0)
})

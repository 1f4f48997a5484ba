/** Stores to the bytes of regions and beside them: what is dropped, what stays, and that what runs is what is there. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../../host/engine.ts'
import { BothWays } from '../testing/both_ways.ts'

/** Calls f 300 times, does something to it, and calls it 300 times more. `f` is 16 bytes long, on a page of its own. */
const around = (store: string): string => `
     la s0, f; la s2, g; li s3, 2
     li t0, 0x6000; csrs mstatus, t0
  round:
     li s1, 300
  loop:
     jalr ra, 0(s0); addi s1, s1, -1; bnez s1, loop
     ${store}
     addi s3, s3, -1; bnez s3, round
     ecall
     .align 12
     .zero 256
  f: addi a0, a0, 1
     slli t0, a0, 3
     add a3, a3, t0
     ret
  g: .zero 64`

function dropsOf(store: string): number {
  const both = new BothWays(nodeEngine, around(store)).finish(61n)
  assert.ok(both.counts.regions >= 2, `${both.counts.regions} regions`)
  return both.counts.dropped
}

test('a store beside a region leaves it as it is', () => {
  for (const store of [
    ...['sb zero, -1(s0)', 'sh zero, -2(s0)', 'sw zero, -4(s0)', 'sd zero, -8(s0)', 'sw zero, -5(s0)'],
    ...['sb zero, 16(s0)', 'sh zero, 16(s0)', 'sd zero, 16(s0)', 'sw zero, 17(s0)'],
    'amoadd.w zero, s1, (s2); addi t1, s0, -4; amoor.w zero, s0, (t1)',
  ])
    assert.equal(dropsOf(store), 0, store)
})

test('a store to any byte of a region takes it out', () => {
  for (const store of [
    ...['sb t1, 0(s0)', 'sb t1, 15(s0)', 'sw t1, -3(s0)', 'sd t1, -7(s0)', 'sd t1, 15(s0)', 'sh t1, 7(s0)'],
  ]) {
    // The same value is stored: what counts is the place.
    const load = store.replace(/^s/, 'l')
    assert.ok(dropsOf(`${load}; ${store}`) > 0, store)
  }
})

test('every kind of store changes what a region that is entered next does', () => {
  const word = 0x0025_0513
  const stores: Readonly<Record<string, string>> = {
    sb: 'li t1, 0x25; sb t1, 2(s0)',
    sh: 'li t1, 0x25; sh t1, 2(s0)',
    sw: `li t1, ${word}; sw t1, 0(s0)`,
    sd: `ld t1, 0(s0); li t2, 0x100000; add t1, t1, t2; sd t1, 0(s0)`,
    misaligned: `lw t1, 1(s0); lui t2, 1; add t1, t1, t2; sw t1, 1(s0)`,
    'over the start': 'ld t1, -4(s0); li t2, 1 << 52; add t1, t1, t2; sd t1, -4(s0)',
    amoadd: 'li t1, 0x100000; amoadd.w zero, t1, (s0)',
    amoswap: `li t1, ${word}; amoswap.w zero, t1, (s0)`,
    sc: `li t1, ${word}; lr.w t2, (s0); sc.w t3, t1, (s0); add a4, a4, t3`,
    fsw: `li t1, ${word}; fmv.w.x ft0, t1; fsw ft0, 0(s0)`,
    fsd: `ld t1, 0(s0); li t2, 0x100000; add t1, t1, t2; fmv.d.x ft0, t1; fsd ft0, 0(s0)`,
  }
  for (const [name, store] of Object.entries(stores)) {
    const both = new BothWays(nodeEngine, around(store)).finish(59n)
    assert.ok(both.counts.dropped > 0, name)
    assert.equal(both.translated.x(10), 900n, `${name}: 300 times 1, then 300 times 2`)
  }
})

test('a region that stores to its own bytes is left behind the store, by every kind of store', () => {
  // s3 is what the instruction at s0 is to be.
  const stores = [
    'sw s3, 0(s0)',
    'srli t1, s3, 16; sh t1, 2(s0)',
    'lwu t1, -4(s0); slli t2, s3, 32; or t1, t1, t2; sd t1, -4(s0)',
    'lbu t1, 4(s0); slli t1, t1, 24; srli t2, s3, 8; or t1, t1, t2; sw t1, 1(s0)',
    'amoswap.w t2, s3, (s0)',
    'lr.w t2, (s0); sc.w t3, s3, (s0); add a4, a4, t3',
    'fmv.w.x ft0, s3; fsw ft0, 0(s0)',
  ]
  for (const store of stores) {
    const both = new BothWays(
      nodeEngine,
      `la s0, target; li s1, 400; li s2, 0x100000; li s3, 0x00050513
       li t0, 0x6000; csrs mstatus, t0
    loop:
       andi t0, s1, 15; bnez t0, 1f
       add s3, s3, s2
    1: ${store}
    target:
       addi a0, a0, 0
       add a1, a1, a0
       addi s1, s1, -1; bnez s1, loop`,
    ).finish(97n)
    assert.ok(both.counts.dropped > 0, store)
    assert.equal(both.translated.x(10), BigInt((16 * 25 * 26) / 2), `${store}: 16 times each of 1 to 25`)
  }
})

test('a misaligned store over the end of a page reaches the region at the start of the next', () => {
  const both = new BothWays(
    nodeEngine,
    `la s0, f; li s1, 600
  loop:
     jalr ra, 0(s0); andi t0, s1, 63; bnez t0, 1f
     ld t1, -4(s0); li t2, 1 << 52; add t1, t1, t2; sd t1, -4(s0)
  1: addi s1, s1, -1; bnez s1, loop
     ecall
     .align 12
     .zero 4096
  f: addi a0, a0, 1
     ret`,
  ).finish(67n)
  assert.ok(both.counts.dropped > 0)
})

test('code that falls into a region’s entry is changed, and the entry stays one', () => {
  // g runs into f. Both are called; only the instructions of g are changed, which are decoded up to the entry of f.
  const both = new BothWays(
    nodeEngine,
    `la s0, f; la s2, g; li s1, 900; li s3, 0x00158593; li s4, 0x100000
  loop:
     jalr ra, 0(s0); jalr ra, 0(s0); jalr ra, 0(s2)
     andi t0, s1, 31; bnez t0, 1f
     add s3, s3, s4; sw s3, 0(s2)
  1: addi s1, s1, -1; bnez s1, loop
     ecall
     .align 12
  g: addi a1, a1, 1
     slli t0, a1, 2
     add a2, a2, t0
  f: slli t1, a0, 3
     add a3, a3, t1
     addi a0, a0, 1
     ret`,
  ).finish(79n)
  assert.ok(both.counts.dropped > 0)
})

test('a device writes to a region’s bytes between two runs, and beside them', () => {
  const both = new BothWays(nodeEngine, around('nop').replace('li s3, 2', 'li s3, 200'))
  for (let value = 1; value < 40; value++) {
    both.run(400n + BigInt(value))
    const offset = [0, -4, 16][value % 3]!
    both.each((program) => {
      const word = offset === 0 ? (value << 20) | 0x0005_0513 : value
      program.machine.ram.store32(Number(program.label('f')) + offset, word)
    })
  }
  assert.ok(both.counts.dropped > 0 && both.counts.dropped < 40)
})

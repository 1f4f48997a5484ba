/** Physical memory protection and translated code: what may not be fetched does not run, also where a region has it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../../host/engine.ts'
import { BothWays } from '../testing/both_ways.ts'
import { DATA, enter, SWITCHES } from '../testing/program.ts'

const [R, W, X] = [1, 2, 4]
const NAPOT = 24
const LOCKED = 0x80
const ALL = 2 ** 53 - 1

/** Entry 0 covers 16 bytes at t1 with this configuration, entry 1 opens the rest. */
const guard = (config: number): string => `
  srli t2, t1, 2; addi t2, t2, 1; csrw pmpaddr0, t2
  li t2, ${ALL}; csrw pmpaddr1, t2
  li t2, ${((NAPOT | R | W | X) << 8) | config}; csrw pmpcfg0, t2`

/** M-mode: an environment call of S-mode changes entry 0 by s8; any other trap is counted, and goes on at ra. */
const HANDLER = `
  .align 2
 rights:
  csrr s10, mcause; li s9, 9; bne s10, s9, 1f
  csrr s10, pmpcfg0; xor s10, s10, s8; csrw pmpcfg0, s10
  csrr s10, mepc; addi s10, s10, 4; csrw mepc, s10
  mret
 1: add s7, s7, s10; csrr s10, mtval; xor s6, s6, s10; li s9, 31; mul s6, s6, s9
  csrw mepc, ra
  mret`

const END = `li t0, ${SWITCHES}; sw zero, 0(t0); j .`

/** On a page of its own: 32 bytes, of which the second half can be guarded. */
const FUNCTION = `
  .align 12
 f: addi a0, a0, 1; addi a1, a1, 2; xor a2, a2, a0; add a3, a3, a1
  guarded:
    addi a4, a4, 1; slli a5, a4, 3; add a6, a6, a5
    ret`

test('rights that are taken from a part of a region, and given back, hold for the very next call', () => {
  for (const [name, change] of Object.entries({
    'no execution': NAPOT | R,
    'no rights': NAPOT,
    'all rights, but of a part only': NAPOT | R | W | X,
  })) {
    const both = new BothWays(
      nodeEngine,
      `la t0, rights; csrw mtvec, t0
       la t1, guarded; ${guard(0)}
       la s0, f; li s1, 1200; li s8, ${change}
       ${enter('S')}
    loop:
       jalr ra, 0(s0)
       andi t0, s1, 127; bnez t0, 1f
       ecall
    1: addi s1, s1, -1; bnez s1, loop
       ${END}
       ${HANDLER}
       ${FUNCTION}`,
    ).finish(89n)
    assert.ok(both.counts.regions >= 2, `${name}: ${both.counts.regions} regions`)
    const { hart } = both.translated
    assert.equal(hart.x(23) !== 0n, (change & X) === 0, `${name}: traps`)
    assert.ok(hart.x(14) > 0n && (change & X ? hart.x(14) === hart.x(10) : hart.x(14) < hart.x(10)), name)
  }
})

test('a region of one hart is not entered by another that may execute a part of its page only', () => {
  const both = new BothWays(
    nodeEngine,
    `la t0, rights; csrw mtvec, t0
     la t1, guarded
     bnez a0, 1f
     ${guard(0)}
     j 2f
  1: ${guard(NAPOT | R)}
  2: mv s11, a0; la s0, f; li s1, 30000
     ${enter('S')}
  loop:
     jalr ra, 0(s0)
     addi s1, s1, -1; bnez s1, loop
     beqz s11, 3f
     ${END}
  3: pause
     j 3b
     ${HANDLER}
     ${FUNCTION}`,
    { harts: 2 },
  ).finish(2503n)
  assert.ok(both.counts.regions >= 2)
  const [first, second] = both.translated.machine.harts
  assert.deepEqual([first!.x(14), first!.x(23)], [30_000n, 0n])
  assert.deepEqual([second!.x(14), second!.x(23)], [0n, 30_000n], 'a trap of cause 1 at each call')
})

test('an entry that is locked binds M-mode, which has regions there already', () => {
  const both = new BothWays(
    nodeEngine,
    `la t0, rights; csrw mtvec, t0
     la t1, guarded
     la s0, f; li s1, 600; li s2, 300
  loop:
     jalr ra, 0(s0)
     bne s1, s2, 1f
     ${guard(LOCKED | NAPOT | R)}
  1: addi s1, s1, -1; bnez s1, loop
     ${END}
     ${HANDLER}
     ${FUNCTION}`,
  ).finish(71n)
  assert.ok(both.counts.regions >= 2)
  assert.equal(both.translated.x(23), 299n)
})

test('a loop with its data in a page of which a part is guarded has the same faults', () => {
  for (const config of [NAPOT, NAPOT | R, NAPOT | R | W]) {
    const both = new BothWays(
      nodeEngine,
      `la t0, rights; csrw mtvec, t0
       li t1, ${DATA + 64}; ${guard(config)}
       li s0, ${DATA}; li s1, 900
       ${enter('S')}
       la ra, skip
    loop:
       andi t3, s1, 31; slli t3, t3, 2; add t3, t3, s0
       lw t4, 0(t3); addi t4, t4, 5; sw t4, 0(t3); add a0, a0, t4
       lr.w t5, (t3); sc.w t6, s1, (t3); amoadd.w t5, s1, (t3); add a0, a0, t5
    skip:
       addi s1, s1, -1; bnez s1, loop
       ${END}
       ${HANDLER}`,
    ).finish(67n)
    assert.ok(both.counts.regions > 0)
    assert.equal(both.translated.x(23) > 0n, config !== (NAPOT | R | W))
  }
})

test('code on the part of a page that may be executed runs, though nothing of it can be entered', () => {
  const both = new BothWays(
    nodeEngine,
    `la t0, rights; csrw mtvec, t0
     la t1, guarded; ${guard(NAPOT | R)}
     la s0, f; li s1, 300; mv s8, zero
     ${enter('S')}
  loop:
     jalr ra, 0(s0)
     addi s1, s1, -1; bnez s1, loop
     ${END}
     ${HANDLER}
     ${FUNCTION}`,
  ).finish(53n)
  assert.deepEqual([both.translated.x(10), both.translated.x(14), both.translated.x(23)], [300n, 0n, 300n])
})

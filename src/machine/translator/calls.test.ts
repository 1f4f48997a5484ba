/** Calls from page to page, which translated code makes as calls: what comes back, and into what. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../../host/engine.ts'
import { assemble } from '../../isa/assemble.ts'
import { RAM_BASE, TABLE_SLOTS } from '../layout.ts'
import { AddressSpace, PTE, pte, pteAddress, RW, RX } from '../testing/address_space.ts'
import { BothWays, requireSameState } from '../testing/both_ways.ts'
import { DATA, enter, OPEN_PMP, Program } from '../testing/program.ts'

function put(program: Program, address: number, source: string): void {
  program.machine.ram.write(address, assemble(source, BigInt(address)).bytes)
}

test('a callee whose atomics take the watch of the page tables away, and change them, comes back to the new page', () => {
  const CALLER = 0x4000_0000n
  const CALLEE = CALLER + 0x20_1000n
  const FAR = 0x8_0000_0000n
  const FIRST_TABLE = RAM_BASE + (8 << 20)
  const rounds = TABLE_SLOTS + 100
  const leaf = pteAddress(FIRST_TABLE + 0x2000, CALLER, 0)
  const both = new BothWays(
    nodeEngine,
    `${OPEN_PMP}; li t0, ${(8n << 60n) | BigInt(FIRST_TABLE >>> 12)}; csrw satp, t0
     li s1, ${rounds}; li s2, ${leaf}; li s3, ${CALLEE}; li s4, ${CALLER}; li s5, ${FAR}; li s6, 0x200000
     li s7, ${pte(DATA + 0x1000, RX)}
     ${enter('S')}
     jalr t1, 0(s4)`,
    { ramBytes: 64 << 20 },
  )
  both.each((program) => {
    const space = new AddressSpace(program.machine, 'sv39', FIRST_TABLE)
    space.map(CALLER, DATA, RX)
    space.map(CALLEE, DATA + 0x2000, RX)
    for (let at = 0; at < 16; at += 2)
      space.map(BigInt(RAM_BASE + (at << 20)), RAM_BASE + (at << 20), RW | PTE.x, 1)
    for (let i = 1; i <= rounds; i++) space.map(FAR + BigInt(i) * 0x20_0000n, DATA + 0x3000, RW)
    assert.equal(program.machine.ram.load64(leaf), pte(DATA, RX))
    for (const [i, add] of [1, 1000].entries())
      put(
        program,
        DATA + i * 0x1000,
        `1: jalr ra, 0(s3); addi a0, a0, ${add}; slli a1, a1, 1; xor a1, a1, a0; addi s1, s1, -1; bnez s1, 1b; ecall`,
      )
    put(program, DATA + 0x2000, 'add s5, s5, s6; amoadd.d zero, s1, (s5); amoswap.d s7, s7, (s2); ret')
  })
  both.finish(20_000n)
  assert.equal(both.translated.machine.statistics().tableStores, rounds - 1)
})

/** A program, with functions at CODE + 0x1000, CODE + 0x2000 and so on, whose addresses are in s2, s3 and so on. */
function withFunctions(main: string, functions: readonly string[]): BothWays {
  const at = (index: number): number => DATA + (index + 1) * 0x1000
  const addresses = functions.map((_, i) => `li s${i + 2}, ${at(i)}`).join('; ')
  const both = new BothWays(nodeEngine, `${addresses}; li sp, ${DATA + 0xf_0000}; ${main}`)
  both.each((program) => {
    for (const [i, source] of functions.entries()) put(program, at(i), source)
  })
  return both
}

const PUSH = 'addi sp, sp, -16; sd ra, 0(sp)'
const POP = 'ld ra, 0(sp); addi sp, sp, 16; ret'

test('what is changed before a loop with calls is what the callee sees', () => {
  // Where the region begins depends on where slices end: at the function's beginning in some of these.
  for (const piece of [397n, 1009n, 1511n, 5003n]) {
    const both = withFunctions('li s0, 300; 1: jalr t5, 0(s3); addi s0, s0, -1; bnez s0, 1b; ecall', [
      'addi a1, a1, 1; add a1, a1, a5; ret',
      `addi a5, s0, 7; mul a6, a5, s0; li s4, 3; 1: beqz s4, 2f; jalr ra, 0(s2); addi s4, s4, -1; j 1b
       2: add a7, a7, a5; xor a7, a7, a6; jr t5`,
    ]).finish(piece)
    assert.ok(both.counts.regions > 1)
  }
})

test('two functions that call each other 1500 deep come back through all of them', () => {
  for (const piece of [1009n, 20_011n]) {
    const both = withFunctions(
      'li s0, 6; 1: li a0, 1500; jalr ra, 0(s2); addi s0, s0, -1; bnez s0, 1b; ecall',
      [
        `addi a1, a1, 1; beqz a0, 1f; ${PUSH}; addi a0, a0, -1; jalr ra, 0(s3); slli t0, a2, 1; xor a2, t0, a1; ${POP}; 1: ret`,
        `addi a1, a1, 3; beqz a0, 1f; ${PUSH}; addi a0, a0, -1; jalr ra, 0(s2); addi a3, a3, 1; add a2, a2, a3; ${POP}; 1: ret`,
      ],
    ).finish(piece)
    assert.ok(both.counts.regions >= 4)
    assert.equal(both.translated.x(13), 6n * 750n)
  }
})

test('frames of the largest size fit on the stack of the engine, as deep as calls may go', () => {
  // All registers are in use across a long function, so that as much as possible of them has to be kept.
  const work = Array.from({ length: 64 }, (_, i) => {
    const [a, b, c] = [i % 28, (i * 7 + 3) % 28, 28 + (i % 4)]
    return `fmul.d f${a}, f${b}, f${c}; beqz t${1 + (i % 3)}, 1f; fmul.d f${b}, f${a}, f${c}; 1: ld a${2 + (i % 4)}, ${8 * i}(gp)`
  }).join('\n')
  const ones = Array.from({ length: 32 }, (_, i) => `fcvt.d.w f${i}, t1`).join(';')
  const source = (rounds: number): string => `
     li t0, 0x6000; csrs mstatus, t0; csrwi fflags, 1; li t1, 1; ${ones}; li gp, ${DATA}; li s2, ${DATA + 0x1000}
     li s3, ${DATA + 0x2000}; li sp, ${DATA + 0xf_0000}; li s0, ${rounds}
     1: li a0, 450; jalr ra, 0(s2); addi s0, s0, -1; bnez s0, 1b; ecall`
  const functions = (program: Program): void => {
    for (const i of [0, 1])
      put(
        program,
        DATA + 0x1000 + i * 0x1000,
        `beqz a0, 9f; ${PUSH}; addi a0, a0, -1; ${work}\n jalr ra, 0(s${3 - i}); ${work}\n addi a1, a1, 1; ${POP}; 9: ret`,
      )
  }
  const rounds = 60
  const hot = new Program(nodeEngine, source(rounds), { translation: 'hot' })
  functions(hot)
  const interpreted = new Program(nodeEngine, source(rounds))
  functions(interpreted)
  for (const { machine } of [hot, interpreted]) assert.equal(machine.run(100_000_000n).reason, 'request')

  requireSameState(hot.machine, interpreted.machine)
  const { steps } = hot.machine.translatorCounts!
  assert.ok(steps > 5_000_000, `${steps} of ${hot.machine.position} steps in translated code`)
})

test('returns that skip frames, and such as go where nothing has called', () => {
  // a1: where to go back to over the heads of others, s7: the stack there.
  const both = withFunctions(
    `li s0, 500
     loop: mv s7, sp; la a1, 1f; andi a0, s0, 7; jalr ra, 0(s2); addi a4, a4, 100
     1: addi a5, a5, 1; addi s0, s0, -1; bnez s0, loop; ecall`,
    [
      `${PUSH}; addi a0, a0, -1; jalr ra, 0(s3); addi a2, a2, 1; ${POP}`,
      `${PUSH}; andi t0, s0, 3; beqz t0, 2f; bgtz a0, 1f
       mv sp, s7; mv ra, a1; ret
     1: jalr ra, 0(s2); addi a3, a3, 1; ${POP}
     2: ld ra, 0(sp); addi sp, sp, 16; slti t0, a0, -2; beqz t0, 3f; ld ra, 0(sp); addi sp, sp, 16
     3: addi a6, a6, 1; jr ra`,
    ],
  ).finish(601n)
  assert.ok(both.counts.regions >= 3)
})

test('a callee that rewrites what stands behind its call', () => {
  const word = 0x0015_0513
  for (const store of [
    'sw t1, 0(ra)',
    'sh t1, 0(ra); srli t2, t1, 16; sh t2, 2(ra)',
    'amoswap.w zero, t1, (ra)',
    'lr.w t2, (ra); sc.w t2, t1, (ra)',
    // Over the start and the end of the page that it returns to.
    'lw t2, -4(ra); slli t3, t1, 32; slli t2, t2, 32; srli t2, t2, 32; or t2, t2, t3; sd t2, -4(ra)',
  ]) {
    const both = withFunctions(`li s0, 400; li t0, ${word}; li s6, 0x100000; jalr t5, 0(s2); ecall`, [
      // addi a0, a0, 1 or 2, in turns of 16.
      `1: andi a3, s0, 15; jalr ra, 0(s3); addi a0, a0, 1; addi a1, a1, 1; addi s0, s0, -1; bnez s0, 1b; jr t5`,
      `addi a2, a2, 1; bnez a3, 9f; lui t4, 0x300; lw t1, 0(ra); xor t1, t1, t4; ${store}; 9: ret`,
    ]).finish(283n)
    assert.ok(both.counts.dropped > 5, `${store}: ${both.counts.dropped} dropped`)
    assert.equal(both.translated.x(10), 608n)
  }
})

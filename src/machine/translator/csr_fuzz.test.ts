/**
 * Random kernels: CSRs are read and changed in translated code, among accesses and calls, while interrupts come due and the
 * memory of user space, interrupts and floating point are switched on and off.
 */
import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { test } from 'node:test'
import { Random } from '../../base/prng.ts'
import { nodeEngine } from '../../host/engine.ts'
import { assemble } from '../../isa/assemble.ts'
import { AddressSpace, PTE, RW, useTables } from '../testing/address_space.ts'
import { BothWays } from '../testing/both_ways.ts'
import { DATA, enter, LOG, OPEN_PMP } from '../testing/program.ts'

const PROGRAMS = 12
const USER = 0x20_0000_0000n
const CALLEE = DATA + 0x1000
/** The callee's page again, to be executed only: it is read if MXR says so. */
const CODE_ONLY = 0x10_0000_0000n
const SUM = 0x4_0000
const FS = 0x6000
const MXR = 0x8_0000

/** What belongs together, so that it meets often; s9 has SUM, s10 the bits of floating point, s11 MXR. */
const themes = [
  [
    ...[
      'csrs sstatus, s9',
      'csrc sstatus, s9',
      'csrrs a1, sstatus, s9',
      'csrs sstatus, s11',
      'csrc sstatus, s11',
    ],
    ...['ld a3, 0(s2); add a0, a0, a3', 'sd a0, 8(s2)', 'ld a3, 16(s2); xor a0, a0, a3', 'lbu a3, 1(s6)'],
    ...[
      'ld a3, 0(s3); sd a0, 8(s3); ld a5, 16(s3); add a0, a0, a5',
      'csrr a2, satp; csrw satp, a2',
      'sfence.vma zero, zero',
    ],
  ],
  [
    ...[
      'csrs sstatus, s10',
      'csrc sstatus, s10',
      'csrs sstatus, s10',
      'csrwi frm, 1',
      'csrwi frm, 0',
      'csrwi fflags, 0',
    ],
    ...['csrrw a4, fflags, zero; xor a0, a0, a4', 'fadd.d f0, f0, f1; fmv.x.d a3, f0; xor a0, a0, a3'],
    ...['fdiv.d f2, f1, f3; fsd f2, 24(s3)', 'fdiv.d f4, f3, f1; fmv.x.d a3, f4; add a0, a0, a3'],
  ],
  [
    ...[
      'csrsi sstatus, 2',
      'csrci sstatus, 2',
      'csrrci a2, sstatus, 2',
      'csrsi sip, 2',
      'csrsi sie, 2',
      'csrci sie, 2',
    ],
    ...['csrr a2, sip; add a0, a0, a2', 'csrw sepc, a0', 'csrr a2, sstatus; add a0, a0, a2'],
  ],
]
const others = [
  'csrr a3, cycle; xor a0, a0, a3',
  'csrr a3, instret; add a0, a0, a3',
  'csrr a3, time; xor a0, a0, a3',
  'csrrw a1, sscratch, a0; xor a0, a0, a1',
  'csrrs zero, sscratch, a0',
  'csrrc a1, sscratch, zero',
  'csrrwi zero, sscratch, 21',
  'csrr a2, mstatus',
  'amoadd.d a3, a0, (s3)',
  'addi a0, a0, 77; slli a5, a0, 3; xor a0, a0, a5',
  'jalr ra, 0(s4)',
]

const some = (random: Random, theme: readonly string[], count: number): string =>
  Array.from({ length: count }, () => random.pick(random.chance(0.7) ? theme : others)).join('\n')

function kernelOf(random: Random, theme: readonly string[]): BothWays {
  const source = `${OPEN_PMP}; ${useTables()}
     li t0, -1; csrw mcounteren, t0; csrw scounteren, t0; csrwi mideleg, 2; la t0, trap; csrw mtvec, t0; la t0, interrupt; csrw stvec, t0
     li s1, 1500; li s2, ${USER}; li s3, ${DATA}; li s4, ${CALLEE}; li s6, ${CODE_ONLY}
     li s9, ${SUM}; li s10, ${FS}; li s11, ${MXR}; csrs mstatus, s10; li t0, 3; fcvt.d.l f1, t0; li t0, 7; fcvt.d.l f3, t0
     ${enter('S')}
     csrwi sie, 2; csrsi sstatus, 2
  round:
     ${some(random, theme, 12)}
     addi s1, s1, -1; andi t1, s1, 3; bnez t1, 1f
     csrsi sip, 2
     ${some(random, theme, 6)}
  1: ${some(random, theme, 6)}
     bgtz s1, round
     ecall
     .align 2
  interrupt:
     csrr t6, sepc; add s8, s8, t6; slli s8, s8, 1; csrr t6, cycle; xor s8, s8, t6; csrci sip, 2; sret
     .align 2
  trap:
     csrr gp, mcause; addi gp, gp, -9; beqz gp, 2f
     xor s7, s7, gp; slli s7, s7, 1; csrr gp, mtval; add s7, s7, gp; csrr gp, mepc; add s7, s7, gp; addi gp, gp, 4; csrw mepc, gp
     mret
  2: li s11, ${LOG}; j handler`
  const both = new BothWays(nodeEngine, source)
  const callee = `${some(random, theme, 4)}; ret`.replaceAll('jalr ra, 0(s4)', 'nop')
  both.each((program) => {
    const space = new AddressSpace(program.machine)
    space.mapRam(RW | PTE.x)
    space.map(USER, DATA + 0x8000, RW | PTE.u)
    space.map(CODE_ONLY, CALLEE, PTE.v | PTE.x | PTE.a)
    program.machine.ram.write(CALLEE, assemble(callee, BigInt(CALLEE)).bytes)
  })
  return both
}

test('random kernels do the same, translated and interpreted', () => {
  const first = Number(process.env['UNDERSTUDY_SEED'] ?? randomInt(2 ** 31))
  console.error(`seed ${first} (UNDERSTUDY_SEED=${first} repeats it)`)
  let [regions, interrupts] = [0, 0]
  for (let seed = first; seed < first + PROGRAMS; seed++) {
    const random = new Random(seed)
    const both = kernelOf(random, themes[seed % themes.length]!)
    both.runDisturbed(BigInt(random.pick([61, 397, 1499, 5003])), 3000, random)
    regions += both.counts.regions
    if (both.interpreted.hart.x(24) !== 0n) interrupts++
  }
  assert.ok(regions > 3 * PROGRAMS, `${regions} regions`)
  assert.ok(interrupts >= PROGRAMS / 2, `${interrupts} programs with interrupts`)
})

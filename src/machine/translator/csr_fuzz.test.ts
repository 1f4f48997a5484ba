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
import { AddressSpace, PTE, RW, RX, useTables } from '../testing/address_space.ts'
import { BothWays } from '../testing/both_ways.ts'
import { DATA, enter, LOG, type Program } from '../testing/program.ts'

const PROGRAMS = 15
const USER = 0x20_0000_0000n
const CALLEE = DATA + 0x1000
/** The callee's page again, to be executed only: it is read if MXR says so. */
const CODE_ONLY = 0x10_0000_0000n
const SUM = 0x4_0000
const FS = 0x6000
const MXR = 0x8_0000
const MPRV = 0x2_0000

/** The address of a PMP entry that covers a page. */
const napot = (address: number): number => address / 4 + 511

/** What belongs together, so that it meets often. */
interface Theme {
  readonly lines: readonly string[]
  readonly mode?: 'S' | 'M'
  readonly setUp?: string
  readonly prepare?: (program: Program) => void
}

/** The addresses of a theme's own. */
const SATPS = DATA + 0x2000
const SPACES_AT = DATA + 0x4_0000
const SPACE_BYTES = 0x8000
/** More than there are banks, so that these are used again. */
const SPACES = 24
const OTHER_CODE = 0x18_0000_0000n

/** Address spaces that differ in the page of user space and in the code of the callee, each of two kinds. */
function makeSpaces({ machine }: Program): void {
  for (let i = 0; i < SPACES; i++) {
    const space = new AddressSpace(machine, 'sv39', SPACES_AT + i * SPACE_BYTES)
    space.mapRam(RW | PTE.x)
    space.map(USER, DATA + 0x8000 + i * 0x1000, RW | PTE.u)
    space.map(CODE_ONLY, CALLEE, PTE.v | PTE.x | PTE.a)
    space.map(OTHER_CODE, i % 3 === 0 ? CALLEE : CALLEE + 0x2000, RX)
    const satp = new BigUint64Array([space.satp])
    machine.ram.write(SATPS + i * 8, new Uint8Array(satp.buffer))
  }
}

/** One in which data is at other places than physically; M-mode's own code does not go by it. */
function makeOtherPlaces({ machine }: Program): void {
  const space = new AddressSpace(machine, 'sv39', SPACES_AT)
  space.map(BigInt(DATA), DATA + 0xa000, RW)
  space.map(BigInt(DATA + 0x8000), DATA + 0x9000, RW | PTE.u)
  space.map(CODE_ONLY, CALLEE, PTE.v | PTE.x | PTE.a)
}

/** What the callee has switched holds for this load. */
const BEHIND_CALL = 'ld a3, 0(s2); jalr ra, 0(s4); ld a3, 0(s2); add a0, a0, a3'

/** s9 has SUM, s10 the bits of floating point, s11 MXR. */
const themes: readonly Theme[] = [
  {
    lines: [
      BEHIND_CALL,
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
  },
  {
    lines: [
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
  },
  {
    lines: [
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
  },
  {
    // M-mode with the rights of others: s5 has MPRV, t3 MPP, t4 its lower bit; entry 0 of PMP covers a page of user space or of data.
    mode: 'M',
    setUp: `li s5, ${MPRV}; li t3, 0x1800; li t4, 0x800; li t5, ${napot(DATA + 0x9000)}; li t2, ${napot(DATA + 0xa000)}
      li s2, ${DATA + 0x8000}; li t0, ${(8n << 60n) | BigInt(SPACES_AT >>> 12)}; csrw satp, t0`,
    prepare: makeOtherPlaces,
    lines: [
      ...[
        'csrs mstatus, s5',
        'csrs mstatus, s5',
        'csrc mstatus, s5',
        'csrs mstatus, t3',
        'csrrc a1, mstatus, t3',
      ],
      ...['csrc mstatus, t3; csrs mstatus, t4', 'csrs mstatus, s9', 'csrc mstatus, s9', 'csrs mstatus, s11'],
      ...[
        'csrsi pmpcfg0, 24',
        'csrci pmpcfg0, 24',
        'csrsi pmpcfg0, 3',
        'csrci pmpcfg0, 1',
        'csrci pmpcfg0, 2',
      ],
      ...['csrw pmpaddr0, t5', 'csrw pmpaddr0, t2', 'csrr a2, pmpcfg0; add a0, a0, a2'],
      ...[
        'csrwi mcountinhibit, 5',
        'csrwi mcountinhibit, 0',
        'csrsi mcountinhibit, 1',
        'csrci mcountinhibit, 4',
      ],
      ...[
        'csrr a3, mcycle; xor a0, a0, a3',
        'csrr a3, minstret; add a0, a0, a3',
        'csrw minstret, a0',
        'csrw mcycle, a0',
      ],
      ...['csrsi mip, 2', 'csrsi mstatus, 8', 'csrci mstatus, 8'],
      ...[
        'ld a3, 0(s2); add a0, a0, a3',
        'sd a0, 8(s2)',
        'ld a3, 8(s3); sd a0, 16(s3); ld a5, 24(s3); xor a0, a0, a3',
      ],
      ...['lbu a3, 1(s6); add a0, a0, a3', 'sd a0, 32(s3); sd a0, 40(s3)', BEHIND_CALL, BEHIND_CALL],
    ],
  },
  {
    // From one address space to another, with code that is not the same there: s5 has the table of all, t3 a place in it.
    setUp: `li s5, ${SATPS}; li t3, 0; li s4, ${OTHER_CODE}; csrs mstatus, s9`,
    prepare: makeSpaces,
    lines: [
      ...['addi t3, t3, 8', 'addi t3, t3, -8', 'addi t3, t3, 40'].map(
        (move) =>
          `${move}; li t4, ${SPACES * 8}; remu t4, t3, t4; andi t4, t4, -8; add t4, t4, s5; ld a2, 0(t4); csrw satp, a2`,
      ),
      ...['ld a2, 0(s5); csrw satp, a2', 'ld a2, 8(s5); csrrw a1, satp, a2; csrw satp, a1', 'jalr ra, 0(s4)'],
      ...[
        'ld a3, 0(s2); add a0, a0, a3',
        'sd a0, 0(s2); ld a3, 8(s2); sd a0, 8(s2)',
        'csrc sstatus, s9',
        'csrs sstatus, s9',
      ],
      ...['sfence.vma zero, zero', 'ld a3, 0(s3); sd a0, 8(s3); add a0, a0, a3', 'lbu a3, 1(s6)'],
    ],
  },
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

/** Traps of S-mode are counted in M-mode; those of M-mode may be interrupts, which S-mode has for itself. */
const handlers = `
     .align 2
  interrupt:
     csrr t6, sepc; add s8, s8, t6; slli s8, s8, 1; csrr t6, cycle; xor s8, s8, t6; csrci sip, 2; sret
     .align 2
  trap:
     csrr gp, mcause; bltz gp, 3f; addi gp, gp, -9; beqz gp, 2f; addi gp, gp, -2; beqz gp, 2f
     xor s7, s7, gp; slli s7, s7, 1; csrr gp, mtval; add s7, s7, gp; csrr gp, mepc; add s7, s7, gp; addi gp, gp, 4; csrw mepc, gp
     mret
  3: csrr gp, mepc; add s8, s8, gp; slli s8, s8, 1; csrr gp, mcycle; xor s8, s8, gp; csrci mip, 2; mret
  2: li s11, ${LOG}; j handler`

function kernelOf(random: Random, { lines, mode = 'S', setUp = '', prepare = () => {} }: Theme): BothWays {
  const source = `li t0, -1; csrw pmpaddr1, t0; li t0, 0x1f00; csrw pmpcfg0, t0; ${useTables()}
     li t0, -1; csrw mcounteren, t0; csrw scounteren, t0; la t0, trap; csrw mtvec, t0; la t0, interrupt; csrw stvec, t0
     li s1, 1500; li s2, ${USER}; li s3, ${DATA}; li s4, ${CALLEE}; li s6, ${CODE_ONLY}
     li s9, ${SUM}; li s10, ${FS}; li s11, ${MXR}; csrs mstatus, s10; li t0, 3; fcvt.d.l f1, t0; li t0, 7; fcvt.d.l f3, t0
     ${setUp}
     ${mode === 'S' ? `csrwi mideleg, 2; ${enter('S')}; csrsi sstatus, 2` : 'csrsi mstatus, 8'}
     csrwi ${mode === 'S' ? 'sie' : 'mie'}, 2
  round:
     ${some(random, lines, 12)}
     addi s1, s1, -1; andi t1, s1, 3; bnez t1, 1f
     csrsi ${mode === 'S' ? 'sip' : 'mip'}, 2
     ${some(random, lines, 6)}
  1: ${some(random, lines, 6)}
     bgtz s1, round
     ecall
     ${handlers}`
  const both = new BothWays(nodeEngine, source, { translation: random.pick(['eager', 'patient', 'late']) })
  const callees = Array.from({ length: 2 }, () =>
    `${some(random, lines, 4)}; ret`.replaceAll('jalr ra, 0(s4)', 'nop'),
  )
  both.each((program) => {
    const space = new AddressSpace(program.machine)
    space.mapRam(RW | PTE.x)
    space.map(USER, DATA + 0x8000, RW | PTE.u)
    space.map(CODE_ONLY, CALLEE, PTE.v | PTE.x | PTE.a)
    space.map(OTHER_CODE, CALLEE, RX)
    for (const [i, callee] of callees.entries()) {
      const address = CALLEE + i * 0x2000
      program.machine.ram.write(address, assemble(callee, BigInt(address)).bytes)
    }
    prepare(program)
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

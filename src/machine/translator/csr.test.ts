/** CSRs that are changed in translated code: what a region keeps in its local variables must not outlive the change. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../../host/engine.ts'
import { assemble } from '../../isa/assemble.ts'
import { AddressSpace, PTE, RW, RX, useTables } from '../testing/address_space.ts'
import { BothWays } from '../testing/both_ways.ts'
import { DATA, enter, LOG, OPEN_PMP, type Program, SWITCHES } from '../testing/program.ts'

const USER = 0x20_0000_0000n
const SUM = 0x4_0000
const FS = 0x6000

/** A loop of 600 rounds in S-mode; traps are counted in s5, all that they tell is in s7, and they go on at the next instruction. */
function loopOf(
  body: string,
  setUp = '',
  prepare: (program: Program, space: AddressSpace) => void = () => {},
): BothWays {
  const both = new BothWays(
    nodeEngine,
    `${OPEN_PMP}; ${useTables()}; la t0, trap; csrw mtvec, t0; la t0, interrupt; csrw stvec, t0; csrwi mideleg, 2
     li t0, -1; csrw mcounteren, t0; csrw scounteren, t0
     li s1, 600; li s2, ${USER}; li s3, ${DATA}; li s9, ${SUM}; li s10, ${FS}; li s11, 0x20; csrs mstatus, s10; csrs mstatus, s9; ${setUp}
     ${enter('S')}
  round:
     ${body}
     addi s1, s1, -1; bnez s1, round
     ecall
     .align 2
  interrupt:
     csrr t6, sepc; add s8, s8, t6; csrr t6, cycle; xor s8, s8, t6; csrci sip, 2; li t6, -1; csrw stimecmp, t6; sret
     .align 2
  trap:
     csrr gp, mcause; addi gp, gp, -9; beqz gp, 2f
     add s7, s7, gp; csrr gp, mtval; add s7, s7, gp; csrr gp, mepc; add s7, s7, gp; addi gp, gp, 4; csrw mepc, gp; addi s5, s5, 1
     mret
  2: li s11, ${LOG}; j handler`,
  )
  both.each((program) => {
    const space = new AddressSpace(program.machine)
    space.mapRam(RW | PTE.x)
    space.map(USER, DATA + 0x8000, RW | PTE.u)
    prepare(program, space)
  })
  both.finish(4001n)
  assert.ok(both.counts.regions > 0)
  return both
}

test('memory of user space that is closed in a region faults behind that', () => {
  // A round begins with the memory open: so does the region.
  const both = loopOf(
    'ld a3, 0(s2); csrc sstatus, s9; ld a4, 0(s2); sd a3, 8(s3); csrs sstatus, s9; ld a5, 8(s2)',
  )
  assert.equal(both.interpreted.hart.x(21), 600n, 'it traps once in a round')
})

test('memory of user space that a callee closes is closed behind the call', () => {
  const callee = DATA + 0x1000
  const both = loopOf(
    'jalr ra, 0(s4); ld a4, 0(s2); sd a4, 8(s3); csrs sstatus, s9; ld a3, 0(s2); add a0, a0, a3',
    `li s4, ${callee}`,
    (program) => program.machine.ram.write(callee, assemble('csrc sstatus, s9; ret', BigInt(callee)).bytes),
  )
  assert.equal(both.interpreted.hart.x(21), 600n, 'it traps once in a round')
})

test('memory of user space that is closed in a region is closed for what is not translated', () => {
  // Each round goes on in a piece of code that was never met before, in pages behind the data.
  const [pieces, pieceBytes] = [DATA + 0x1_0000, 32]
  const piece = assemble(
    'ld a4, 0(s2); sd a4, 8(s3); csrs sstatus, s9; ld a3, 0(s2); jalr zero, 0(ra)',
    0n,
  ).bytes
  const both = loopOf(
    'csrc sstatus, s9; jalr ra, 0(s4); addi s4, s4, 32',
    `li s4, ${pieces}`,
    ({ machine }) => {
      for (let i = 0; i < 600; i++) machine.ram.write(pieces + i * pieceBytes, piece)
    },
  )
  assert.equal(both.interpreted.hart.x(21), 600n, 'it traps once in a round')
})

test('floating point that is switched off in a region is illegal behind that', () => {
  // Inexact has been raised, and the results are normal: WebAssembly's own arithmetic is used.
  const both = loopOf(
    'fadd.d f0, f0, f1; csrc sstatus, s10; fadd.d f0, f0, f1; csrs sstatus, s10; fsd f0, 0(s3)',
    'csrwi fflags, 1; li t0, 3; fcvt.d.l f0, t0; fcvt.d.l f1, t0',
  )
  assert.equal(both.interpreted.hart.x(21), 600n, 'it traps once in a round')
})

test('a timer that is set in a region goes off at its position', () => {
  const both = loopOf(
    'csrr t1, time; csrw stimecmp, t1; addi a0, a0, 1; xor a0, a0, t1; addi a0, a0, 3; slli a1, a0, 1; add a0, a0, a1',
    'li t0, 1 << 63; csrw menvcfg, t0; csrwi mideleg, 0; csrw mideleg, s11; csrw sie, s11; csrsi mstatus, 2',
  )
  assert.notEqual(both.interpreted.hart.x(24), 0n, 'it was interrupted')
})

test('an interrupt comes at the instruction behind the one that allows it, or asks for it', () => {
  for (const body of [
    'csrci sstatus, 2; csrsi sip, 2; addi a0, a0, 1; csrsi sstatus, 2; addi a0, a0, 1',
    'csrsi sstatus, 2; addi a0, a0, 1; csrsi sip, 2; addi a0, a0, 1',
    'csrsi sstatus, 2; csrci sie, 2; csrsi sip, 2; addi a0, a0, 1; csrsi sie, 2; addi a0, a0, 1',
  ]) {
    const both = loopOf(body, 'csrwi sie, 2')
    assert.notEqual(both.interpreted.hart.x(24), 0n, 'it was interrupted')
  }
})

test('counters that are read in a region are those of its instruction', () => {
  loopOf(
    'csrr a1, cycle; add a0, a0, a1; csrr a1, instret; addi a2, a2, 1; xor a0, a0, a1; csrr a1, time; add a0, a0, a1',
  )
})

test('a register of zeros stays what it is, and a read writes nothing', () => {
  loopOf(
    'csrrw zero, sscratch, s1; csrrs a1, sscratch, zero; add a0, a0, a1; csrrc zero, sscratch, a0; csrr a1, sscratch; xor a0, a0, a1',
  )
})

test('where another address space has other code, that is executed behind the choice', () => {
  const CODE = 0x10_0000_0000n
  const SECOND = DATA + 0x4_0000
  const other = `li s5, ${(8n << 60n) | BigInt(SECOND >>> 12)}; csrr s6, satp; li s4, ${CODE}`
  const both = loopOf('jalr ra, 0(s4)', other, ({ machine }, space) => {
    const second = new AddressSpace(machine, 'sv39', SECOND)
    second.mapRam(RW | PTE.x)
    second.map(CODE, DATA + 0x2000, RX)
    space.map(CODE, DATA + 0x1000, RX)
    const code = (add: number, to: string): Uint8Array =>
      assemble(
        `${'addi a2, a2, 1; xor a0, a0, a2;'.repeat(6)} csrw satp, s${to}; addi a0, a0, ${add}; slli a1, a0, 1; xor a0, a0, a1; csrw satp, s6; ret`,
        CODE,
      ).bytes
    machine.ram.write(DATA + 0x1000, code(1, '5'))
    machine.ram.write(DATA + 0x2000, code(100, '6'))
  })
  assert.ok(both.counts.regions > 1)
})

test('one of more address spaces than there are banks is the chosen one behind the choice', () => {
  const CODE = 0x10_0000_0000n
  const SPACES = 24
  const root = (index: number): number => DATA + 0x4_0000 + index * 0x8000
  const both = new BothWays(
    nodeEngine,
    `${OPEN_PMP}; ${useTables()}
     li s1, 3000; li s2, 12345; li s3, 1103515245; li s4, ${CODE}; li s6, ${(8n << 60n) | BigInt(root(0) >>> 12)}
     ${enter('S')}
  round:
     mul s2, s2, s3; addi s2, s2, 1013; srli t0, s2, 24; slli t0, t0, 32; srli t0, t0, 32
     li t2, ${SPACES}; remu t0, t0, t2; slli t0, t0, 3; add s5, s6, t0
     jalr ra, 0(s4)
     addi s1, s1, -1; bnez s1, round
     ecall`,
  )
  both.each(({ machine }) => {
    const pages = [DATA + 0x1000, DATA + 0x2000] as const
    const add = (space: AddressSpace, page: number): void => {
      space.mapRam(RW | PTE.x)
      space.map(CODE, page, RX)
    }
    add(new AddressSpace(machine), pages[0])
    for (let i = 0; i < SPACES; i++) add(new AddressSpace(machine, 'sv39', root(i)), pages[i % 2]!)
    for (const [i, page] of pages.entries()) {
      const source = `addi a2, a2, 1; xor a0, a0, a2; csrw satp, s5; addi a0, a0, ${i * 100 + 1}; slli a1, a0, 1; xor a0, a0, a1; ret`
      machine.ram.write(page, assemble(source, CODE).bytes)
    }
  })
  both.finish(4001n)
  assert.ok(both.counts.regions > 0)
})

for (const [name, locked] of [
  ['its own page', 'f'],
  ['the page of its caller', 'g'],
] as const) {
  test(`a region in M-mode that locks ${name} faults there`, () => {
    const end = `li t0, ${SWITCHES}; sw zero, 0(t0); j .`
    const both = new BothWays(
      nodeEngine,
      `la t0, fault; csrw mtvec, t0; la t1, ${locked}; addi t1, t1, -2; srli t2, t1, 2; li t3, 511; or t2, t2, t3; csrw pmpaddr0, t2
       la s0, f; la s4, g; li s1, 800
    round:
       li t0, 1; xor t0, s1, t0; snez t0, t0; addi t0, t0, -1; andi a1, t0, ${0x80 | 24 | 1}
       jalr ra, 0(s4)
       addi s1, s1, -1; bnez s1, round
       ${end}
       .align 2
    fault: csrr s7, mcause; csrr s6, mepc; csrr s5, mtval; ${end}
       .align 12
    c.nop
    f: addi a0, a0, 1; csrw pmpcfg0, a1; addi a0, a0, 3; slli a2, a0, 1; xor a0, a0, a2; addi a0, a0, 5; ret
       .align 12
    c.nop
    g: mv s8, ra; addi a0, a0, 1; jalr ra, 0(s0); addi a0, a0, 7; slli a2, a0, 1; xor a0, a0, a2; mv ra, s8; ret
       .align 12
       nop`,
    )
    for (let i = 0; i < 3; i++) both.run(1001n)
    both.finish(8009n)
    assert.ok(both.counts.regions > 0)
    assert.equal(both.interpreted.hart.x(23), 1n, 'an access fault')
  })
}

/**
 * A storm: every hart does, without end, what makes caches go stale and turns go wrong. Each round it picks by a
 * random number: edits a PTE that is in use, accesses memory through such PTEs (misaligned, over pages), rewrites code
 * and runs it, uses LR/SC and AMOs on a shared line, interrupts the other hart, waits or yields, changes the address
 * space, computes in floating point. A timer interrupts at odd moments; faults and interrupts go into checksums.
 *
 * Two machines in the same state take the same course through it, so their digests tell whether anything hidden (cut
 * of `run`, cache content) has become visible.
 */
import type { Engine } from '../../wasm/engine.ts'
import type { Machine } from '../machine.ts'
import type { Translation } from '../machine_options.ts'
import { AddressSpace, PTE, pte, pteAddress, RW, useTables } from './address_space.ts'
import { DATA, enter, OPEN_PMP, Program, SWITCHES, TABLES } from './program.ts'

const V = 0x4000_0000n
const PAGES = 8
const SHARED = DATA + 0xc000
const SECOND_ROOT = TABLES + 0x1_0000
/** AddressSpace takes tables in order: root, RAM, then two for V: the last one holds the PTEs that are edited. */
const LEAVES = TABLES + 0x3000
/** addi s3, s3, 0 */
const ADD_TO_CHECKSUM = 0x0009_8993

const actions = {
  editPte: `
    srli t0, s2, 8; andi t0, t0, ${PAGES - 1}; slli t0, t0, 3; add t0, t0, s4
    srli t1, s2, 16; andi t1, t1, ${PAGES - 1}; slli t1, t1, 10
    li t2, ${pte(DATA, PTE.v | PTE.r | PTE.a)}; add t1, t1, t2
    srli t2, s2, 24; andi t2, t2, ${PTE.w | PTE.d}; or t1, t1, t2
    srli t2, s2, 32; andi t2, t2, 7; bnez t2, 1f
    li t1, 0
 1: sd t1, 0(t0)`,
  access: `
    srli t0, s2, 8; li t1, ${PAGES * 4096 - 1}; and t0, t0, t1; add t0, t0, s1
    ld t2, 0(t0); add s3, s3, t2
    sd s3, 0(t0)
    lhu t2, 3(t0); add s3, s3, t2`,
  rewriteCode: `
    srli t1, s2, 8; andi t1, t1, 0x7ff; slli t1, t1, 20
    li t0, ${ADD_TO_CHECKSUM}; add t0, t0, t1; sw t0, 0(s5)
    li t0, 0x8067; sw t0, 4(s5)
    jalr ra, 0(s5)`,
  atomics: `
    li t0, ${SHARED}
    lr.d t1, (t0); addi t1, t1, 1; sc.d t2, t1, (t0); add s3, s3, t2
    amoadd.w t2, s2, (t0); add s3, s3, t2`,
  interruptOther: 'li t0, 1; sw t0, 0(s7)',
  wait: `
    srli t0, s2, 8; andi t0, t0, 7; beqz t0, 1f
    pause
    j next
 1: wfi`,
  changeSpace: `
    csrr t0, satp; li t1, ${(TABLES ^ SECOND_ROOT) / 4096}; xor t0, t0, t1; csrw satp, t0`,
  float: `
    srli t0, s2, 8; andi t0, t0, 3; fsrm t0
    fcvt.d.l ft1, s2; fadd.d ft0, ft0, ft1; fdiv.d ft2, ft0, ft1; fsqrt.s ft3, ft2
    fmv.x.d t0, ft2; xor s3, s3, t0; csrrw t0, fflags, zero; add s3, s3, t0`,
}

const SOURCE = `
    ${OPEN_PMP}
    mv s0, a0
    li s1, ${V}
    li s4, ${LEAVES}
    li s5, ${DATA + 0x8000}; slli t0, s0, 12; add s5, s5, t0
    li s7, ${SWITCHES + 16}; slli t0, s0, 3; sub s7, s7, t0
    li t0, 1 << 63; csrw menvcfg, t0
    csrwi mcounteren, 7
    li t0, 0x20; csrw mideleg, t0
    li t0, 0x28; csrw mie, t0
    la t0, machineTrap; csrw mtvec, t0
    la t0, timer; csrw stvec, t0
    csrwi stimecmp, 10
    li t0, 0x6000; csrs mstatus, t0
    ${useTables()}
    ${enter('S')}
    csrsi sstatus, 2
  next:
    slli t0, s2, 13; xor s2, s2, t0; srli t0, s2, 7; xor s2, s2, t0; slli t0, s2, 17; xor s2, s2, t0
    andi t0, s2, 7; slli t0, t0, 2; la t1, table; add t1, t1, t0; jr t1
    .align 2
  table:
    ${Object.keys(actions)
      .map((name) => `j ${name}`)
      .join('; ')}
    ${Object.entries(actions)
      .map(([name, code]) => `${name}: ${code}\n j next`)
      .join('\n')}
    .align 2
  timer:
    csrr t6, time; addi t6, t6, 7; csrw stimecmp, t6
    addi s3, s3, 13
    sret
    .align 2
  machineTrap:
    csrr s8, mcause; bltz s8, 1f
    add s10, s10, s8; csrr s9, mtval; xor s10, s10, s9; li s9, 31; mul s10, s10, s9
    csrr s8, mepc; addi s8, s8, 4; csrw mepc, s8
    mret
 1: li s9, ${SWITCHES}; slli s8, s0, 3; add s9, s9, s8; sw zero, 8(s9)
    addi s11, s11, 1
    mret`

/** A machine in which the storm of this seed is about to begin. */
export function stormMachine(
  engine: Engine,
  harts: number,
  seed: number,
  translation: Translation = 'off',
): Machine {
  const { machine } = new Program(engine, SOURCE, { harts, translation })
  const spaces = [new AddressSpace(machine), new AddressSpace(machine, 'sv39', SECOND_ROOT)] as const
  for (const space of spaces) space.mapRam()
  for (let page = 0; page < PAGES; page++) spaces[0].map(V + BigInt(page * 4096), DATA + page * 4096, RW)
  for (const space of spaces) space.map(BigInt(SWITCHES), SWITCHES, RW)
  const shared = Number(machine.ram.load64(pteAddress(TABLES, V, 2)) >> 10n) * 4096
  spaces[1].setPte(pteAddress(SECOND_ROOT, V, 2), shared, PTE.v)
  for (const hart of machine.harts) hart.setX(18, BigInt(seed) * 2654435761n + BigInt(hart.id) + 1n)
  return machine
}

/** Runs up to `position`, jumping over idle time. */
export function runTo(machine: Machine, position: bigint): void {
  while (machine.position < position) {
    const stop = machine.run(position)
    if (stop.reason === 'idle') machine.skipTime(stop.until!)
  }
}

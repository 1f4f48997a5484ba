import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../host/engine.ts'
import { RAM_BASE } from './layout.ts'
import { AddressSpace, PTE, pte, pteAddress, RW, RX, useTables } from './testing/address_space.ts'
import { DATA, enter, OPEN_PMP, Program, type ProgramOptions, TABLES } from './testing/program.ts'

const V = 0x4000_0000n
const [PAGE_A, PAGE_B, PAGE_C] = [DATA, DATA + 0x1000, DATA + 0x2000]
/** What AddressSpace takes for the first page that is mapped beside RAM: level 1, then level 0. */
const [ROOT, MIDDLE, LEAVES] = [TABLES, TABLES + 0x2000, TABLES + 0x3000]
const LEAF = pteAddress(LEAVES, V, 0)
/** Where other tables can be built by hand. */
const SPARE = TABLES + 0x8000

/** A program in S-mode with RAM mapped where it is and page A at V, to which s1 points. */
function run(
  source: string,
  layOut: (space: AddressSpace, program: Program) => void = () => {},
  options: ProgramOptions = {},
): Program {
  const program = new Program(
    nodeEngine,
    `${OPEN_PMP}; ${useTables()}; li s1, ${V}; ${enter('S')}; ${source}`,
    options,
  )
  const space = new AddressSpace(program.machine)
  space.mapRam()
  space.map(V, PAGE_A, RW)
  layOut(space, program)
  ;[PAGE_A, PAGE_B, PAGE_C].forEach((page, i) => {
    program.machine.ram.store32(page, 0xa + i)
  })
  return program.finish()
}

const registers = (program: Program, ...numbers: number[]): bigint[] => numbers.map((n) => program.x(n))
/** Assembly that stores the PTE for `pa` at address `at`, clobbering t1 and t2. */
const storePte = (at: number, pa: number, flags: number): string =>
  `li t1, ${at}; li t2, ${pte(pa, flags)}; sd t2, 0(t1)`
const USE = 'lw a0, 0(s1); sw a0, 8(s1); lw a0, 0(s1)'
const SEE = 'lw a1, 0(s1); li t0, 0x55; sw t0, 4(s1)'

/** Page B is what the program sees and writes after the edit; page A keeps what it had. */
function seesPageB(program: Program, message: string): void {
  assert.deepEqual(program.causes(), [], message)
  assert.deepEqual(registers(program, 10, 11), [0xan, 0xbn], message)
  const { ram } = program.machine
  assert.deepEqual([ram.load32(PAGE_A + 4), ram.load32(PAGE_B + 4)], [0, 0x55], message)
}

/** Tables at SPARE that map V to page B: leaves, and above them a middle table. */
function spareTables(space: AddressSpace): void {
  space.setPte(pteAddress(SPARE, V, 0), PAGE_B, RW)
  space.setPte(pteAddress(SPARE + 0x1000, V, 1), SPARE, PTE.v)
}

test('an edit of a PTE at any level is seen by the next access, without a fence', () => {
  const edits: [string, string][] = [
    ['leaf', storePte(LEAF, PAGE_B, RW)],
    ['level 1', storePte(pteAddress(MIDDLE, V, 1), SPARE, PTE.v)],
    ['root', storePte(pteAddress(ROOT, V, 2), SPARE + 0x1000, PTE.v)],
  ]
  for (const [name, edit] of edits) {
    seesPageB(run(`${USE}; ${edit}; ${SEE}`, spareTables), name)
  }
})

test('so is one at any level of Sv48', () => {
  const far = 1n << 40n
  // Spare tables for page B, level 0 at SPARE, level 1 behind it, and so on; page A's begin behind those of RAM.
  const edits = [0, 1, 2, 3].map((level) => {
    const table = level === 3 ? ROOT : TABLES + 0x5000 - level * 0x1000
    const target = level === 0 ? PAGE_B : SPARE + (level - 1) * 0x1000
    return storePte(pteAddress(table, far, level), target, level === 0 ? RW : PTE.v)
  })
  for (const [level, edit] of edits.entries()) {
    const program = new Program(
      nodeEngine,
      `${OPEN_PMP}; ${useTables('sv48')}; li s1, ${far}; ${enter('S')}; ${USE}; ${edit}; ${SEE}`,
    )
    const space = new AddressSpace(program.machine, 'sv48')
    space.mapRam()
    space.map(far, PAGE_A, RW)
    space.setPte(pteAddress(SPARE, far, 0), PAGE_B, RW)
    for (const above of [1, 2]) {
      space.setPte(pteAddress(SPARE + above * 0x1000, far, above), SPARE + (above - 1) * 0x1000, PTE.v)
    }
    program.machine.ram.store32(PAGE_A, 0xa)
    program.machine.ram.store32(PAGE_B, 0xb)
    seesPageB(program.finish(), `level ${level}`)
  }
})

test('every kind of store edits PTEs: misaligned, in halves, floating point, AMO, SC', () => {
  const [from, to] = [pte(PAGE_A, RW), pte(PAGE_B, RW)]
  const at = `li t1, ${LEAF}; li t2, ${to}; li t3, ${from ^ to}`
  const stores: Record<string, string> = {
    misaligned:
      'addi t1, t1, -4; ld t4, 0(t1); slli t4, t4, 32; srli t4, t4, 32; slli t5, t2, 32; or t4, t4, t5; sd t4, 0(t1)',
    'misaligned, over the end': 'srli t2, t2, 8; sd t2, 1(t1)',
    halves: 'sh t2, 0(t1); srli t2, t2, 16; sh t2, 2(t1)',
    byte: 'srli t2, t2, 8; sb t2, 1(t1); srli t2, t2, 8; sb t2, 2(t1)',
    'floating point': 'li t4, 0x6000; csrs sstatus, t4; fmv.d.x ft0, t2; fsd ft0, 0(t1)',
    amoswap: 'amoswap.d zero, t2, (t1)',
    'amoxor.w': 'amoxor.w zero, t3, (t1)',
    sc: 'lr.d t4, (t1); sc.d t4, t2, (t1)',
  }
  for (const [name, store] of Object.entries(stores)) {
    seesPageB(run(`${USE}; ${at}; ${store}; ${SEE}`), name)
  }
})

test('a store through an alias of the table is seen, however the alias was cached before', () => {
  // Not the TLB entry of V, which would push this one out.
  const W = 0x4040_5000n
  const source = `
      li s2, ${W}
      li t4, ${LEAVES}
      ld t3, ${LEAF % 4096}(s2)
      sd t3, ${LEAF % 4096}(t4)
      sd t3, ${LEAF % 4096}(s2)
      sd zero, ${(LEAF % 4096) + 8}(s2)
      ${USE}
      li t2, ${pte(PAGE_B, RW)}
      sd t2, ${LEAF % 4096}(s2)
      ${SEE}`
  seesPageB(
    run(source, (space) => void space.map(W, LEAVES, RW)),
    'alias',
  )
})

test('DMA into a table is seen', () => {
  const program = run(`${USE}; ecall; ${SEE}; ecall`)
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, pte(PAGE_B, RW), true)
  program.machine.ram.write(LEAF, bytes)
  // The handler has stopped the machine behind its store: it goes on behind the environment call.
  program.hart.set64('pc', program.hart.get64('mepc') + 4n)
  program.hart.set32('privilege', 1)
  seesPageB(program.finish(), 'DMA')
})

test('an edit is seen by fetches: the page that runs is exchanged under the program', () => {
  // Each page of code stores the PTE that t2 holds over its own, then says in a0 which page goes on.
  const code = 'li a0, 1; sd t2, 0(t1); addi a0, a0, 10; ret'
  const other = 'li a0, 2; sd t2, 0(t1); addi a0, a0, 20; ret'
  const source = `
      li t1, ${LEAF}
      li t2, ${pte(PAGE_B, RX)}
      la t3, code
      la t4, other
      li t5, ${PAGE_A}
      ld t6, 0(t3); sd t6, 0(t5); ld t6, 8(t3); sd t6, 8(t5)
      li t5, ${PAGE_B}
      ld t6, 0(t4); sd t6, 0(t5); ld t6, 8(t4); sd t6, 8(t5)
      ${storePte(LEAF, PAGE_A, RX)}
      li t2, ${pte(PAGE_B, RX)}
      jalr ra, 0(s1)
      ecall
      .align 3
    code: ${code}
    other: ${other}`
  assert.equal(run(source).x(10), 21n)
})

test('taking rights away and giving them back is seen', () => {
  const program = run(`
      ${USE}
      ${storePte(LEAF, PAGE_A, RW & ~PTE.w)}
      sw a0, 8(s1)
      lw a0, 0(s1)
      ${storePte(LEAF, PAGE_A, RW & ~PTE.a)}
      lw a0, 0(s1)
      ${storePte(LEAF, PAGE_A, RW & ~PTE.d)}
      lw a0, 0(s1)
      sw a0, 8(s1)
      ${storePte(LEAF, PAGE_A, RW)}
      sw a0, 8(s1)
      ${storePte(LEAF, 0, 0)}
      sw a0, 8(s1)
      lw a0, 0(s1)`)
  assert.deepEqual(program.causes(), [15n, 13n, 15n, 15n, 13n])
})

test('a page that is mapped after a fault is there at once', () => {
  const W = V + 0x5000n
  const program = run(`
      li s2, ${W}
      lw a0, 0(s2)
      ${storePte(pteAddress(LEAVES, W, 0), PAGE_B, RW)}
      lw a0, 0(s2)`)
  assert.deepEqual(program.causes(), [13n])
  assert.equal(program.x(10), 0xbn)
})

test('a superpage that is split, moved and joined again is seen', () => {
  const program = run(
    `li s2, ${0xc010_0000n}
     lw a0, 0(s2)
     ${storePte(pteAddress(ROOT, 0xc000_0000n, 2), SPARE + 0x2000, PTE.v)}
     lw a1, 0(s2)
     ${storePte(pteAddress(ROOT, 0xc000_0000n, 2), RAM_BASE, RW)}
     lw a2, 0(s2)
     ${storePte(LEAF, PAGE_C, RW)}
     lw a3, 0(s1)`,
    (space) => {
      space.map(0xc000_0000n, RAM_BASE, RW, 2)
      space.setPte(pteAddress(SPARE + 0x2000, 0xc010_0000n, 1), SPARE + 0x3000, PTE.v)
      space.setPte(pteAddress(SPARE + 0x3000, 0xc010_0000n, 0), PAGE_B, RW)
    },
  )
  assert.deepEqual(registers(program, 10, 11, 12, 13), [0xan, 0xbn, 0xan, 0xcn])
})

test('tables that map themselves (recursive) are coherent at every level they serve', () => {
  // Slot 300 of the root is the root. Below it, tables serve one level deeper: MIDDLE, whose entry 1 maps the first
  // 2 MiB of RAM at `mega`, is a table of leaves there, and the same entry maps the first 4 KiB at `page`.
  const slot = 300n
  const mega = V + 0x20_0000n
  const page = signExtended((slot << 30n) | ((V >> 30n) << 21n) | (1n << 12n))
  const self = signExtended((slot << 30n) | (slot << 21n) | (slot << 12n))
  const entry = pteAddress(MIDDLE, mega, 1)
  // The first of the two to be used is what the machine takes the table for.
  const uses = ['sw a0, 0x7f0(s2); lw a1, 0x7f0(s3)', 'sw a0, 0x7f0(s3); lw a1, 0x7f0(s2)']
  for (const use of uses) {
    const program = run(
      `li s2, ${mega}; li s3, ${page}; li s4, ${self}
     li a0, 7
     ${use}
     sw zero, 0x7f0(s3)
     sw zero, 0x7f0(s2)
     ld a2, 0(s4)
     ${storePte(entry, RAM_BASE, RW & ~PTE.w)}
     sw a0, 0x7f0(s2)
     sw a0, 0x7f0(s3)
     ${storePte(entry, SPARE, PTE.v)}
     lw a3, 0(s2)
     lw a4, 0(s3)
     ${storePte(entry, RAM_BASE, RW)}
     lw a5, 0x7f0(s2)
     lw a6, 0x7f0(s3)`,
      (space) => {
        space.setPte(SPARE, PAGE_B, RW)
        space.map(mega, RAM_BASE, RW, 1)
        space.setPte(pteAddress(ROOT, slot << 30n, 2), ROOT, PTE.v)
      },
    )
    assert.deepEqual(program.causes(), [13n, 15n, 15n, 13n])
    assert.deepEqual(registers(program, 11, 13, 15, 16), [7n, 0xbn, 0n, 0n])
  }
})

test('a table of leaves that serves two places in one address space is coherent at both', () => {
  const other = V + 0x40_0000n
  const program = run(
    `${USE}
     li s2, ${other}
     lw a1, 0(s2)
     ${storePte(LEAF, PAGE_B, RW)}
     lw a2, 0(s1)
     lw a3, 0(s2)`,
    (space) => space.setPte(pteAddress(MIDDLE, other, 1), LEAVES, PTE.v),
  )
  assert.deepEqual(registers(program, 11, 12, 13), [0xan, 0xbn, 0xbn])
})

const signExtended = (va: bigint): bigint => BigInt.asUintN(64, BigInt.asIntN(39, va))

test('two address spaces with a table in common: an edit in one is seen in the other', () => {
  const second = TABLES + 0x2_0000
  const satp = (8n << 60n) | BigInt(second >>> 12)
  const program = run(
    `${USE}
     csrr s3, satp
     li s4, ${satp}
     csrw satp, s4
     lw a1, 0(s1)
     ${storePte(LEAF, PAGE_B, RW)}
     lw a2, 0(s1)
     csrw satp, s3
     lw a3, 0(s1)
     ${storePte(pteAddress(MIDDLE, V, 1), SPARE, PTE.v)}
     lw a4, 0(s1)
     csrw satp, s4
     lw a5, 0(s1)`,
    (space) => {
      spareTables(space)
      space.setPte(pteAddress(SPARE, V, 0), PAGE_C, RW)
      const other = new AddressSpace(space.machine, 'sv39', second)
      other.mapRam()
      other.setPte(pteAddress(second, V, 2), MIDDLE, PTE.v)
    },
  )
  assert.deepEqual(registers(program, 10, 11, 12, 13, 14, 15), [0xan, 0xan, 0xbn, 0xbn, 0xcn, 0xcn])
})

test('the ASID and the G bit keep nothing alive', () => {
  const program = run(
    `${USE}
     csrr t0, satp
     li s3, 5 << 44
     or t0, t0, s3
     csrw satp, t0
     ${storePte(LEAF, PAGE_B, RW | PTE.g)}
     lw a1, 0(s1)
     ${storePte(LEAF, PAGE_C, RW | PTE.g)}
     csrr t0, satp
     xor t0, t0, s3
     csrw satp, t0
     lw a2, 0(s1)`,
    (space) => void space.map(V, PAGE_A, RW | PTE.g),
  )
  assert.deepEqual(registers(program, 11, 12), [0xbn, 0xcn])
})

test('an edit by one hart is seen by another that has the translation cached', () => {
  const program = run(
    `bnez a0, other
     li t4, ${DATA + 0x4000}
  1: lw t0, 0(t4)
     beqz t0, 1b
     ${storePte(LEAF, PAGE_B, RW)}
     sw zero, 0(t4)
  2: pause
     lw t0, 4(t4)
     beqz t0, 2b
     lw a5, 4(t4)
     ecall
   other:
     lw a1, 0(s1)
     sw a1, 8(s1)
     li t4, ${DATA + 0x4000}
     li t0, 1
     sw t0, 0(t4)
  3: pause
     lw t0, 0(t4)
     bnez t0, 3b
     lw a1, 0(s1)
     sw a1, 4(t4)
     j .`,
    () => {},
    { harts: 2 },
  )
  assert.equal(program.x(15), 0xbn)
})

test('a table page that becomes data, and data that become a table, change nothing that can be seen', () => {
  // More stores than it takes for the page to be given up as a table, with uses between them.
  const program = run(`
      li s2, ${LEAVES}
      li s3, 0
      li s4, 4000
    loop:
      lw t0, 0(s1)
      add s5, s5, t0
      andi t1, s3, 255
      slli t1, t1, 3
      add t1, t1, s2
      sd zero, 2040(t1)
      andi t0, s3, 511
      bnez t0, 1f
      xori s6, s6, 1
      li t2, ${pte(PAGE_A, RW)}
      beqz s6, 2f
      li t2, ${pte(PAGE_B, RW)}
   2: sd t2, ${LEAF % 4096}(s2)
   1: addi s3, s3, 1
      blt s3, s4, loop
      mv a0, s5`)
  let expected = 0
  let page = 0xa
  let odd = false
  for (let i = 0; i < 4000; i++) {
    expected += page
    if ((i & 511) === 0) {
      odd = !odd
      page = odd ? 0xb : 0xa
    }
  }
  assert.equal(program.x(10), BigInt(expected))
})

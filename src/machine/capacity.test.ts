/** What happens when there are more address spaces, code pages or page tables than the machine has places for. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../host/engine.ts'
import { assemble } from '../isa/assemble.ts'
import { BANKS_PER_HART, CODE_SLOTS, FETCH_ENTRIES, RAM_BASE, TABLE_SLOTS, TLB_ENTRIES } from './layout.ts'
import { AddressSpace, PTE, pte, pteAddress, RW, RX, useTables } from './testing/address_space.ts'
import { DATA, enter, OPEN_PMP, Program } from './testing/program.ts'

const V = 0x4000_0000n
const MIB = 1 << 20
/** addi a0, a0, n; and ret */
const addiA0 = (n: number): number => 0x00050513 | (n << 20)
const RET = 0x8067

test('more address spaces than banks: each sees its own pages, and edits of them, when its turn comes again', () => {
  const spaces = BANKS_PER_HART + 5
  const pages = DATA + 0xa_0000
  const tables = DATA + 0x1_0000
  const root = tables >>> 12
  const program = new Program(
    nodeEngine,
    `${OPEN_PMP}; li s1, ${V}; li s2, ${(8n << 60n) | BigInt(root)}; csrw satp, s2; ${enter('S')}
     li s6, 3
  round:
     mv s3, s2
     li s4, ${spaces}
  space:
     csrw satp, s3
     lw t0, 0(s1)
     add a0, a0, t0
     sw t0, 4(s1)
     addi s3, s3, 4
     addi s4, s4, -1
     bnez s4, space
     li t1, ${tables + 0x3000}
     li t2, ${pte(pages + spaces * 4096, RW)}
     sd t2, 0(t1)
     addi s6, s6, -1
     bnez s6, round`,
  )
  let sum = 0
  for (let i = 0; i < spaces; i++) {
    const space = new AddressSpace(program.machine, 'sv39', tables + i * 0x4000)
    space.mapRam()
    space.map(V, pages + i * 4096, RW)
    program.machine.ram.store32(pages + i * 4096, 100 + i)
    sum += 100 + i
  }
  program.machine.ram.store32(pages + spaces * 4096, 7)
  assert.equal(program.finish().x(10), BigInt(sum + 2 * (sum - 100 + 7)))
})

test('more pages of code than slots: a page whose slot was taken still runs its own code', () => {
  const program = new Program(
    nodeEngine,
    `li s0, ${DATA}
     li s1, ${DATA + 4096}
     li s2, ${DATA + (CODE_SLOTS + 100) * 4096}
     li s3, 4096
     li s4, ${FETCH_ENTRIES - 1}
     li t0, ${addiA0(1)}; sw t0, 0(s0); li t0, ${RET}; sw t0, 4(s0)
     jalr ra, 0(s0)
     li s5, ${addiA0(2)}; li s6, ${RET}
  page:
     srli t0, s1, 12
     srli t1, s0, 12
     xor t0, t0, t1
     and t0, t0, s4
     beqz t0, skip                # would push the first page out of the fetch entries
     sw s5, 0(s1)
     sw s6, 4(s1)
     jalr ra, 0(s1)
     addi a1, a1, 1
  skip:
     add s1, s1, s3
     bltu s1, s2, page
     li a0, 0
     jalr ra, 0(s0)`,
    { ramBytes: 16 * MIB },
  )
  program.finish()
  assert.ok(program.x(11) > BigInt(CODE_SLOTS))
  assert.equal(program.x(10), 1n)
})

test('more page tables than slots: an edit of one whose slot was taken is seen', () => {
  const tables = TABLE_SLOTS + 100
  const area = RAM_BASE + 4 * MIB
  // Table k maps one page, at 2 MiB x k, chosen so that no other shares the TLB entry of table 0's.
  const pageIn = (k: number): number => (k === 0 ? 0 : 1 + (k % 500))
  const leafTable = (k: number): number => area + (32 + k) * 4096
  const va = (k: number): bigint => 0x10_0000_0000n + BigInt(k) * 0x20_0000n + BigInt(pageIn(k)) * 4096n
  const program = new Program(
    nodeEngine,
    `${OPEN_PMP}; ${useTables()}; li s0, ${va(0)}; ${enter('S')}
     lw a0, 0(s0)
     li s1, 1
     li s2, ${tables}
     li s3, 500
  table:
     remu t0, s1, s3
     addi t0, t0, 1
     slli t0, t0, 12
     slli t1, s1, 21
     add t0, t0, t1
     add t0, t0, s0
     lw t0, 0(t0)
     add a1, a1, t0
     addi s1, s1, 1
     blt s1, s2, table
     lw a2, 0(s0)
     li t1, ${leafTable(0)}
     li t2, ${pte(DATA + 4096, RW)}
     sd t2, 0(t1)
     lw a3, 0(s0)`,
    { ramBytes: 64 * MIB },
  )
  const { ram } = program.machine
  const space = new AddressSpace(program.machine)
  for (let i = 0; i < 32; i++)
    space.map(BigInt(RAM_BASE) + BigInt(i) * 0x20_0000n, RAM_BASE + i * 0x20_0000, RW | PTE.x, 1)
  for (let k = 0; k < tables; k++) {
    const middle = area + Math.floor(k / 512) * 4096
    space.setPte(pteAddress(space.root, va(k), 2), middle, PTE.v)
    space.setPte(pteAddress(middle, va(k), 1), leafTable(k), PTE.v)
    space.setPte(pteAddress(leafTable(k), va(k), 0), DATA, RW)
  }
  ram.store32(DATA, 1)
  ram.store32(DATA + 4096, 2)
  assert.notEqual(Number(va(1) >> 12n) % TLB_ENTRIES, 0)
  program.finish()
  assert.deepEqual(
    [10, 11, 12, 13].map((x) => program.x(x)),
    [1n, BigInt(tables - 1), 1n, 2n],
  )
})

test("an atomic that takes the slot of the running code's page table leaves edits of that table visible", () => {
  const tables = TABLE_SLOTS + 100
  const area = RAM_BASE + 4 * MIB
  const leafTable = (k: number): number => area + (32 + k) * 4096
  const va = (k: number): bigint => 0x10_0000_0000n + BigInt(k) * 0x20_0000n
  const codeVa = 0x20_0000_0000n
  const codeTables = area - 2 * 4096
  // Twice the same code but for what it returns; in between the second takes the place of the first.
  const page = (result: number): string => `
  1: amoadd.w t0, zero, (s1)
     add s1, s1, s2
     addi s3, s3, -1
     bnez s3, 1b
     amoswap.d t0, s4, (s5)
     li a0, ${result}
     ecall`
  const program = new Program(
    nodeEngine,
    `${OPEN_PMP}; ${useTables()}
     li s1, ${va(0)}; li s2, 0x200000; li s3, ${tables}
     la s4, second; srli s4, s4, 2; ori s4, s4, ${RW | PTE.x}; li s5, ${codeTables + 4096}
     li s6, ${codeVa}; ${enter('S')}
     jr s6
     .align 12
  first: ${page(1)}
     .align 12
  second: ${page(2)}`,
    { ramBytes: 64 * MIB },
  )
  const space = new AddressSpace(program.machine)
  for (let i = 0; i < 32; i++)
    space.map(BigInt(RAM_BASE) + BigInt(i) * 0x20_0000n, RAM_BASE + i * 0x20_0000, RW | PTE.x, 1)
  space.setPte(pteAddress(space.root, codeVa, 2), codeTables, PTE.v)
  space.setPte(pteAddress(codeTables, codeVa, 1), codeTables + 4096, PTE.v)
  space.setPte(codeTables + 4096, Number(program.label('first')), RW | PTE.x)
  for (let k = 0; k < tables; k++) {
    const middle = area + Math.floor(k / 512) * 4096
    space.setPte(pteAddress(space.root, va(k), 2), middle, PTE.v)
    space.setPte(pteAddress(middle, va(k), 1), leafTable(k), PTE.v)
    space.setPte(pteAddress(leafTable(k), va(k), 0), DATA, RW)
  }
  assert.equal(program.finish().x(10), 2n)
})

test('an atomic whose walk is forgotten as its own code is registered anew caches nothing', () => {
  const [CODE, NEAR, OTHER, FAR] = [0x4000_0000n, 0x1_0000_0000n, 0x1_8000_0000n, 0x8_0000_0000n]
  const span = 0x20_0000n
  const first = RAM_BASE + (8 << 20)
  // Six tables are in use before the loop; so many more, with one of level 1 for each 512, fill all slots, and one more takes
  // the root's back, which takes the next. Then the code's own tables are the oldest, and behind them that of NEAR.
  const rounds = TABLE_SLOTS - 6 - 16 + 1
  const window = FAR + BigInt(rounds - 1) * span + 0x1000n
  const program = new Program(
    nodeEngine,
    `${OPEN_PMP}; li t0, ${(8n << 60n) | BigInt(first >>> 12)}; csrw satp, t0
     li s1, ${rounds}; li s2, ${CODE}; li s3, ${NEAR}; li s5, ${FAR}; li s6, ${span}; add s4, s3, s6
     li t0, 0x100000; csrs mstatus, zero; la s8, pointers; ld s7, 0(s8); ld s8, 8(s8)
     ${enter('S')}
     jalr t1, 0(s2)
     .align 3
     pointers: .dword 0, 0`,
    { ramBytes: 64 << 20 },
  )
  const { machine } = program
  const space = new AddressSpace(machine, 'sv39', first)
  for (let at = 0; at < 64; at += 2)
    space.map(BigInt(RAM_BASE + (at << 20)), RAM_BASE + (at << 20), RW | PTE.x, 1)
  space.map(CODE, DATA, RX)
  const pages = [1, 2, 3].map((i) => DATA + i * 0x1000)
  space.map(NEAR, pages[0]!, RW)
  space.map(NEAR + span, pages[1]!, RW)
  space.map(OTHER, pages[2]!, RW)
  for (let i = 0; i < rounds; i++) space.map(FAR + BigInt(i) * span, pages[0]!, RW)
  const tableOf = (va: bigint, level: number): number => {
    const above = level === 1 ? first : tableOf(va, 1)
    return Number(machine.ram.load64(pteAddress(above, va, level + 1)) >> 10n) * 4096
  }
  const pointers = new BigUint64Array([
    pte(tableOf(OTHER, 0), PTE.v),
    window + BigInt(pteAddress(0, NEAR + span, 1)),
  ])
  space.map(window, tableOf(NEAR, 1), RW)
  machine.ram.write(Number(program.label('pointers')), new Uint8Array(pointers.buffer))
  machine.ram.write(pages[1]!, new Uint8Array([1]))
  machine.ram.write(pages[2]!, new Uint8Array([2]))
  const code = `amoadd.d zero, zero, (s3)
     1: amoadd.d zero, zero, (s5); add s5, s5, s6; addi s1, s1, -1; bnez s1, 1b
     amoadd.d a1, zero, (s4); sd s7, 0(s8); amoadd.d a2, zero, (s4); ecall`
  machine.ram.write(DATA, assemble(code, CODE).bytes)
  program.finish()
  assert.deepEqual([program.x(11), program.x(12)], [1n, 2n])
})

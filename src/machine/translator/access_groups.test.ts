/** Accesses that are looked up once for several of them, where what has been found changes between them. */
import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { test } from 'node:test'
import { Random } from '../../base/prng.ts'
import { nodeEngine } from '../../host/engine.ts'
import { assemble } from '../../isa/assemble.ts'
import { PAGE_BYTES } from '../layout.ts'
import { AddressSpace, PTE, pte, RW, RX, useTables } from '../testing/address_space.ts'
import { BothWays } from '../testing/both_ways.ts'
import { DATA, enter, OPEN_PMP, type Program, TABLES } from '../testing/program.ts'

/** What `npm test` compares. */
const PROGRAMS = 8

const CODE = 0x4000_0000n
/** What is mapped by a page of page tables, TABLE, and where that itself can be written. */
const MAPPED = 0x4020_0000n
const TABLE = TABLES + 0x4000
const WINDOW = 0x4010_0000n

/** Goes to the code at CODE in S-mode, with s2 = WINDOW, s3 = MAPPED; the page there is DATA + 0x1000, then others. */
function paged(
  code: string,
  { setUp = '', layOut }: { setUp?: string; layOut: (space: AddressSpace, program: Program) => void },
): BothWays {
  const both = new BothWays(
    nodeEngine,
    `${OPEN_PMP}; ${useTables()}; li t0, 0x2000; csrs mstatus, t0; li s2, ${WINDOW}; li s3, ${MAPPED}; li s0, ${CODE}
     ${setUp}; ${enter('S')}; jalr t6, 0(s0); ecall`,
  )
  both.each((program) => {
    const space = new AddressSpace(program.machine)
    space.mapRam()
    space.map(CODE, DATA, RX)
    assert.equal(space.map(MAPPED, DATA + 0x1000, RW), TABLE)
    program.machine.ram.write(DATA, assemble(code, CODE).bytes)
    layOut(space, program)
  })
  return both
}

test('a page that becomes a page table between two stores to it hears of the second', () => {
  // As many stores that change nothing make the table data again.
  const both = paged(
    `round:
       li t0, 140
     1: sd zero, 1024(s2); addi t0, t0, -1; bnez t0, 1b
       andi t0, s1, 1; beqz t0, 2f
     2: sd zero, 8(s2); ld a1, 0(s3); sd s4, 0(s2); ld a2, 0(s3)
       xor s4, s4, s5; add a3, a3, a1; slli a4, a4, 1; xor a4, a4, a2; addi s1, s1, -1; bnez s1, round
       jr t6`,
    {
      setUp: `li s1, 60; li s4, ${pte(DATA + 0x2000, RW)}; li s5, ${pte(DATA + 0x2000, RW) ^ pte(DATA + 0x1000, RW)}`,
      layOut: (space, { machine }) => {
        space.map(WINDOW, TABLE, RW)
        for (const i of [1, 2]) machine.ram.write(DATA + i * PAGE_BYTES, new Uint8Array([i]))
      },
    },
  ).finish(997n)
  assert.ok(both.counts.regions > 0)
  assert.equal(both.translated.x(13), 60n + 30n)
})

/** Accesses by three registers, s4 to s6. */
function accesses(random: Random): string {
  const pointers = random.pick([['s4'], ['s4', 's5'], ['s4', 's5', 's6']])
  const one = (): string => {
    const log = random.below(4)
    const slots = random.pick([2, 4, 8, 40])
    const imm = (random.below(slots) << random.pick([log, 3])) - random.pick([0, 0, 8, 16, 64])
    const register = random.pick(['a0', 'a1', 'a2', 'a3'])
    const place = `${imm}(${random.pick(pointers)})`
    if (random.chance(0.05)) return `mv ${random.pick(pointers)}, ${random.pick(['s7', 's8'])}`
    if (random.chance(0.05)) return `ld ${random.pick(pointers)}, 0(s9)`
    if (random.chance(0.04)) return `amoswap.d ${register}, ${register}, (${random.pick(pointers)})`
    if (random.chance(0.1))
      return `${random.pick(['fld', 'fsd', 'flw', 'fsw'])} f${random.below(3)}, ${place}`
    if (random.chance(0.5))
      return `l${'bhwd'[log]!}${log < 3 && random.chance(0.5) ? 'u' : ''} ${register}, ${place}`
    return `s${'bhwd'[log]!} ${random.pick([register, 'a4', 'a5'])}, ${place}`
  }
  return Array.from({ length: 14 }, one).join('\n')
}

test('accesses near each other do the same, translated and interpreted, whatever pages they reach', () => {
  const first = Number(process.env['UNDERSTUDY_SEED'] ?? randomInt(2 ** 31))
  console.error(`seed ${first} (UNDERSTUDY_SEED=${first} repeats it)`)
  for (let seed = first; seed < first + PROGRAMS; seed++) {
    const random = new Random(seed)
    const blocks = Array.from({ length: 3 }, () => accesses(random))
    // The window: two pages of data, the page table of what s3 points to, one to read only, this code, nothing.
    const places = [
      0xff0n,
      0xff8n,
      0xfffn,
      0x1800n,
      0x1ff0n,
      0x1ff8n,
      0x2000n,
      0x2010n,
      0x2100n,
      0x2ff0n,
      0x2ff8n,
      0x3ff8n,
    ]
      .concat([0x3000n, 0x4900n, 0x4ff0n, 0x4ffcn, 0x0n, 0x5n, 0x1000n, 0x10n, 0x1ff0n, 0xff8n, 0xffcn])
      .map((offset) => WINDOW + offset)
      .concat([
        MAPPED,
        MAPPED + 0xff8n,
        MAPPED + 0x1000n,
        MAPPED + 0x1ff8n,
        MAPPED + 0x2010n,
        MAPPED + 0x200ff8n,
      ])
      .concat([-8n, -16n, 0n, 0xffff_fff8n, 0x7fff_ffff_ffff_fff8n, 0x3f_ffff_fff8n, 0xffff_ffc0_0000_0000n])
    const code = `
      round:
        addi s1, s1, -1; blez s1, 9f
        andi t0, s1, ${random.pick([1, 7])}; bnez t0, 2f; li t0, 140
      1: sd zero, 2040(s10); addi t0, t0, -1; bnez t0, 1b
      2: slli t0, s1, 5; andi t0, t0, 2047; add t0, t0, s9
        ld s4, 0(t0); ld s5, 8(t0); ld s6, 16(t0); ld s7, 24(t0); mv s8, s3
        li a5, ${pte(DATA + 0x2000, RW)}; li a4, ${pte(DATA + 0x1000, RW)}; sd zero, 2040(s10)
        j 3f
      3: ${blocks[0]!}
        j 4f
      4: ${blocks[1]!}
        slli t1, a6, 1; xor a6, t1, a0; xor a6, a6, a1; add a6, a6, a2; xor a6, a6, a3
        andi t0, s1, 2; bnez t0, round
        ${blocks[2]!}
        j round
      9: jr t6`
    const both = paged(code, {
      setUp: `li s1, 700; li s9, ${DATA + 0x8000}; li s10, ${WINDOW + 0x2000n}; la t0, pass; csrw mtvec, t0; j 1f
        .align 2
        pass: csrr gp, mcause; add tp, tp, gp; csrr gp, mtval; xor tp, tp, gp; slli gp, tp, 3; add tp, tp, gp
        csrr gp, mcause; addi gp, gp, -9; bnez gp, 7f; j handler
        7: csrr gp, mepc; addi gp, gp, 4; csrw mepc, gp; mret
        1: `,
      layOut: (space, { machine }) => {
        const pages = [DATA + 0x3000, DATA + 0x4000, TABLE, DATA + 0x5000, DATA]
        for (const [i, page] of pages.entries())
          space.map(WINDOW + BigInt(i * PAGE_BYTES), page, i === 3 ? RW & ~PTE.w : RW)
        // Of MAPPED: a page of its own, one of the window's, the page table itself.
        space.map(MAPPED + 0x1000n, DATA + 0x4000, RW)
        space.map(MAPPED + 0x2000n, TABLE, RW)
        const table = new Random(seed, 1)
        const pointers = new BigUint64Array(512).map(() => BigInt.asUintN(64, table.pick(places)))
        // Often the table, and what it maps.
        for (let i = 0; i < 512; i += 4)
          if (table.chance(0.5)) pointers.set([WINDOW + 0x2000n, MAPPED, MAPPED + 0x1000n], i)
        machine.ram.write(DATA + 0x8000, new Uint8Array(pointers.buffer))
      },
    })
    const piece = BigInt(random.pick([101, 499, 2003]))
    both.runDisturbed(piece, 120, random)
  }
})

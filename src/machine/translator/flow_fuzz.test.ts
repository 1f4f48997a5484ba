/**
 * Random functions on several pages, translated against interpreted: branches and loops of any shape (also such as no compiler
 * makes), calls from page to page and deep into themselves, returns that skip frames, accesses near each other by
 * registers that point near the ends of pages, atomics, stores to code that is being executed and to its callers.
 */
import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { test } from 'node:test'
import { Random } from '../../base/prng.ts'
import { nodeEngine } from '../../host/engine.ts'
import { assemble } from '../../isa/assemble.ts'
import { AddressSpace, PTE, RW, RX, useTables } from '../testing/address_space.ts'
import { BothWays } from '../testing/both_ways.ts'
import { DATA, enter, LOG, OPEN_PMP, TABLES } from '../testing/program.ts'
import { KeptRegions } from './kept_regions.ts'

/** Pages of functions at V, each followed by nothing; data at W, the pages of it apart. */
const V = 0x4000_0000n
const W = 0x4010_0000n
/** What `npm test` compares. */
const PROGRAMS = 8
const CODE_PAGES = 5
const DATA_PAGES = 4
/** Small functions of a page, behind its beginning, in so many bytes each. */
const SMALLS = 2
const SMALL_BYTES = 128
const CODE = DATA
const DATAS = DATA + 0x1_0000
const STACK = 0x4020_0000n
const LEAVES = TABLES + 0x3000

/** s0: data, s1: fuel, s2..s5: pointers into data, s6: code as data, s7: leaf PTEs, a0..a5, t0..t2 free, sp: stack. */
function some(random: Random, blocks: number, page: number): string {
  const out: string[] = []
  const x = (): string => random.pick(['a0', 'a1', 'a2', 'a3', 'a4', 'a5', 't0', 't1'])
  const p = (): string => random.pick(['s2', 's2', 's3', 's4', 's5'])
  const label = (): string => `L${random.below(blocks)}`
  const access = (): string => {
    const [size, log] = random.pick([
      ['b', 0],
      ['h', 1],
      ['w', 2],
      ['d', 3],
      ['d', 3],
      ['w', 2],
    ] as const)
    const imm = random.chance(0.9)
      ? (random.below(64 >> log) << log) - (random.chance(0.3) ? 32 : 0)
      : random.below(80) - 40
    const kind = random.below(10)
    if (kind < 4) return `l${size}${size !== 'd' && random.chance(0.5) ? 'u' : ''} ${x()}, ${imm}(${p()})`
    if (kind < 8) return `s${size} ${x()}, ${imm}(${p()})`
    if (kind === 8)
      return `f${random.pick(['ld', 'sd', 'lw', 'sw'])} f${random.below(4)}, ${imm & -8}(${p()})`
    return `ld ${p()}, ${8 * random.below(8)}(s0)`
  }
  const one = (): string =>
    random.pick([
      () => `add ${x()}, ${x()}, ${x()}`,
      () => `addi ${x()}, ${x()}, ${random.below(4000) - 2000}`,
      () => `xor ${x()}, ${x()}, ${x()}`,
      () => `fadd.d f${random.below(4)}, f${random.below(4)}, f${random.below(4)}`,
      () => `sltu ${x()}, ${x()}, ${x()}`,
      access,
      access,
      access,
      access,
      access,
      access,
      access,
    ])()
  const rare = (): string =>
    random.pick([
      () => `amoadd.d ${x()}, ${x()}, (s3)`,
      () => `lr.d ${x()}, (s3)\nsc.d ${x()}, ${x()}, (s3)`,
      // The same bytes again, to code: of this page, of a caller's.
      () => {
        const o = 4 * random.below(60)
        const q = 4096 * random.below(CODE_PAGES)
        return `li t2, ${q + o}; add t2, t2, s6; lw t1, 0(t2); sw t1, 0(t2)`
      },
      // Another increment in an instruction at the start of a page.
      () =>
        `li t2, ${4096 * random.below(CODE_PAGES)}; add t2, t2, s6; lw t1, 0(t2); lui t0, 0x${random.pick(['100', '200', '400'])}; xor t1, t1, t0; sw t1, 0(t2)`,
      // Two code pages or data pages change places.
      () => {
        const a = random.below(CODE_PAGES),
          b = random.below(CODE_PAGES)
        return `ld t0, ${8 * a}(s7); ld t1, ${8 * b}(s7); sd t1, ${8 * a}(s7); sd t0, ${8 * b}(s7)`
      },
      () => {
        const a = 256 + random.below(DATA_PAGES),
          b = 256 + random.below(DATA_PAGES)
        return `li t2, ${8 * 256}; add t2, t2, s7; ld t0, ${8 * (a - 256)}(t2); ld t1, ${8 * (b - 256)}(t2); sd t1, ${8 * (a - 256)}(t2); sd t0, ${8 * (b - 256)}(t2)`
      },
    ])()
  // Small enough to be taken in where they are called, unless an atomic is among what they have.
  const small = (): string => {
    const store = random.chance(0.15) ? `${rare()}\n` : ''
    const skip = random.chance(0.5) ? `${random.pick(['beq', 'bltu'])} ${x()}, ${x()}, 8f; ${one()}; 8:` : ''
    const end = random.pick([
      'ret',
      'ret',
      'ret',
      'mv t2, ra; jr t2',
      `li t2, ${V + BigInt(random.below(CODE_PAGES) * 4096)}; jr t2`,
    ])
    return `${one()}\n${store}${skip}\n${one()}\n${end}`
  }
  const call = (): string => {
    const target = random.below(CODE_PAGES)
    const how = random.below(8)
    const place = SMALL_BYTES * (1 + random.below(SMALLS))
    if (how === 4) return `7: auipc ra, ${(target - page) & 0xfffff}; jalr ra, PAGE + ${place} - 7b(ra)`
    if (how > 4) return `li t2, ${V + BigInt(target * 4096 + place)}; jalr ra, 0(t2)`
    if (how === 0) return `7: auipc ra, ${(target - page) & 0xfffff}; jalr ra, PAGE - 7b(ra)`
    if (how === 1) return `li t2, ${V + BigInt(target * 4096)}; jalr ra, 0(t2)`
    if (how === 2) return `jal ra, ${label()}`
    return `li t2, ${V + BigInt(target * 4096 + 4)}; jalr ra, 0(t2)`
  }
  for (let b = 0; b < blocks; b++) {
    out.push(`L${b}:`)
    // Fuel: whatever loops pays.
    out.push('addi s1, s1, -1; bgtz s1, 5f; j out\n5: mul s11, s11, s10; add s11, s11, s10')
    for (let i = random.below(7); i >= 0; i--) out.push(one())
    if (random.chance(0.12)) out.push(rare())
    for (let i = random.below(5); i >= 0; i--) out.push(one())
    const end = random.below(12)
    if (end < 2) out.push(`${random.pick(['beq', 'bne', 'blt', 'bgeu'])} ${x()}, ${x()}, ${label()}`)
    else if (end < 6) out.push(`slli t0, s11, ${random.below(40)}; bltz t0, ${label()}`)
    else if (end < 8) {
      out.push(`addi sp, sp, -16; sd ra, 0(sp); ${call()}; ld ra, 0(sp); addi sp, sp, 16`)
    } else if (end === 8) out.push('ret')
    else if (end === 9 && random.chance(0.3)) out.push('ld ra, 16(sp); addi sp, sp, 16; ret')
    else if (end === 9) out.push(`jal zero, ${label()}`)
    else if (end === 10 && random.chance(0.3)) out.push('mv t2, ra; jr t2')
  }
  out.push('ret\nout: li t2, 0x80000000; ebreak')
  const smalls = Array.from({ length: SMALLS }, () => `.align ${Math.log2(SMALL_BYTES)}\n${small()}`).join(
    '\n',
  )
  return `addi a0, a0, 1\naddi a1, a1, 1\nj L0\n${smalls}\n.align ${Math.log2(SMALL_BYTES)}\n${out.join('\n')}`
}

function page(random: Random, number: number): Uint8Array {
  for (;;) {
    const base = V + BigInt(number * 4096)
    const source = some(random, 6 + random.below(16), number)
    const { bytes } = assemble(`.equ PAGE, ${base}\n${source}`, base)
    // The far calls of a page reach no farther behind their own place.
    if (bytes.length <= 2040) return bytes
  }
}

/** A program: its code pages, and what calls them, with a seed for what there is in its data. */
interface Guest {
  readonly seed: number
  readonly main: string
  readonly pages: readonly Uint8Array[]
}

function guestOf(seed: number, random: Random): Guest {
  const pages = Array.from({ length: CODE_PAGES }, (_, i) => page(random, i))
  const main = `${OPEN_PMP}; ${useTables()}; li t0, 0x2000; csrs mstatus, t0; la t0, pass; csrw mtvec, t0
      ${enter('S')}
      li s8, 10; li s10, 0x5851f42d4c957f2d; li s11, ${seed}
    again:
      li s0, ${W}; li s1, 600; li s6, ${CODE}; li s7, ${LEAVES}; li sp, ${STACK + 0x7800n}
      li s2, ${W + 0xfe0n}; li s3, ${W + 0x1000n}; li s4, ${W + 0x2fc0n}; li s5, ${W + 0x800n}
      andi t0, s8, ${CODE_PAGES - 1}; slli t0, t0, 12; li t1, ${V}; add t0, t0, t1; jalr ra, 0(t0)
    back: addi s8, s8, -1; bnez s8, again
      ecall
      .align 2
    pass:
      addi s1, s1, -1; csrr gp, mcause; add s9, s9, gp; slli s9, s9, 1; csrr tp, mtval; xor s9, s9, tp
      li tp, 9; beq gp, tp, 1f
      li tp, 3; beq gp, tp, 2f
      li tp, 12; beq gp, tp, 2f
      blez s1, 2f; csrr gp, mepc; addi gp, gp, 4; csrw mepc, gp
      mret
    2: la gp, back; csrw mepc, gp
      mret
    1: li s11, ${LOG}; j handler`
  return { seed, main, pages }
}

/** Puts the code and the data of a guest in place; the first page of code is so many pages behind its place, and the last before it. */
function put(both: BothWays, { seed, pages }: Guest, shift: number): void {
  both.each((program) => {
    const { machine } = program
    const space = new AddressSpace(machine)
    space.mapRam(RW | PTE.x)
    pages.forEach((bytes, i) => {
      const place = CODE + ((i + shift) % CODE_PAGES) * 4096
      space.map(V + BigInt(i * 4096), place, RX)
      machine.ram.write(place, bytes)
    })
    for (let i = 0; i < DATA_PAGES; i++) space.map(W + BigInt(i * 4096), DATAS + i * 4096, RW)
    for (let i = 0; i < 8; i++) space.map(STACK + BigInt(i * 4096), DATAS + 0x1_0000 + i * 4096, RW)
    const pointers = new Random(seed, 1)
    const data = new BigUint64Array((DATA_PAGES * 4096) / 8)
    for (let i = 0; i < data.length; i++)
      data[i] = pointers.pick(
        [
          W + 0xff0n,
          W + 0x1ff8n,
          W + 0x2000n,
          W + 0x0fc1n,
          W + 0x3fe0n,
          W + 0x400n,
          W + 0x2ffcn,
          BigInt(DATAS + 0x1000),
          BigInt(DATAS + 0xff0),
          BigInt(LEAVES + 0x900),
          BigInt(CODE + 0xff0),
          BigInt(CODE + 4096 - 24 + 0x800),
          -8n,
          -64n,
          0xffff_fff0n,
          5n,
        ].map((v) => BigInt.asUintN(64, v)),
      )
    machine.ram.write(DATAS, new Uint8Array(data.buffer))
  })
}

interface Found {
  regions: number
  takenIn: number
  /** Of the regions, those that had been kept of an earlier run. */
  kept: number
}

/** Compares programs, beginning with that of a seed; returns how much was translated. */
function compare(first: number): Found {
  const found = { regions: 0, takenIn: 0, kept: 0 }
  for (let seed = first; seed < first + PROGRAMS; seed++) {
    const random = new Random(seed)
    const guest = guestOf(seed, random)
    const translation = random.pick(['eager', 'patient', 'late'] as const)
    const kept = new KeptRegions()
    // What is kept is of use to the second, whose code is elsewhere.
    for (let shift = 0; shift < (translation === 'late' ? 2 : 1); shift++) {
      const both = new BothWays(nodeEngine, guest.main, { translation, kept })
      put(both, guest, shift)
      both.runDisturbed(BigInt(random.pick([61, 397, 1499, 5003])), 400, random)
      found.regions += both.counts.regions
      found.takenIn += both.counts.takenIn
      found.kept += both.counts.kept
    }
  }
  return found
}

test('random functions do the same, translated and interpreted', () => {
  const first = Number(process.env['UNDERSTUDY_SEED'] ?? randomInt(2 ** 31))
  console.error(`seed ${first} (UNDERSTUDY_SEED=${first} repeats it)`)
  const { regions } = compare(first)
  assert.ok(regions > 10 * PROGRAMS, `${regions} regions`)
})

// Chance may have none of them.
test('of some of them small functions are taken in, and regions are kept', () => {
  const { takenIn, kept } = compare(1)
  assert.ok(takenIn > PROGRAMS, `${takenIn} functions are taken in`)
  assert.ok(kept > PROGRAMS, `${kept} regions are of an earlier run`)
})

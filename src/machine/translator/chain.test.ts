/** From one region to the next: by virtual addresses, whatever pages stand behind them at the moment. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../../host/engine.ts'
import { assemble } from '../../isa/assemble.ts'
import { FETCH_ENTRIES, PAGE_BYTES } from '../layout.ts'
import { AddressSpace, PTE, pte, pteAddress, RW, RX, useTables } from '../testing/address_space.ts'
import { BothWays } from '../testing/both_ways.ts'
import { DATA, enter, OPEN_PMP, type Program, TABLES } from '../testing/program.ts'

const V = 0x4000_0000n
const LEAVES = TABLES + 0x3000
const LEAF = pteAddress(LEAVES, V, 0)

function put(program: Program, address: number, source: string): void {
  program.machine.ram.write(address, assemble(source, BigInt(address)).bytes)
}

/** In S-mode, RAM mapped where it is and the page at DATA at V. */
function paged(source: string, layOut: (space: AddressSpace, program: Program) => void): BothWays {
  const both = new BothWays(nodeEngine, `${OPEN_PMP}; ${useTables()}; li s0, ${V}; ${enter('S')}; ${source}`)
  both.each((program) => {
    const space = new AddressSpace(program.machine)
    space.mapRam()
    space.map(V, DATA, RX)
    layOut(space, program)
  })
  return both
}

test('calls between pages that have one place in the cache of fetches find the right one', () => {
  const distance = FETCH_ENTRIES * PAGE_BYTES
  // Not the place of the program's own page, which would push them out between the calls.
  const first = DATA + PAGE_BYTES
  const both = new BothWays(
    nodeEngine,
    `li s0, ${first}; li s1, 900; li s2, ${first + distance}; li s3, ${first + 2 * distance}
  loop:
     jalr ra, 0(s0); jalr ra, 0(s2); jalr ra, 0(s3)
     jalr ra, 0(s3); jalr ra, 0(s0)
     addi s1, s1, -1; bnez s1, loop`,
    { ramBytes: 16 << 20 },
  )
  both.each((program) => {
    for (const i of [0, 1, 2]) put(program, first + i * distance, `addi a${i}, a${i}, 1; ret`)
  })
  both.finish(97n)
  assert.ok(both.counts.regions >= 4, `${both.counts.regions} regions`)
  assert.deepEqual(
    [10, 11, 12].map((x) => both.translated.x(x)),
    [1800n, 900n, 1800n],
  )
})

test('what a page table says at a call decides, though both pages have regions', () => {
  const both = paged(
    `li s1, 1200; li s2, ${LEAF}; li s3, ${pte(DATA, RX)}; li s4, ${pte(DATA, RX) ^ pte(DATA + 0x1000, RX)}
  loop:
     jalr ra, 0(s0)
     andi t0, s1, 63; bnez t0, 1f
     xor s3, s3, s4; sd s3, 0(s2)
  1: addi s1, s1, -1; bnez s1, loop
     ecall`,
    (_space, program) => {
      put(program, DATA, 'addi a0, a0, 1; ret')
      put(program, DATA + 0x1000, 'addi a1, a1, 1; ret')
    },
  ).finish(83n)
  assert.ok(both.counts.regions >= 3, `${both.counts.regions} regions`)
  assert.equal(both.counts.dropped, 0)
  assert.ok(both.translated.x(10) > 500n && both.translated.x(11) > 500n)
})

test('a region that takes its own page away goes on in the page that has come', () => {
  const loop = (add: number): string => `
  1: addi a0, a0, ${add}; sd s3, 0(s2); xor s3, s3, s4
     addi s1, s1, -1; bnez s1, 1b
     ret`
  const both = paged(
    `li s1, 1500; li s2, ${LEAF}; li s3, ${pte(DATA + 0x1000, RX)}; li s4, ${pte(DATA, RX) ^ pte(DATA + 0x1000, RX)}
     jalr ra, 0(s0)
     ecall`,
    (_space, program) => {
      put(program, DATA, loop(1))
      put(program, DATA + 0x1000, loop(1000))
    },
  ).finish(41n)
  assert.ok(both.counts.regions >= 1)
  assert.equal(both.translated.x(10), 750n * 1001n)
})

test('rights to execute that are taken away make the next call fault, and its return as well', () => {
  const both = paged(
    `li s1, 900; li s2, ${LEAF}; li s3, ${pte(DATA, RX)}
  loop:
     jalr ra, 0(s0)
     andi t0, s1, 15; bnez t0, 1f
     xori s3, s3, ${PTE.x}; sd s3, 0(s2)
  1: addi s1, s1, -1; bnez s1, loop
     ecall`,
    (_space, program) => put(program, DATA, 'addi a0, a0, 1; ret'),
  ).finish(61n)
  assert.ok(both.counts.regions >= 2)
  const causes = both.translated.causes()
  assert.ok(causes.length > 300 && causes.every((cause) => cause === 12n))
})

test('one region serves all virtual places of its page, and knows at which it is', () => {
  const places = [V, V + 0x5000n, V + 0x10_7000n]
  const both = paged(
    `li s1, 700; li s2, ${places[1]!}; li s3, ${places[2]!}
  loop:
     jalr ra, 0(s0); jalr ra, 0(s2); jalr ra, 0(s3)
     addi s1, s1, -1; bnez s1, loop
     ecall`,
    (space, program) => {
      for (const place of places.slice(1)) space.map(place, DATA, RX)
      put(
        program,
        DATA,
        'auipc t0, 0; add a0, a0, t0; mv s4, ra; jal ra, 1f; 1: add a1, a1, ra; mv ra, s4; ret',
      )
    },
  ).finish(71n)
  const sum = places.reduce((left, right) => left + right)
  assert.equal(both.translated.x(10), 700n * sum)
  assert.equal(both.translated.x(11), 700n * (sum + 48n))
})

test('code and its data in one page, by two mappings', () => {
  const W = V + 0x20_0000n
  const both = paged(
    `li s1, 700; li s2, ${W}
     jalr ra, 0(s0)
     ecall`,
    (space, program) => {
      space.map(W, DATA, RW)
      const body = 'lw t0, 1024(s2); addi t0, t0, 1; sw t0, 1024(s2); addi s1, s1, -1; bnez s1, 1b; ret'
      put(program, DATA, `1: ${body}`)
    },
  ).finish(59n)
  assert.equal(both.translated.machine.ram.load32(DATA + 1024), 700)
})

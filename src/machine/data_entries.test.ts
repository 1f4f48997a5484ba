/** Pages that share a place in the data banks: victims are found again, and fall when the others do. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../host/engine.ts'
import { TLB_ENTRIES, TLB_VICTIMS } from './layout.ts'
import { AddressSpace, pte, RW, RX, useTables } from './testing/address_space.ts'
import { BothWays } from './testing/both_ways.ts'
import { DATA, enter, OPEN_PMP } from './testing/program.ts'

const PAGE = 4096n
const ONE = 0x1000_0000n
/** The same place as ONE, in the array of victims as well. */
const OTHER = ONE + BigInt(TLB_ENTRIES) * PAGE
/** Its victims are at the same place as those of ONE, but not it itself. */
const NEIGHBOUR = ONE + BigInt(TLB_VICTIMS) * PAGE
const NEIGHBOUR_TOO = NEIGHBOUR + BigInt(TLB_ENTRIES) * PAGE
/** ONE once more, as code and as data, and OTHER as code. */
const CODE = 0x2000_0000n
const CODE_TOO = CODE + PAGE
const ALIAS = CODE + 2n * PAGE
const ONE_PAGE = DATA + 0x1_0000

/** A program in S-mode: s0 to s3 are the pages, which hold 1 to 4, s4 is the PTE of ONE, s5 maps a page that holds 5. */
function program(source: string): BothWays {
  const both = new BothWays(
    nodeEngine,
    `${OPEN_PMP}; ${useTables()}
     li s0, ${ONE}; li s1, ${OTHER}; li s2, ${NEIGHBOUR}; li s3, ${NEIGHBOUR_TOO}; ${enter('S')}
     li s4, ${DATA}; lwu s4, 0(s4); li s5, ${pte(ONE_PAGE + 4 * 4096, RW)}; li s6, ${CODE}; li s7, 200; li s8, ${ALIAS}; li s9, ${CODE_TOO}
     ${source}`,
  )
  both.each(({ machine }) => prepare(new AddressSpace(machine)))
  return both
}

/** Maps the pages, and writes down where the PTE of ONE is. */
function prepare(space: AddressSpace): void {
  space.mapRam()
  const [first] = [ONE, OTHER, NEIGHBOUR, NEIGHBOUR_TOO].map((va, i) =>
    space.map(va, ONE_PAGE + i * 4096, RW),
  )
  space.map(CODE, ONE_PAGE, RX)
  space.map(CODE_TOO, ONE_PAGE + 4096, RX)
  space.map(ALIAS, ONE_PAGE, RW)
  for (let i = 0; i < 5; i++) space.machine.ram.store32(ONE_PAGE + i * 4096, i + 1)
  space.machine.ram.store32(DATA, first!)
}

const walksOf = ({ interpreted, translated }: BothWays): number[] =>
  [interpreted, translated].map(({ machine }) => machine.statistics().walks)

test('two pages that share a place are walked once for each kind of access, however they alternate', () => {
  const both = program(`
   loop:
     lw t0, 0(s0); lw t1, 0(s1); add a0, a0, t0; add a0, a0, t1
     sw a0, 8(s0); sw a0, 8(s1); addi t0, s0, 16; amoadd.w t0, a0, (t0)
     addi s7, s7, -1; bnez s7, loop`).finish(1009n)
  assert.equal(both.interpreted.x(10), 600n)
  for (const walks of walksOf(both)) assert.ok(walks < 30, `${walks} walks`)
})

test('an access that is not aligned does not walk again', () => {
  const both = program('loop: ld t0, 1(s0); sd t0, 9(s0); addi s7, s7, -1; bnez s7, loop').finish(1009n)
  for (const walks of walksOf(both)) assert.ok(walks < 30, `${walks} walks`)
})

test('four pages that share a victim are each what they are', () => {
  const both = program(`
   loop:
     lw t0, 0(s0); lw t1, 0(s1); lw t2, 0(s2); lw t3, 0(s3)
     slli t1, t1, 8; slli t2, t2, 16; slli t3, t3, 24; or t0, t0, t1; or t2, t2, t3; or a0, t0, t2
     sw s7, 8(s0); sw a0, 8(s1); sw s7, 8(s2); sw a0, 8(s3); lw a1, 8(s1)
     addi s7, s7, -1; bnez s7, loop`).finish(1009n)
  assert.deepEqual(
    [10, 11].map((x) => both.interpreted.x(x)),
    [0x0403_0201n, 0x0403_0201n],
  )
})

test('a PTE that is stored to takes the victim with it', () => {
  const both = program(`
     lw t0, 0(s0); lw t0, 0(s1); sw zero, 8(s0); sw zero, 8(s1)
     sd s5, 0(s4)
     lw a0, 0(s0); sw a0, 12(s0); lw a1, 12(s0)
     li t0, ${ONE_PAGE}; lw a2, 12(t0)`).finish(1009n)
  assert.deepEqual(
    [10, 11, 12].map((x) => both.interpreted.x(x)),
    [5n, 5n, 0n],
  )
})

const addiA0 = (n: number): number => 0x00050513 | (n << 20)

/**
 * What has happened before the page of ONE, or that of OTHER, becomes code. Then a store revives its write entry, if it has still one,
 * and the next one changes the code.
 */
const BEFORE: Readonly<Record<string, { readonly stores: string; readonly code: 's0' | 's1' }>> = {
  'is a victim': { stores: 'sw zero, 64(s1)', code: 's0' },
  'has been one': { stores: 'sw zero, 64(s1); sw zero, 64(s0)', code: 's0' },
  'has become one again': { stores: 'sw zero, 64(s1); sw zero, 64(s0); sw zero, 64(s1)', code: 's0' },
  'was pushed out by one that came back': { stores: 'sw zero, 64(s0)', code: 's1' },
  'is a victim, and there is another one for the page': {
    stores: 'sw zero, 64(s8); sw zero, 64(s1)',
    code: 's0',
  },
}

for (const [name, { stores, code }] of Object.entries(BEFORE)) {
  test(`a page that becomes code is stored to by the slow way, though its write entry ${name}`, () => {
    const way = code === 's0' ? 's6' : 's9'
    const both = program(`
       li t1, ${addiA0(1)}; li t2, 0x8067; sw zero, 64(s0)
       sw t1, 0(${code}); sw t2, 4(${code}); ${stores}; fence.i; jalr ra, 0(${way})
       sw zero, 64(${code}); li t1, ${addiA0(16)}; sw t1, 0(${code}); jalr ra, 0(${way})
       sw zero, 64(s1); sw zero, 64(s0); li t1, ${addiA0(256)}
       sw t1, 0(${code}); sw t2, 4(${code}); jalr ra, 0(${way})`).finish(1009n)
    assert.equal(both.interpreted.x(10), 273n)
  })
}

test('a victim is marked as written again behind a digest', () => {
  const both = program(`loop:
     sw s7, 8(s0); sw s7, 12(s0); sw s7, 16(s0); sw s7, 20(s0); sw s7, 8(s1); sw s7, 12(s1); sw s7, 16(s1); sw s7, 20(s1)
     addi s7, s7, -1; bnez s7, loop`)
  // A digest is taken, and compared, behind each piece.
  while (both.run(66n).reason !== 'request')
    both.each(({ machine }) =>
      assert.equal(machine.ram.readAgain(0, machine.layout.ramPages).changed, undefined),
    )
})

/** When all numbers of regions are taken, what is not translated yet is interpreted, until some are given back. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../../host/engine.ts'
import { assemble } from '../../isa/assemble.ts'
import { REGIONS_MAX } from '../layout.ts'
import { BothWays } from '../testing/both_ways.ts'
import { DATA, LOG } from '../testing/program.ts'

const FUNCTION_BYTES = 128
const PAGE_FUNCTIONS = 4096 / FUNCTION_BYTES
/** As many ways in as a region can have, so that numbers run out with few instructions. */
const WAYS = 16
/** Twice as many functions as can have regions of their own. */
const FUNCTIONS = (2 * REGIONS_MAX) / WAYS
/** So many at the end are for seeing whether anything more is translated, in groups. */
const GROUP = 30
const LAST = FUNCTIONS - 6 * GROUP

const FUNCTION = `${'c.li a1, 2\n1: c.addi a1, -1\nc.addi a0, 1\nc.bnez a1, 1b\n'.repeat(WAYS - 1)}\nc.jr ra`

const PROGRAM = `
  visit:                        # calls s1 functions from s0 on
     jalr ra, 0(s0); addi s0, s0, ${FUNCTION_BYTES}; addi s1, s1, -1; bnez s1, visit
     ecall
  disturb:                      # so many stores to the last byte of each of s1 pages from s0 on that these become data
     li t0, 4095; add t0, t0, s0; li t1, 400
  1: sb zero, 0(t0); addi t1, t1, -1; bnez t1, 1b
     addi s0, t0, 1; addi s1, s1, -1; bnez s1, disturb
     ecall`

function call(both: BothWays, label: string, first: number, count: number): void {
  both.each(({ hart }) => {
    hart.setX(8, BigInt(DATA + first * FUNCTION_BYTES))
    hart.setX(9, BigInt(count))
  })
  both.goTo(label)
  both.finish(200_003n)
}

/** Visits all but the last functions until nothing is translated any more. */
function exhaust(both: BothWays): void {
  for (let before = -1; both.counts.regions !== before; ) {
    before = both.counts.regions
    call(both, 'visit', 0, LAST)
  }
}

/** How many regions there are more after visits of a group of functions that nobody has visited before. */
function newRegions(both: BothWays, group: number): number {
  const before = both.counts.regions
  call(both, 'visit', LAST + group * GROUP, GROUP)
  return both.counts.regions - before
}

test('without numbers nothing is translated; stores, pages that become data, and a reset give some back', () => {
  const both = new BothWays(nodeEngine, PROGRAM)
  const { bytes } = assemble(FUNCTION, 0n)
  assert.ok(bytes.length <= FUNCTION_BYTES)
  both.each(({ machine }) => {
    for (let i = 0; i < FUNCTIONS; i++) machine.ram.write(DATA + i * FUNCTION_BYTES, bytes)
  })
  exhaust(both)
  assert.ok(both.counts.regions < LAST, 'a function that was visited is not translated')
  assert.equal(newRegions(both, 0), 0)

  both.each(({ machine }) => {
    for (let i = 0; i < PAGE_FUNCTIONS; i++) machine.ram.write(DATA + i * FUNCTION_BYTES, bytes)
  })
  assert.ok(both.counts.dropped > 0)
  assert.ok(newRegions(both, 1) > 0, 'after stores to code')
  exhaust(both)
  assert.equal(newRegions(both, 2), 0)

  call(both, 'disturb', PAGE_FUNCTIONS, 3)
  assert.ok(newRegions(both, 3) > 0, 'after pages became data')
  exhaust(both)
  assert.equal(newRegions(both, 4), 0)

  // The handler of test programs wants its registers back.
  both.each((program) => program.machine.reset(program.label('visit')))
  both.each(({ hart }) => {
    hart.setX(27, BigInt(LOG))
    hart.set64('mtvec', both.interpreted.label('handler'))
  })
  assert.ok(newRegions(both, 5) > 0, 'after a reset')
})

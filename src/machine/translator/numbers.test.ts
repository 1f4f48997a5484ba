/** When all numbers of regions are taken, some of the oldest are given back. */
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
const GROUP = 30

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

test('when numbers run out, the oldest regions give theirs up, and all stays right', () => {
  const both = new BothWays(nodeEngine, PROGRAM)
  const { bytes } = assemble(FUNCTION, 0n)
  assert.ok(bytes.length <= FUNCTION_BYTES)
  both.each(({ machine }) => {
    for (let i = 0; i < FUNCTIONS; i++) machine.ram.write(DATA + i * FUNCTION_BYTES, bytes)
  })
  const visit = (first: number, count: number): void => call(both, 'visit', first, count)
  visit(0, GROUP)
  for (let round = 0; both.counts.evicted === 0; round++) {
    assert.ok(round < 10, 'nothing was evicted')
    visit(0, FUNCTIONS)
  }
  // What has been evicted is translated again, and what falls by a store leaves room.
  const before = both.counts.regions
  for (let round = 0; round < 3; round++) visit(0, GROUP)
  assert.ok(both.counts.regions > before, 'what was evicted is not translated again')
  both.each(({ machine }) => {
    for (let i = 0; i < PAGE_FUNCTIONS; i++) machine.ram.write(DATA + i * FUNCTION_BYTES, bytes)
  })
  assert.ok(both.counts.dropped > 0)
  call(both, 'disturb', PAGE_FUNCTIONS, 3)
  visit(0, 4 * PAGE_FUNCTIONS)

  // The handler of test programs wants its registers back.
  both.each((program) => program.machine.reset(program.label('visit')))
  both.each(({ hart }) => {
    hart.setX(27, BigInt(LOG))
    hart.set64('mtvec', both.interpreted.label('handler'))
  })
  visit(0, 4 * PAGE_FUNCTIONS)
})

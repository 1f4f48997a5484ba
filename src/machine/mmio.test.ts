import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../host/engine.ts'
import { AddressSpace, RW, useTables } from './testing/address_space.ts'
import { DATA, enter, OPEN_PMP, Program, SWITCHES } from './testing/program.ts'

test('a misaligned access to a device faults without reaching it', () => {
  // Eight bytes into the device stands the switch of the software interrupt.
  const program = new Program(
    nodeEngine,
    `li t0, ${SWITCHES + 10}; li t1, 1
     sw t1, 0(t0)
     csrr a0, mip
     lw a1, 0(t0)`,
  ).finish()
  assert.deepEqual(program.causes(), [7n, 5n])
  assert.equal(program.x(10), 0n)
})

test('an access over the end of a page reaches no device on either side', () => {
  const program = new Program(
    nodeEngine,
    `${OPEN_PMP}; ${useTables()}; ${enter('S')}
     li t0, 0x1fff; li t1, -1
     lh a1, 0(t0)
     sh t1, 0(t0)
     li t0, 0x2fff
     lh a1, 0(t0)
     sh t1, 0(t0)`,
  )
  const space = new AddressSpace(program.machine)
  space.mapRam()
  space.map(0x1000n, DATA, RW)
  space.map(0x2000n, SWITCHES, RW)
  space.map(0x3000n, DATA, RW)
  program.finish()
  assert.deepEqual(
    program.traps().map(({ cause, tval }) => [cause, tval]),
    [
      [5n, 0x2000n],
      [7n, 0x2000n],
      [5n, 0x2fffn],
      [7n, 0x2fffn],
    ],
  )
  assert.equal(program.machine.ram.load16(DATA), 0)
})

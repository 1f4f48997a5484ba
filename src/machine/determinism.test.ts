/** Rules 1, 2 and 4 of what keeps two copies identical, as properties of a storm of everything that tests them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { firstDifference } from '../base/state.ts'
import { nodeEngine } from '../host/engine.ts'
import type { Machine } from './machine.ts'
import { TURN_STEPS } from './machine.ts'
import { coldCopy, DATA, Program, SWITCHES } from './testing/program.ts'
import { runTo, stormMachine } from './testing/storm.ts'

const STEPS = 50_000
// Small numbers are no simpler storms than large ones.
const seeds = fc.noBias(fc.integer({ min: 0, max: 1_000_000 }))
const harts = fc.constantFrom(1, 2)
const steps = fc.noBias(fc.integer({ min: 1, max: STEPS }))
const cuts = fc.array(fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 20_000 })), {
  maxLength: 60,
})

test('the storm does what it is for', () => {
  const machine = stormMachine(nodeEngine, 2, 1)
  runTo(machine, BigInt(STEPS))
  const { tableStores, slowStores, walks } = machine.statistics()
  assert.ok(tableStores > 20 && slowStores > 200 && walks > 500)
  for (const hart of machine.harts) {
    assert.ok(hart.x(27) > 3n, 'interrupted by the other hart')
    assert.notEqual(hart.x(26), 0n, 'faults')
    assert.ok(hart.get64('mcycle') > 5000n)
  }
})

test('any split of a run gives the same state as one piece', () => {
  fc.assert(
    fc.property(seeds, harts, cuts, steps, (seed, hartCount, pieces, end) => {
      const whole = stormMachine(nodeEngine, hartCount, seed)
      runTo(whole, BigInt(end))
      const split = stormMachine(nodeEngine, hartCount, seed)
      for (const piece of pieces) runTo(split, min(split.position + BigInt(piece), BigInt(end)))
      runTo(split, BigInt(end))
      sameState(split, whole)
    }),
    { numRuns: 20, endOnFailure: true },
  )
})

test('single steps give the same state as one piece, at every position', () => {
  const whole = stormMachine(nodeEngine, 2, 7)
  const single = stormMachine(nodeEngine, 2, 7)
  for (let position = 0n; position < 4000n; position += 40n) {
    for (let i = 1n; i <= 40n; i++) runTo(single, position + i)
    runTo(whole, position + 40n)
    assert.equal(single.digest(), whole.digest(), `at ${position}`)
  }
})

test('a cold copy and the warm original stay equal', () => {
  fc.assert(
    fc.property(seeds, harts, steps, steps, (seed, hartCount, at, further) => {
      const warm = stormMachine(nodeEngine, hartCount, seed)
      runTo(warm, BigInt(at))
      const cold = coldCopy(nodeEngine, warm)
      sameState(cold, warm)
      runTo(warm, BigInt(at + further))
      runTo(cold, BigInt(at + further))
      sameState(cold, warm)
    }),
    { numRuns: 20, endOnFailure: true },
  )
})

test('dropping all translations at any moment changes nothing', () => {
  fc.assert(
    fc.property(seeds, harts, cuts, (seed, hartCount, pieces) => {
      const kept = stormMachine(nodeEngine, hartCount, seed)
      const dropped = stormMachine(nodeEngine, hartCount, seed)
      for (const piece of pieces) {
        runTo(dropped, dropped.position + BigInt(piece))
        dropped.flushTranslations()
        dropped.ram.takeDirty(1)
      }
      runTo(kept, dropped.position)
      sameState(dropped, kept)
    }),
    { numRuns: 12, endOnFailure: true },
  )
})

test('the digest kept up to date from dirty pages is the one of a machine that hashes everything', () => {
  const machine = stormMachine(nodeEngine, 2, 3)
  for (let position = 1000n; position <= 20_000n; position += 1000n) {
    runTo(machine, position)
    assert.equal(machine.digest(), coldCopy(nodeEngine, machine).digest(), `at ${position}`)
  }
})

test('a timer interrupt is taken at the same step however run is cut there', () => {
  const source = `
      la t0, timer; csrw mtvec, t0; li t0, 1 << 63; csrw menvcfg, t0
      li t0, 0x20; csrw mie, t0; csrwi stimecmp, 20; csrsi mstatus, 8
    loop: addi a1, a1, 1; j loop
      .align 2
    timer: csrr a2, mepc; csrr a3, mcycle; la t0, handler; csrw mtvec, t0; ecall`
  const whole = new Program(nodeEngine, source).finish()
  assert.ok(whole.x(11) > 100n)
  const end = whole.machine.position
  for (let around = end - 40n; around < end - 10n; around++) {
    const cut = new Program(nodeEngine, source)
    cut.machine.run(around)
    assert.equal(cut.finish().machine.digest(), whole.machine.digest(), `cut at ${around}`)
  }
})

test('a hart that waits is woken in its turn, not where run happens to be cut', () => {
  const source = `
      csrwi mie, 8
      bnez a0, other
      li t1, ${SWITCHES}; li t2, 1
      pause
      sw t2, 16(t1)
    loop: addi a1, a1, 1; j loop
    other: wfi; lw a2, 0(a3)
      li t1, ${DATA}; rdtime a4; sd a4, 0(t1); j .`
  const make = (): Machine => new Program(nodeEngine, source, { harts: 2 }).machine
  for (const end of [100n, BigInt(TURN_STEPS), BigInt(2 * TURN_STEPS)]) {
    const whole = make()
    whole.run(end)
    const split = make()
    for (let position = 10n; position < end; position += 97n) split.run(position)
    split.run(end)
    sameState(split, whole)
  }
})

test('where every hart waits the position stands still, and how it got there leaves no trace', () => {
  // The timer is not one that wakes, and for some number of nops its time comes right where the wait begins.
  for (let nops = 0; nops < 30; nops++) {
    const source = `li t0, 1 << 63; csrw menvcfg, t0; csrwi stimecmp, 1; csrwi mie, 2; ${'nop;'.repeat(nops)} wfi`
    const idle = new Program(nodeEngine, source).machine
    assert.equal(idle.run(1000n).reason, 'idle')
    const limited = new Program(nodeEngine, source).machine
    limited.run(idle.position)
    sameState(limited, idle)
  }
})

const min = (a: bigint, b: bigint): bigint => (a < b ? a : b)

/** Compares digests; where they differ, says which field does. */
function sameState(actual: Machine, expected: Machine): void {
  assert.equal(actual.position, expected.position)
  if (actual.digest() === expected.digest()) return
  assert.equal(firstDifference(actual.saveState(), expected.saveState()), undefined)
  assert.fail('the contents of RAM differ')
}

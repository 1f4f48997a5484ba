/** A machine that is reset, or gets another state, while it has regions: they must not outlive the code they came from. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../../host/engine.ts'
import { RAM_BASE } from '../layout.ts'
import { BothWays, requireSameState } from '../testing/both_ways.ts'
import { coldCopy, DATA, type Program } from '../testing/program.ts'
import { runTo, stormMachine } from '../testing/storm.ts'

/** addi a0, a0, `value` */
const addiA0 = (value: number): number => ((value << 20) | 0x0005_0513) >>> 0

/** Calls f without end, and stores to DATA. */
const CALLS = `
  start:
     la s0, f; li s1, ${DATA}
  loop:
     jalr ra, 0(s0); addi a1, a1, 1; sd a0, 0(s1); xor a2, a2, a0
     j loop
     .align 12
  f: addi a0, a0, 1
     slli t0, a0, 3; add a3, a3, t0
     ret`

/** Both have run until there are regions of the loop and of f. */
function warm(source = CALLS): BothWays {
  const both = new BothWays(nodeEngine, source)
  both.run(3000n)
  assert.ok(both.counts.regions >= 2, `${both.counts.regions} regions`)
  return both
}

const startOf = (program: Program): bigint => program.label('start')
const addressOf = (program: Program, label: string): number => Number(program.label(label))

function runPieces(both: BothWays, pieces: readonly bigint[]): void {
  for (const piece of pieces) both.run(piece)
}
const PIECES = [1n, 7n, 500n, 13n, 997n, 2000n]

test('after a reset the same code runs as before, and is translated anew', () => {
  const both = warm()
  for (let round = 0; round < 3; round++) {
    const { regions } = both.counts
    both.each((program) => program.machine.reset(startOf(program)))
    runPieces(both, PIECES)
    assert.ok(both.counts.regions > regions, 'nothing was translated after the reset')
  }
})

test('code that is changed beside a reset is what runs after it', () => {
  const changes = [
    (program: Program, value: number) => {
      program.machine.ram.store32(addressOf(program, 'f'), addiA0(value))
      program.machine.reset(startOf(program))
    },
    (program: Program, value: number) => {
      program.machine.reset(startOf(program))
      program.machine.ram.store32(addressOf(program, 'f'), addiA0(value))
    },
  ]
  for (const change of changes) {
    const both = warm()
    for (const value of [2, 3, 4]) {
      both.each((program) => change(program, value))
      runPieces(both, PIECES)
    }
    assert.ok(both.translated.x(10) !== 0n)
  }
})

test('a reset in the middle of a region, at every place of it', () => {
  const both = warm()
  for (let steps = 1n; steps <= 24n; steps++) {
    both.each((program) => program.machine.reset(startOf(program)))
    both.run(400n + steps)
  }
})

test('a machine that is put back goes the same way again, though its code has changed since', () => {
  const both = warm()
  const { machine } = both.interpreted
  const state = machine.saveState()
  const ram = machine.ram.read(RAM_BASE, machine.layout.ramBytes)
  both.each((program) => program.machine.ram.store32(addressOf(program, 'f'), addiA0(9)))
  runPieces(both, PIECES)
  const later = machine.digest()
  for (let round = 0; round < 3; round++) {
    both.each((program) => {
      program.machine.ram.write(RAM_BASE, ram)
      program.machine.loadState(state)
    })
    runPieces(both, PIECES)
    assert.notEqual(machine.digest(), later)
  }
})

test('a machine with regions takes the state of another program at the same addresses', () => {
  const both = warm()
  const other = warm(
    CALLS.replace('addi a0, a0, 1', 'addi a0, a0, -7').replace('slli t0, a0, 3', 'srli t0, a0, 5'),
  )
  for (const { machine } of [other.interpreted, other.translated, warm().interpreted]) {
    const state = machine.saveState()
    const ram = machine.ram.read(RAM_BASE, machine.layout.ramBytes)
    both.each((program) => {
      program.machine.ram.write(RAM_BASE, ram)
      program.machine.loadState(state)
    })
    requireSameState(both.translated.machine, machine)
    runPieces(both, PIECES)
  }
})

test('storms take each other’s states, and go on as a machine without any cache', () => {
  const translated = stormMachine(nodeEngine, 2, 11, 'eager')
  runTo(translated, 20_000n)
  for (const seed of [12, 13, 14]) {
    const source = stormMachine(nodeEngine, 2, seed)
    runTo(source, 15_000n)
    const cold = coldCopy(nodeEngine, source)
    translated.ram.write(RAM_BASE, source.ram.read(RAM_BASE, source.layout.ramBytes))
    translated.loadState(source.saveState())
    for (const piece of [1n, 333n, 5000n, 10_000n]) {
      const end = cold.position + piece
      runTo(cold, end)
      runTo(translated, end)
      requireSameState(translated, cold)
    }
  }
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../host/engine.ts'
import { TURN_STEPS } from './machine.ts'
import { coldCopy, DATA, enter, OPEN_PMP, Program } from './testing/program.ts'

const run = (source: string, harts = 1): Program =>
  new Program(nodeEngine, `li t1, ${DATA}; ${source}`, { harts }).finish()
const registers = (program: Program, ...numbers: number[]): bigint[] => numbers.map((n) => program.x(n))

test('a store-conditional succeeds once for each load-reserved', () => {
  const program = run('li t0, 5; lr.d a0, (t1); sc.d a1, t0, (t1); sc.d a2, t0, (t1); ld a3, 0(t1)')
  assert.deepEqual(registers(program, 10, 11, 12, 13), [0n, 0n, 1n, 5n])
})

test('a failing store-conditional ends the reservation and stores nothing', () => {
  const program = run(`
      li t0, 5
      addi t2, t1, 64
      lr.w a0, (t1)
      sc.w a1, t0, (t2)
      sc.w a2, t0, (t1)
      ld a3, 0(t1)
      ld a4, 0(t2)`)
  assert.deepEqual(registers(program, 11, 12, 13, 14), [1n, 1n, 0n, 0n])
})

test('a reservation covers its doubleword and nothing beside it', () => {
  const program = run(`
      li t0, 5
      addi t2, t1, 4
      lr.w a0, (t1)
      sc.w a1, t0, (t2)
      lr.d a0, (t1)
      sc.w a2, t0, (t2)
      addi t2, t1, 8
      lr.d a0, (t1)
      sc.d a3, t0, (t2)
      addi t2, t1, -8
      lr.d a0, (t1)
      sc.d a4, t0, (t2)`)
  assert.deepEqual(registers(program, 11, 12, 13, 14), [0n, 0n, 1n, 1n])
})

test("the hart's own stores to what it reserved leave the reservation", () => {
  const program = run('li t0, 5; lr.d a0, (t1); sd t0, 0(t1); amoadd.d zero, t0, (t1); sc.d a1, t0, (t1)')
  assert.equal(program.x(11), 0n)
})

test('traps and returns from traps end a reservation', () => {
  assert.equal(run('lr.d a0, (t1); .word 0; sc.d a1, zero, (t1)').x(11), 1n)
  assert.equal(run(`${OPEN_PMP}; lr.d a0, (t1); ${enter('S')}; sc.d a1, zero, (t1)`).x(11), 1n)
  assert.equal(
    run(`${OPEN_PMP}; la t0, 1f; csrw sepc, t0; lr.d a0, (t1); sret; 1: sc.d a1, zero, (t1)`).x(11),
    1n,
  )
})

test('an interrupt ends a reservation', () => {
  const program = run(`
      la t0, entry
      csrw mtvec, t0
      csrwi mie, 2
      lr.d a0, (t1)
      csrsi mip, 2
      csrsi mstatus, 8
      nop
      .align 2
    entry:
      sc.d a1, zero, (t1)
      la t0, handler
      csrw mtvec, t0`)
  assert.equal(program.x(11), 1n)
})

test('DMA to the doubleword ends a reservation, DMA beside it does not', () => {
  for (const [offset, expected] of [
    [-8, 0n],
    [-1, 0n],
    [0, 1n],
    [7, 1n],
    [8, 0n],
  ] as const) {
    const program = new Program(nodeEngine, `li t1, ${DATA + 64}; lr.d a0, (t1); sc.d a1, zero, (t1)`)
    while (program.hart.get32('reserved') === 0) program.machine.run(program.machine.position + 1n)
    program.machine.ram.write(DATA + 64 + offset, Uint8Array.of(1))
    assert.equal(program.finish().x(11), expected, `at ${offset}`)
  }
})

test('misaligned atomics trap, and atomics to devices are access faults', () => {
  const program = run(
    'addi t1, t1, 4; lr.d a0, (t1); sc.d a0, a0, (t1); amoadd.d a0, a0, (t1); li t1, 0x100008; lr.w a0, (t1); amoadd.w a0, a0, (t1)',
  )
  assert.deepEqual(program.causes(), [4n, 6n, 6n, 5n, 7n])
})

const spinning = `
    bnez a0, 2f
    lr.d a1, (t1)
    li t3, ${TURN_STEPS}
 1: addi t3, t3, -1
    bnez t3, 1b
    sc.d a2, zero, (t1)
    ecall
 2: j 2b`

test('a turn that ends takes the reservation with it', () => {
  assert.equal(run(spinning, 2).x(12), 1n)
})

test('a lone hart has no turns, so its reservation lasts however run is cut', () => {
  assert.equal(run(spinning).x(12), 0n)
  const cut = new Program(nodeEngine, `li t1, ${DATA}; ${spinning}`)
  for (let i = 1; i < 200; i++) cut.machine.run(BigInt(i * 137))
  assert.equal(cut.finish().x(12), 0n)
})

test('a reservation is part of the state: a restored copy keeps it, and drops it where the original does', () => {
  for (const harts of [1, 2]) {
    const source = `li t1, ${DATA}; bnez a0, 2f; lr.d a1, (t1); nop; nop; sc.d a2, zero, (t1); ecall; 2: j 2b`
    const program = new Program(nodeEngine, source, { harts })
    while (program.hart.get32('reserved') === 0) program.machine.run(program.machine.position + 1n)
    const copy = coldCopy(nodeEngine, program.machine)
    assert.equal(copy.digest(), program.machine.digest())
    program.finish()
    copy.run(program.machine.position)
    assert.equal(program.x(12), 0n)
    assert.equal(copy.digest(), program.machine.digest())
  }
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../host/engine.ts'
import { CAUSE } from './layout.ts'
import { enter, OPEN_PMP, Program, SWITCHES } from './testing/program.ts'

const run = (source: string): Program => new Program(nodeEngine, source).finish()
const causes = (...numbers: number[]): bigint[] => numbers.map(BigInt)
const inSupervisor = (source: string): string => `${OPEN_PMP}; ${enter('S')}; ${source}`
const TVM = 1 << 20
const TW = 1 << 21
const TSR = 1 << 22
const mstatus = (bits: number): string => `li t0, ${bits}; csrs mstatus, t0`

test('an illegal instruction puts its bits into mtval', () => {
  const program = run('.word 0xffffffff; bad: .word 0xc0001073')
  assert.deepEqual(program.causes(), causes(CAUSE.illegal, CAUSE.illegal))
  assert.equal(program.traps()[0]?.tval, 0xffffffffn)
  assert.deepEqual(program.traps()[1], { cause: 2n, epc: program.label('bad'), tval: 0xc0001073n })
})

test('ebreak puts its address into mtval', () => {
  const program = run('here: ebreak')
  const here = program.label('here')
  assert.deepEqual(program.traps(), [{ cause: 3n, epc: here, tval: here }])
})

test('TVM traps satp and sfence.vma in S-mode, and only then', () => {
  const both = 'csrr a0, satp; sfence.vma'
  assert.deepEqual(run(inSupervisor(both)).causes(), [])
  assert.deepEqual(run(`${mstatus(TVM)}; ${inSupervisor(both)}`).causes(), causes(2, 2))
  assert.deepEqual(run(`${mstatus(TVM)}; ${both}`).causes(), [])
})

test('TW traps wfi in S-mode even if an interrupt is pending', () => {
  const pending = 'csrwi mideleg, 2; csrwi mie, 2; csrwi mip, 2'
  assert.deepEqual(run(`${pending}; ${inSupervisor('wfi')}`).causes(), [])
  assert.deepEqual(run(`${pending}; ${mstatus(TW)}; ${inSupervisor('wfi')}`).causes(), causes(2))
  assert.deepEqual(run(`${pending}; ${mstatus(TW)}; wfi`).causes(), [])
})

test('TSR traps sret in S-mode', () => {
  const body = 'la t0, 1f; csrw sepc, t0; li t0, 256; csrs sstatus, t0; sret; 1: nop'
  assert.deepEqual(run(inSupervisor(body)).causes(), [])
  assert.deepEqual(run(`${mstatus(TSR)}; ${inSupervisor(body)}`).causes(), causes(2))
})

test('privileged instructions and registers are illegal in U-mode', () => {
  const body = 'wfi; sfence.vma; sret; mret; csrr a0, sstatus; csrr a0, mstatus; csrr a0, time'
  assert.deepEqual(
    run(`csrw scounteren, zero; ${OPEN_PMP}; ${enter('U')}; ${body}`).causes(),
    causes(2, 2, 2, 2, 2, 2, 2),
  )
})

test('xRET below M-mode ends MPRV', () => {
  const program = run(`${OPEN_PMP}; ${mstatus(1 << 17)}; ${enter('S')}; nop`)
  assert.equal(program.hart.get64('mstatus') & (1n << 17n), 0n)
})

test('vectored interrupts enter at four times their number, exceptions at the base', () => {
  const program = run(`
      la t0, vectors + 1
      csrw mtvec, t0
      csrwi mie, 8
      li t1, ${SWITCHES}
      li t2, 1
      csrsi mstatus, 8
      sw t2, 8(t1)
    after:
      nop
      j .
      .align 8
    vectors:
      j fail
      j fail
      j fail
      csrr a0, mcause
      csrr a1, mepc
      la t0, handler
      csrw mtvec, t0
      ecall
    fail:
      li a0, 77
      la t0, handler
      csrw mtvec, t0
      ecall`)
  assert.equal(program.x(10), (1n << 63n) | 3n)
  assert.equal(program.x(11), program.label('after'))
})

test('a delegated interrupt is taken in S-mode below M, by its priority', () => {
  const program = run(`
      ${OPEN_PMP}
      li t0, 0x222
      csrw mideleg, t0
      csrw mie, t0
      la t0, vectors + 1
      csrw stvec, t0
      li t0, 0x222
      csrw mip, t0
      li a1, 1
      csrsi sstatus, 2
      nop
      li a1, 2
      ${enter('S')}
      j .
      .align 8
    vectors:
      j .
      j .
      j .
      j .
      j .
      j .
      j .
      j .
      j .
      csrr a0, scause
      csrr a2, sstatus
      ecall`)
  assert.equal(program.x(10), (1n << 63n) | 9n)
  assert.equal(program.x(11), 2n, 'not taken in M-mode')
  assert.equal(program.x(12) & 0x122n, 0x120n, 'SIE moved to SPIE, SPP is S')
})

test('stimecmp makes STIP follow the time, at an exact step', () => {
  const source = `
      ${OPEN_PMP}
      li t0, 1 << 63
      csrw menvcfg, t0
      csrwi mcounteren, 2
      li t0, 0x20
      csrw mideleg, t0
      csrw mie, t0
      la t0, timer
      csrw stvec, t0
      ${enter('S')}
      csrr t1, time
      addi t1, t1, 100
      csrw stimecmp, t1
      csrr a0, sip
      csrsi sstatus, 2
    loop:
      addi a1, a1, 1
      j loop
      .align 2
    timer:
      csrr a2, time
      csrr a3, scause
      csrr a4, sip
      li t0, -1
      csrw stimecmp, t0
      csrr a5, sip
      ecall`
  const program = run(source)
  assert.equal(program.x(10), 0n)
  assert.ok(program.x(11) > 100n)
  assert.equal(program.x(13), (1n << 63n) | 5n)
  assert.equal(program.x(14), 0x20n)
  assert.equal(program.x(15), 0n)
  assert.ok(program.x(12) - program.hart.get64('stimecmp') !== 0n)
  assert.equal(run(source).machine.digest(), program.machine.digest())
})

test('stimecmp is closed to S-mode without menvcfg.STCE or mcounteren.TM', () => {
  const access = 'csrr a0, stimecmp'
  const stce = 'li t0, 1 << 63; csrw menvcfg, t0'
  assert.deepEqual(run(`csrwi mcounteren, 2; ${inSupervisor(access)}`).causes(), causes(2))
  assert.deepEqual(run(`csrwi mcounteren, 0; ${stce}; ${inSupervisor(access)}`).causes(), causes(2))
  assert.deepEqual(run(`csrwi mcounteren, 2; ${stce}; ${inSupervisor(access)}`).causes(), [])
})

test('with Sstc, STIP forgets what software wrote and cannot be written', () => {
  const program = run(`
      li t0, 0x20
      csrs mip, t0
      csrr a0, mip
      li t1, 1 << 63
      csrw menvcfg, t1
      csrr a1, mip
      csrs mip, t0
      csrr a2, mip
      csrw menvcfg, zero
      csrr a3, mip
      csrs mip, t0
      csrwi menvcfg, 1
      csrr a4, mip`)
  assert.deepEqual(
    [10, 11, 12, 13, 14].map((x) => program.x(x)),
    [0x20n, 0n, 0n, 0n, 0x20n],
  )
})

test('mcountinhibit holds the counters still, each by itself', () => {
  const program = run(`
      csrwi mcountinhibit, 1
      csrw mcycle, zero
      csrw minstret, zero
      nop
      nop
      csrr a0, mcycle
      csrr a1, minstret
      csrwi mcountinhibit, 4
      csrr a2, mcycle
      csrr a3, minstret
      nop
      csrr a4, mcycle
      csrr a5, minstret`)
  assert.deepEqual(
    [10, 11, 12, 13, 14, 15].map((x) => program.x(x)),
    [0n, 3n, 0n, 5n, 3n, 5n],
    'mcycle, minstret, ...',
  )
})

test('the instruction that writes minstret does not count, one that traps neither', () => {
  const program = run(`
      csrw minstret, zero
      csrr a0, minstret
      li t0, -1
      csrw minstret, t0
      nop
      csrr a1, minstret
      la t0, skip
      csrw mtvec, t0
      csrw minstret, zero
      .word 0
      .align 2
    skip:
      csrr a2, minstret
      la t0, handler
      csrw mtvec, t0`)
  assert.deepEqual(
    [10, 11, 12].map((x) => program.x(x)),
    [0n, 0n, 0n],
  )
})

test('there are no debug triggers, and looking for them does not trap', () => {
  const program = run('li t0, -1; csrw tselect, t0; csrr a0, tselect; csrw tdata1, t0; csrr a1, tdata1')
  assert.deepEqual([program.x(10), program.x(11), program.causes()], [0n, 0n, []])
})

test('a reserved satp.MODE keeps what was there', () => {
  const program = run('li t0, 5 << 60; csrw satp, t0; csrr a0, satp')
  assert.equal(program.x(10), 0n)
})

test('a reserved mstatus.MPP becomes U-mode', () => {
  const program = run(`
      li t0, 0x1800
      csrs mstatus, t0
      csrr a0, mstatus
      li t0, 0x800
      csrc mstatus, t0
      csrr a1, mstatus`)
  assert.deepEqual([program.x(10) & 0x1800n, program.x(11) & 0x1800n], [0x1800n, 0n])
})

test('misa names the extensions that there are, B for Zba, Zbb and Zbs together, and cannot be written', () => {
  const program = run('li t0, -1; csrw misa, zero; csrs misa, t0; csrr a0, misa')
  const letters = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZ'].filter((_, bit) => (program.x(10) >> BigInt(bit)) & 1n)
  assert.equal(letters.join(''), 'ABCDFIMSU')
  assert.equal(program.x(10) >> 62n, 2n)
})

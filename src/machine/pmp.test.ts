import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../host/engine.ts'
import { AddressSpace, PTE, RW, useTables } from './testing/address_space.ts'
import { DATA, enter, Program, TABLES } from './testing/program.ts'

const R = 1
const W = 2
const X = 4
const TOR = 8
const NA4 = 16
const NAPOT = 24
const LOCKED = 0x80

interface Entry {
  readonly address: number
  readonly config: number
}

/** The pmpaddr of an aligned range of `bytes`, a power of two of at least 8. */
const napot = (start: number, bytes: number): number => start / 4 + bytes / 8 - 1

/** Sets entries 0, 1, ..., and opens the rest of memory with the one behind them. */
function setUp(entries: readonly Entry[]): string {
  const all = [...entries, { address: 2 ** 53 - 1, config: NAPOT | R | W | X }]
  let config = 0n
  all.forEach((entry, i) => {
    config |= BigInt(entry.config) << BigInt(8 * i)
  })
  return [
    ...all.map(({ address }, i) => `li t0, ${address}; csrw pmpaddr${i}, t0`),
    `li t0, ${config}; csrw pmpcfg0, t0`,
  ].join('\n')
}

const run = (source: string): Program => new Program(nodeEngine, source).finish()
const withEntries = (entries: readonly Entry[], body: string): bigint[] =>
  run(`${setUp(entries)}; li t1, ${DATA}; ${enter('S')}; ${body}`)
    .traps()
    .map(({ tval }) => tval - BigInt(DATA))

/** The first trap goes to `caught`, which leaves its cause in a0. */
const catchTrap = 'la t0, caught; csrw mtvec, t0'
const caught = '.align 2; caught: csrr a0, mcause; la t0, handler; csrw mtvec, t0'

test('NA4 guards four bytes, and an access that reaches over its end fails', () => {
  const guard = { address: (DATA + 8) / 4, config: NA4 | R }
  assert.deepEqual(
    withEntries([guard], 'lw a0, 8(t1); sw a0, 8(t1); sw a0, 12(t1); sw a0, 4(t1); ld a0, 8(t1)'),
    [8n, 8n],
  )
})

test('an entry that matches an access in part denies it in M-mode too', () => {
  const guard = { address: (DATA + 8) / 4, config: NA4 | R | W | X }
  const program = run(
    `${setUp([guard])}; li t1, ${DATA}; ld a0, 8(t1); ld a0, 0(t1); lw a0, 8(t1); sd a0, 8(t1)`,
  )
  assert.deepEqual(program.causes(), [5n, 7n])
})

test('NAPOT guards a power of two', () => {
  const guard = { address: napot(DATA + 64, 64), config: NAPOT }
  assert.deepEqual(withEntries([guard], 'lb a0, 63(t1); lb a0, 64(t1); lb a0, 127(t1); lb a0, 128(t1)'), [
    64n,
    127n,
  ])
})

test('TOR guards from the entry before up to its own address', () => {
  const entries = [
    { address: (DATA + 4) / 4, config: 0 },
    { address: (DATA + 20) / 4, config: TOR | R },
  ]
  assert.deepEqual(
    withEntries(entries, 'sw a0, 0(t1); sw a0, 4(t1); sw a0, 16(t1); sw a0, 20(t1); lw a0, 16(t1)'),
    [4n, 16n],
  )
})

test('TOR of entry 0 begins at address 0; an empty range matches nothing', () => {
  const upToData = [{ address: DATA / 4, config: TOR | R | X }]
  assert.deepEqual(withEntries(upToData, 'sw a0, -4(t1); sw a0, 0(t1)'), [-4n])
  const empty = [
    { address: (DATA + 4096) / 4, config: 0 },
    { address: DATA / 4, config: TOR },
  ]
  assert.deepEqual(withEntries(empty, 'sw a0, -4(t1); sw a0, 0(t1)'), [])
})

test('the lowest matching entry decides', () => {
  const entries = [
    { address: napot(DATA + 8, 8), config: NAPOT | R | W },
    { address: napot(DATA, 4096), config: NAPOT | R },
  ]
  assert.deepEqual(withEntries(entries, 'sd a0, 8(t1); sd a0, 16(t1); sd a0, 8(t1); sd a0, 0(t1)'), [16n, 0n])
})

test('without execute permission a fetch fails at the half that has none', () => {
  const guard = { address: (DATA + 4) / 4, config: NA4 | R | W }
  const code = `
      li t2, 0x00000013
      sw t2, 0(t1)
      sh t2, 2(t1)
      ${enter('S')}
      jalr ra, 0(t1)`
  const program = run(`${setUp([guard])}; li t1, ${DATA}; ${code}`)
  assert.deepEqual(
    program.traps().map(({ cause, tval }) => [cause, tval - BigInt(DATA)]),
    [[1n, 4n]],
  )
})

test('code runs in a page that PMP opens only in part', () => {
  const entries = [
    { address: napot(DATA, 16), config: NAPOT | R | X },
    { address: napot(DATA, 4096), config: NAPOT | R },
  ]
  const program = new Program(
    nodeEngine,
    `li t1, ${DATA}; li t2, 0x00150513; sw t2, 0(t1); li t2, 0x0505; sh t2, 4(t1); li t2, 0x00150513
     sw t2, 6(t1); li t2, 0x8082; sh t2, 10(t1); ${setUp(entries)}; ${enter('S')}
     li a0, 0; jalr ra, 0(t1); jalr ra, 0(t1); jalr ra, 16(t1)`,
  ).finish()
  assert.equal(program.x(10), 6n)
  assert.deepEqual(
    program.traps().map(({ cause }) => cause),
    [1n],
  )
})

test('M-mode is bound by locked entries only, and they cannot be changed', () => {
  const locked = [{ address: (DATA + 8) / 4, config: LOCKED | NA4 | R }]
  const open = [{ address: (DATA + 8) / 4, config: NA4 | R }]
  const body = `li t1, ${DATA}; sw a0, 8(t1); sw a0, 12(t1)`
  assert.deepEqual(run(`${setUp(open)}; ${body}`).causes(), [])
  assert.deepEqual(run(`${setUp(locked)}; ${body}`).causes(), [7n])
  const program = run(
    `${setUp(locked)}; csrw pmpcfg0, zero; csrw pmpaddr0, zero; csrr a0, pmpaddr0; csrr a1, pmpcfg0`,
  )
  assert.equal(program.x(10), BigInt((DATA + 8) / 4))
  assert.equal(program.x(11), BigInt(LOCKED | NA4 | R), 'entry 1 was not locked')
})

test('the address below a locked TOR entry is locked as well', () => {
  const entries = [
    { address: DATA / 4, config: 0 },
    { address: (DATA + 64) / 4, config: LOCKED | TOR | R },
  ]
  const program = run(`${setUp(entries)}; csrw pmpaddr0, zero; csrr a0, pmpaddr0`)
  assert.equal(program.x(10), BigInt(DATA / 4))
})

test('write without read is reserved: the entry permits nothing, and its mode and lock are as written', () => {
  const program = run(`
      li t0, ${TOR | R}
      csrw pmpcfg0, t0
      li t0, ${((LOCKED | W) << 16) | ((NAPOT | W) << 8) | NA4 | W | X}
      csrw pmpcfg0, t0
      csrr a0, pmpcfg0`)
  assert.equal(program.x(10), BigInt((LOCKED << 16) | (NAPOT << 8) | NA4))
})

test('all 54 address bits of an entry read back: the granularity is four bytes', () => {
  const program = run('li t0, -1; csrw pmpaddr3, t0; csrr a0, pmpaddr3')
  assert.equal(program.x(10), (1n << 54n) - 1n)
})

test('with MPRV the rights are those of MPP', () => {
  const guard = { address: (DATA + 8) / 4, config: NA4 | R }
  const body = 'li t0, 0x1800; csrc mstatus, t0; li t0, 1 << 17; csrs mstatus, t0'
  const program = run(`${setUp([guard])}; li t1, ${DATA}; ${body}; lw a0, 8(t1); sw a0, 8(t1)`)
  assert.deepEqual(program.causes(), [7n])
})

test('S-mode may touch nothing while no entry matches', () => {
  const program = run(`${catchTrap}; ${enter('S')}; nop; ${caught}`)
  assert.equal(program.x(10), 1n)
})

test('a page walk needs to be allowed to read the tables', () => {
  const guard = { address: napot(TABLES, 4096), config: NAPOT }
  const program = new Program(
    nodeEngine,
    `${useTables()}; ${setUp([guard])}; ${catchTrap}; ${enter('S')}; nop; ${caught}`,
  )
  new AddressSpace(program.machine).mapRam()
  assert.equal(program.finish().x(10), 1n)
})

test('a change of PMP drops cached rights', () => {
  const guard = { address: napot(DATA, 4096), config: NAPOT | R | W | X }
  const program = new Program(
    nodeEngine,
    `${setUp([guard])}; li t1, ${DATA}; li t0, (1 << 17) | 0x800; csrs mstatus, t0
     ${useTables()}; sw a0, 0(t1); li t0, 2; csrc pmpcfg0, t0; lw a0, 0(t1); sw a0, 0(t1)`,
  )
  const space = new AddressSpace(program.machine)
  space.mapRam(RW | PTE.x)
  assert.deepEqual(program.finish().causes(), [7n])
})

test('in a page that PMP covers only in part an instruction runs at every offset', () => {
  // The page is full of c.addi a0, 1 but for its last halfword, c.jr ra. M-mode may go where the entry is, unlocked.
  const program = run(`
      li t0, ${DATA}; li t1, 0x0505; li t2, ${DATA + 4094}
   1: sh t1, 0(t0); addi t0, t0, 2; bne t0, t2, 1b
      li t1, 0x8082; sh t1, 0(t2)
      ${setUp([{ address: (DATA + 0x800) / 4, config: NA4 | R | W | X }])}
      li a0, 0; li t0, ${DATA}; jalr ra, 0(t0)`)
  assert.equal(program.x(10), 2047n)
})

/** Generators for CSR instructions: every register that both sides keep, within the bits that both sides keep. */

import type { Random } from '../../src/base/prng.ts'
import { csrNumber } from '../../src/isa/csr.ts'
import type { Body, Level } from './body.ts'
import { compute } from './integer.ts'
import { MSTATUS } from './layout.ts'
import { integer } from './operands.ts'

const SUPERVISOR_INTERRUPTS = 0x222n
/**
 * Interrupts that may be enabled together. QEMU 7.2 takes the one of the lowest number first, which is the specified
 * order for software before timer interrupts, but not for external ones.
 */
export const ORDERED_INTERRUPTS = 0x22n
const SSTATUS = MSTATUS.sie | MSTATUS.spie | MSTATUS.spp | MSTATUS.fs | MSTATUS.sum | MSTATUS.mxr
const MSTATUS_PLAIN = SSTATUS | MSTATUS.mie | MSTATUS.mpie | MSTATUS.tvm | MSTATUS.tw | MSTATUS.tsr

/** Bits that may be written with any value, by the register's name; 0 is for reading only. */
type Writable = Readonly<Record<string, bigint>>

const user: Writable = { fflags: -1n, frm: -1n, fcsr: -1n }

const supervisor: Writable = {
  ...user,
  sstatus: SSTATUS,
  sie: ORDERED_INTERRUPTS,
  sip: SUPERVISOR_INTERRUPTS,
  sscratch: -1n,
  // QEMU 7.2 keeps bit 0 of a written xepc, which the specification makes read-only zero.
  sepc: ~1n,
  scause: -1n,
  stval: -1n,
  senvcfg: 1n,
  scounteren: 0xffff_ffffn,
  // Vectors keep trapping where the harness is, and translation stays as it is.
  stvec: 0n,
  satp: 0n,
}

const machine: Writable = {
  ...supervisor,
  stvec: ~2n,
  mstatus: MSTATUS_PLAIN,
  medeleg: 0xb3ffn,
  mideleg: SUPERVISOR_INTERRUPTS,
  mie: ORDERED_INTERRUPTS,
  mip: SUPERVISOR_INTERRUPTS,
  mscratch: -1n,
  mepc: ~1n,
  mcause: -1n,
  mtval: -1n,
  mcounteren: 0xffff_ffffn,
  mcountinhibit: 5n,
  menvcfg: 1n,
  mhartid: 0n,
  mvendorid: 0n,
  pmpaddr0: (1n << 54n) - 1n,
  pmpaddr1: (1n << 54n) - 1n,
  pmpaddr3: (1n << 54n) - 1n,
}

const writable: Readonly<Record<Level, Writable>> = { machine, supervisor, user }

/** Numbers that are no registers, and counters, which are closed to S and U in our environments. */
const absent = [0x043, 0x1ff, 0x5c0, 0x6c0, 0x8c0, 0x9c0, 0xac0, 0xdc0, 0xec0, 0xfff]
const closed = ['cycle', 'time', 'instret', 'hpmcounter3', 'hpmcounter31']
const readOnly = ['mhartid', 'mvendorid', 'mconfigptr']

/** Appends an access to a CSR, rarely one that is refused. */
export function accessCsr(body: Body): void {
  const { random, level } = body
  if (random.chance(0.15)) accessRefused(body)
  else if (level === 'machine' && random.chance(0.1)) writeReserved(body)
  else accessKept(body)
}

function accessKept(body: Body): void {
  const { random } = body
  const [name, mask] = random.pick(Object.entries(writable[body.level]))
  const imm = csrNumber(name)
  const rd = random.chance(0.2) ? 0 : body.destination()
  const form = random.below(5)
  if (mask === 0n || form === 0) {
    body.emit(random.pick(['csrrs', 'csrrc', 'csrrsi', 'csrrci']), { rd, imm, rs1: 0 })
  } else if (form === 1 && (mask & 31n) === 31n) {
    body.emit(random.pick(['csrrwi', 'csrrsi', 'csrrci']), { rd, imm, rs1: random.below(32) })
  } else {
    body.keeping((rs1) => {
      // A write replaces the fields outside the mask by zeros, which all registers keep.
      const operation = random.pick(['csrrw', 'csrrw', 'csrrs', 'csrrc'])
      // To set or clear no bits is a write that makes FS dirty, but QEMU 7.2 takes it for a read.
      body.load(rs1, (integer(random) & mask) | (name in user && operation !== 'csrrw' ? 1n : 0n))
      body.emit(operation, { rd: random.chance(0.2) ? 0 : body.destination(), imm, rs1 })
    })
  }
  if (random.chance(0.2)) compute(body)
}

/** Absent registers, writes of read-only ones, and registers of a higher privilege. */
function accessRefused(body: Body): void {
  const { random, level } = body
  const higher = level === 'machine' ? [] : Object.keys(level === 'user' ? machine : onlyMachine)
  const names = level === 'machine' ? readOnly : [...higher, ...closed]
  const imm = random.chance(0.3) ? random.pick(absent) : csrNumber(random.pick(names.filter(isPrivate)))
  const rd = body.destination()
  if (level !== 'machine' && random.chance(0.5)) body.emit('csrrs', { rd, imm, rs1: 0 })
  else body.emit(random.pick(['csrrw', 'csrrwi']), { rd, imm, rs1: body.source() })
}

const onlyMachine = Object.fromEntries(Object.entries(machine).filter(([name]) => !(name in supervisor)))
const isPrivate = (name: string): boolean => !(name in user)

/** Fields with reserved values, written as a whole. */
function writeReserved(body: Body): void {
  const { random } = body
  body.keeping((rs1) => {
    const [name, value] = random.pick([
      ['satp', satp(random)],
      ['mstatus', (integer(random) & MSTATUS_PLAIN) | (random.pick([0n, 1n, 3n]) << 11n)],
      ['pmpcfg0', pmpConfiguration(random)],
    ] as const)
    body.load(rs1, value)
    body.emit('csrrw', { rd: body.destination(), imm: csrNumber(name), rs1 })
  })
}

/** Bare, Sv39, Sv48, or a mode that nobody has; not 10, which is Sv57. */
function satp(random: Random): bigint {
  const mode = random.pick([0n, 8n, 9n, 1n, 7n, 11n, 15n])
  return (mode << 60n) | (random.u64() >> 4n)
}

/** Entries without a lock, and without the reserved combination W without R. */
export function pmpConfiguration(random: Random): bigint {
  let value = 0n
  for (let entry = 0n; entry < 8n; entry++) {
    const permission = random.pick([0, 1, 3, 4, 5, 7])
    value |= BigInt((random.below(4) << 3) | permission) << (8n * entry)
  }
  return value
}

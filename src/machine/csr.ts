/**
 * Control and status registers: one table that says for each what reading gives, what writing keeps (WARL), who may
 * touch it beyond what its number says, and what has to be looked at again afterwards.
 */
import { type I32, type I64, i32, i64, type Operand, select } from '../wasm/expression.ts'
import type { Callee, FunctionBuilder, Local } from '../wasm/function.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import {
  anyBit,
  type HartField,
  hart32,
  hart64,
  machine32,
  machine64,
  setHart32,
  setHart64,
  setMachine32,
} from './fields.ts'
import { EXIT, type Layout, MSTATUS, PRIVILEGE } from './layout.ts'
import { STATUS } from './memory.ts'

interface Context {
  readonly f: FunctionBuilder
  readonly hart: I32
  readonly privilege: I32
  /** Ends the access as an illegal instruction. */
  readonly illegal: () => void
}

/** `resync`: interrupts or translations may have changed. `timer`: the next timer event has. */
type Effect = 'none' | 'resync' | 'timer'

export interface Csr {
  readonly number: number
  readonly name: string
  read(context: Context): I64
  /** What csrrs and csrrc modify, where that is not what is read. */
  modify?(context: Context): I64
  write?(context: Context, value: Local<'i64'>): void
  readonly effect: Effect
  /** Emits checks that end in `illegal`. */
  guard?(context: Context): void
}

const MISA = (2n << 62n) | BigInt(misaBits('IMAFDCBSU'))
function misaBits(extensions: string): number {
  return [...extensions].reduce((bits, letter) => bits | (1 << (letter.charCodeAt(0) - 65)), 0)
}

const XL64 = (2n << 32n) | (2n << 34n)
const UXL64 = 2n << 32n
const SSTATUS_WRITABLE = MSTATUS.sie | MSTATUS.spie | MSTATUS.spp | MSTATUS.fs | MSTATUS.sum | MSTATUS.mxr
const MSTATUS_WRITABLE =
  SSTATUS_WRITABLE |
  MSTATUS.mie |
  MSTATUS.mpie |
  MSTATUS.mpp |
  MSTATUS.mprv |
  MSTATUS.tvm |
  MSTATUS.tw |
  MSTATUS.tsr

const SSIP = 1 << 1
const STIP = 1 << 5
const SEIP = 1 << 9
const S_INTERRUPTS = SSIP | STIP | SEIP
const ALL_INTERRUPTS = 0xaaa
/** Exceptions that may be delegated: all but those of M-mode itself. */
const MEDELEG_WRITABLE = 0xb3ff
const STCE = 1n << 63n

/** SD says in the top bit that FS is dirty. */
function withSd(mstatus: I64, fixed: bigint): I64 {
  const dirty = i64.eq(i64.and(mstatus, MSTATUS.fs), MSTATUS.fs)
  return i64.or(i64.or(mstatus, fixed), i64.shl(i64.extend_i32_u(dirty), 63))
}

/** value with the bits of `mask` taken from `update`. */
const merge = (value: I64, update: I64, mask: number | bigint): I64 =>
  i64.or(i64.and(value, ~BigInt(mask)), i64.and(update, mask))

/** A register of which the bits in `mask` can be written. */
function plain(number: number, name: HartField, mask: bigint | number = -1n, effect: Effect = 'none'): Csr {
  return {
    number,
    name,
    read: ({ hart }) => hart64(hart, name),
    write: ({ f, hart }, value) => setHart64(f, hart, name, merge(hart64(hart, name), value, mask)),
    effect,
  }
}

/** A register that always reads as `value` and ignores writes. */
function fixed(number: number, name: string, value: bigint | number = 0): Csr {
  return { number, name, read: () => i64.const(value), write: () => {}, effect: 'none' }
}

/** Trap vectors: bit 1 of the mode is reserved. */
const vector = (number: number, name: HartField): Csr => plain(number, name, ~2n)

const mip = (hart: I32): I64 => i64.or(hart64(hart, 'mipSoft'), hart64(hart, 'mipLines'))

/** With Sstc on, STIP follows stimecmp and cannot be written. */
const writableMip = (hart: I32, bits: number): I64 =>
  select(anyBit(hart64(hart, 'menvcfg'), STCE), i64.const(bits & ~STIP), bits)

const statusRegisters: Csr[] = [
  {
    number: 0x300,
    name: 'mstatus',
    read: ({ hart }) => withSd(hart64(hart, 'mstatus'), XL64),
    write: ({ f, hart }, value) => {
      // MPP holds U, S or M. 2 is reserved and becomes U, as in the reference models.
      const reserved = i64.eq(i64.and(value, MSTATUS.mpp), 2 << 11)
      f.if(reserved, () => f.set(value, i64.and(value, ~BigInt(MSTATUS.mpp))))
      setHart64(f, hart, 'mstatus', merge(hart64(hart, 'mstatus'), value, MSTATUS_WRITABLE))
    },
    effect: 'resync',
  },
  {
    number: 0x100,
    name: 'sstatus',
    read: ({ hart }) => withSd(i64.and(hart64(hart, 'mstatus'), SSTATUS_WRITABLE), UXL64),
    write: ({ f, hart }, value) =>
      setHart64(f, hart, 'mstatus', merge(hart64(hart, 'mstatus'), value, SSTATUS_WRITABLE)),
    effect: 'resync',
  },
  {
    number: 0x344,
    name: 'mip',
    read: ({ hart }) => mip(hart),
    modify: ({ hart }) => hart64(hart, 'mipSoft'),
    write: ({ f, hart }, value) => {
      const mask = f.let(writableMip(hart, S_INTERRUPTS))
      const old = hart64(hart, 'mipSoft')
      setHart64(f, hart, 'mipSoft', i64.or(i64.and(old, i64.xor(mask, -1)), i64.and(value, mask)))
    },
    effect: 'resync',
  },
  {
    number: 0x144,
    name: 'sip',
    read: ({ hart }) => i64.and(mip(hart), hart64(hart, 'mideleg')),
    modify: ({ hart }) => i64.and(hart64(hart, 'mipSoft'), hart64(hart, 'mideleg')),
    write: ({ f, hart }, value) => {
      const mask = f.let(i64.and(hart64(hart, 'mideleg'), SSIP))
      const old = hart64(hart, 'mipSoft')
      setHart64(f, hart, 'mipSoft', i64.or(i64.and(old, i64.xor(mask, -1)), i64.and(value, mask)))
    },
    effect: 'resync',
  },
  plain(0x304, 'mie', ALL_INTERRUPTS, 'resync'),
  {
    number: 0x104,
    name: 'sie',
    read: ({ hart }) => i64.and(hart64(hart, 'mie'), hart64(hart, 'mideleg')),
    write: ({ f, hart }, value) => {
      const mask = f.let(hart64(hart, 'mideleg'))
      const old = hart64(hart, 'mie')
      setHart64(f, hart, 'mie', i64.or(i64.and(old, i64.xor(mask, -1)), i64.and(value, mask)))
    },
    effect: 'resync',
  },
]

const trapRegisters: Csr[] = [
  plain(0x302, 'medeleg', MEDELEG_WRITABLE),
  plain(0x303, 'mideleg', S_INTERRUPTS, 'resync'),
  vector(0x305, 'mtvec'),
  plain(0x306, 'mcounteren', 0xffff_ffff),
  {
    ...plain(0x30a, 'menvcfg'),
    write: ({ f, hart }, value) => {
      setHart64(f, hart, 'menvcfg', i64.and(value, STCE | 1n))
      // From now on STIP is what stimecmp makes of it: what software wrote is gone.
      const withoutStip = i64.and(hart64(hart, 'mipSoft'), ~BigInt(STIP))
      f.if(anyBit(value, STCE), () => setHart64(f, hart, 'mipSoft', withoutStip))
    },
    effect: 'timer',
  },
  plain(0x340, 'mscratch'),
  plain(0x341, 'mepc', ~1n),
  plain(0x342, 'mcause'),
  plain(0x343, 'mtval'),
  vector(0x105, 'stvec'),
  plain(0x106, 'scounteren', 0xffff_ffff),
  plain(0x10a, 'senvcfg', 1),
  plain(0x140, 'sscratch'),
  plain(0x141, 'sepc', ~1n),
  plain(0x142, 'scause'),
  plain(0x143, 'stval'),
  {
    number: 0x180,
    name: 'satp',
    guard: ({ f, hart, privilege, illegal }) => {
      const trapped = anyBit(hart64(hart, 'mstatus'), MSTATUS.tvm)
      f.if(i32.and(i32.eq(privilege, PRIVILEGE.supervisor), trapped), illegal)
    },
    read: ({ hart }) => hart64(hart, 'satp'),
    write: ({ f, hart }, value) => {
      // Bare, Sv39 and Sv48; a write of any other mode has no effect at all.
      const mode = f.let(i64.shr_u(value, 60))
      const known = i32.or(i64.eqz(mode), i32.or(i64.eq(mode, 8), i64.eq(mode, 9)))
      f.if(known, () => setHart64(f, hart, 'satp', value))
    },
    effect: 'resync',
  },
  {
    number: 0x14d,
    name: 'stimecmp',
    guard: ({ f, hart, privilege, illegal }) => {
      const open = i32.and(anyBit(hart64(hart, 'mcounteren'), 2), anyBit(hart64(hart, 'menvcfg'), STCE))
      f.if(i32.and(i32.lt_u(privilege, PRIVILEGE.machine), i32.eqz(open)), illegal)
    },
    read: ({ hart }) => hart64(hart, 'stimecmp'),
    write: ({ f, hart }, value) => setHart64(f, hart, 'stimecmp', value),
    effect: 'timer',
  },
]

function fpGuard({ f, hart, illegal }: Context): void {
  f.if(i64.eqz(i64.and(hart64(hart, 'mstatus'), MSTATUS.fs)), illegal)
}

/** Floating-point state counts as dirty once its control register is written. */
function markFpDirty({ f, hart }: Context): void {
  setHart64(f, hart, 'mstatus', i64.or(hart64(hart, 'mstatus'), MSTATUS.fs))
}

/** fflags, frm and fcsr; `flags` is where the running hart's accrued exceptions are. */
function floatRegisters(fflags: FlagsAccess): Csr[] {
  const frm = (hart: I32): I64 => i64.extend_i32_u(hart32(hart, 'frm'))
  const flags = (hart: I32): I64 => i64.extend_i32_u(fflags.read(hart))
  return [
    {
      number: 1,
      name: 'fflags',
      guard: fpGuard,
      read: ({ hart }) => flags(hart),
      write: (context, value) => {
        fflags.write(context.f, context.hart, i32.and(i32.wrap(value), 31))
        markFpDirty(context)
      },
      effect: 'none',
    },
    {
      number: 2,
      name: 'frm',
      guard: fpGuard,
      read: ({ hart }) => frm(hart),
      write: (context, value) => {
        setHart32(context.f, context.hart, 'frm', i32.and(i32.wrap(value), 7))
        markFpDirty(context)
      },
      effect: 'none',
    },
    {
      number: 3,
      name: 'fcsr',
      guard: fpGuard,
      read: ({ hart }) => i64.or(flags(hart), i64.shl(frm(hart), 5)),
      write: (context, value) => {
        fflags.write(context.f, context.hart, i32.and(i32.wrap(value), 31))
        setHart32(context.f, context.hart, 'frm', i32.wrap(i64.and(i64.shr_u(value, 5), 7)))
        markFpDirty(context)
      },
      effect: 'none',
    },
  ]
}

/** A user counter is open to S if mcounteren says so, to U if scounteren does as well. */
function counterGuard(bit: number): (context: Context) => void {
  return ({ f, hart, privilege, illegal }) => {
    const closed = (register: HartField) => i64.eqz(i64.and(hart64(hart, register), 1n << BigInt(bit)))
    f.if(i32.lt_u(privilege, PRIVILEGE.machine), () => {
      f.if(closed('mcounteren'), illegal)
      f.if(i32.and(i32.eqz(privilege), closed('scounteren')), illegal)
    })
  }
}

/**
 * Guest time at the present step: min(cap, base + steps x rate / 2^32), exact to the last bit.
 * rate is split at the binary point, so that no product exceeds 64 bits.
 */
export function guestTime(f: FunctionBuilder): I64 {
  const position = i64.sub(machine64('sliceEnd'), i64.add(i64.extend_i32_u(machine32('remaining')), 1))
  const steps = f.let(i64.sub(position, machine64('timePosition')))
  const rate = f.let(machine64('timeRate'))
  const fraction = f.let(i64.and(rate, 0xffff_ffff))
  const whole = i64.mul(steps, i64.shr_u(rate, 32))
  const high = i64.mul(i64.shr_u(steps, 32), fraction)
  const low = i64.shr_u(i64.mul(i64.and(steps, 0xffff_ffff), fraction), 32)
  const time = f.let(i64.add(machine64('timeBase'), i64.add(whole, i64.add(high, low))))
  return select(i64.lt_u(time, machine64('timeCap')), time, machine64('timeCap'))
}

const remaining = (): I64 => i64.extend_i32_u(machine32('remaining'))

/**
 * A counter's field holds, while its hart runs, the value at the end of the slice; so counting costs nothing. An
 * inhibited counter's field holds the value itself.
 */
function counter(number: number, name: 'mcycle' | 'minstret', inhibitBit: number): Csr {
  const counting = (hart: I32): I32 => i64.eqz(i64.and(hart64(hart, 'mcountinhibit'), inhibitBit))
  return {
    number,
    name,
    read: ({ hart }) => i64.sub(hart64(hart, name), select(counting(hart), i64.add(remaining(), 1), 0)),
    // The instruction that writes does not count: the next one reads what was written.
    write: ({ f, hart }, value) =>
      setHart64(f, hart, name, i64.add(value, select(counting(hart), remaining(), 0))),
    effect: 'none',
  }
}

function countinhibit(): Csr {
  const counters = [
    { name: 'mcycle', bit: 1 },
    { name: 'minstret', bit: 4 },
  ] as const
  return {
    number: 0x320,
    name: 'mcountinhibit',
    read: ({ hart }) => hart64(hart, 'mcountinhibit'),
    write: ({ f, hart }, value) => {
      for (const { name, bit } of counters) {
        const was = f.let(anyBit(hart64(hart, 'mcountinhibit'), bit))
        const becomes = f.let(anyBit(value, bit))
        const field = hart64(hart, name)
        f.if(i32.lt_u(was, becomes), () => setHart64(f, hart, name, i64.sub(field, remaining())))
        f.if(i32.gt_u(was, becomes), () => setHart64(f, hart, name, i64.add(field, remaining())))
      }
      setHart64(f, hart, 'mcountinhibit', i64.and(value, 0xffff_fffd))
    },
    effect: 'none',
  }
}

function counterRegisters(): Csr[] {
  const mcycle = counter(0xb00, 'mcycle', 1)
  const minstret = counter(0xb02, 'minstret', 4)
  const shadow = (of: Csr, number: number, name: string, bit: number): Csr => ({
    number,
    name,
    guard: counterGuard(bit),
    read: of.read,
    effect: 'none',
  })
  const time: Csr = {
    number: 0xc01,
    name: 'time',
    guard: counterGuard(1),
    read: ({ f }) => guestTime(f),
    effect: 'none',
  }
  const list = [
    mcycle,
    minstret,
    shadow(mcycle, 0xc00, 'cycle', 0),
    time,
    shadow(minstret, 0xc02, 'instret', 2),
    countinhibit(),
  ]
  for (let i = 3; i < 32; i++) {
    list.push(fixed(0xb00 + i, `mhpmcounter${i}`), fixed(0x320 + i, `mhpmevent${i}`))
    list.push({ ...fixed(0xc00 + i, `hpmcounter${i}`), guard: counterGuard(i) })
  }
  return list
}

const identityRegisters: Csr[] = [
  fixed(0x301, 'misa', MISA),
  fixed(0xf11, 'mvendorid'),
  fixed(0xf12, 'marchid'),
  fixed(0xf13, 'mimpid'),
  {
    number: 0xf14,
    name: 'mhartid',
    read: ({ hart }) => i64.extend_i32_u(hart32(hart, 'id')),
    effect: 'none',
  },
  fixed(0xf15, 'mconfigptr'),
  // No debug triggers: tselect stays 0 and tdata1 says "none", which is how software finds that out.
  fixed(0x7a0, 'tselect'),
  fixed(0x7a1, 'tdata1'),
  fixed(0x7a2, 'tdata2'),
  fixed(0x7a3, 'tdata3'),
]

/** PMP registers are kept by the environment, which knows what they mean (pmp.ts). */
function pmpRegisters(writePmp: Callee): Csr[] {
  const register = (number: number, name: HartField): Csr => ({
    number,
    name,
    read: ({ hart }) => hart64(hart, name),
    write: ({ f, hart }, value) => f.call(writePmp, hart32(hart, 'id'), number, value),
    effect: 'resync',
  })
  const list = [register(0x3a0, 'pmpcfg0'), register(0x3a2, 'pmpcfg2')]
  for (let i = 0; i < 16; i++) list.push(register(0x3b0 + i, `pmpaddr${i}` as HartField))
  return list
}

/** Where the running hart's accrued floating-point exceptions are. */
export interface FlagsAccess {
  read(hart: I32): I32
  write(f: FunctionBuilder, hart: I32, value: Operand<'i32'>): void
}

export interface CsrParts {
  readonly layout: Layout
  readonly fflags: FlagsAccess
  readonly raiseIllegal: Callee
  readonly updateBanks: Callee
  readonly writePmp: Callee
}

export const OPERATION = { write: 0, set: 1, clear: 2 } as const

/** All CSRs, in the order in which the index table names them. */
function allRegisters(parts: CsrParts): Csr[] {
  return [
    ...statusRegisters,
    ...trapRegisters,
    ...floatRegisters(parts.fflags),
    ...counterRegisters(),
    ...identityRegisters,
    ...pmpRegisters(parts.writePmp),
  ]
}

/** csrAccess(hart, number, operation, operand, writes) -> STATUS; the old value is in hart.result. */
export function buildCsrAccess(
  module: ModuleBuilder,
  parts: CsrParts,
): { access: Callee; numbers: readonly number[] } {
  const registers = allRegisters(parts)
  const access = module.function('csrAccess', ['i32', 'i32', 'i32', 'i64', 'i32'], ['i32'], (f) => {
    const hart = f.parameter(0, 'i32')
    const number = f.parameter(1, 'i32')
    const operation = f.parameter(2, 'i32')
    const operandValue = f.parameter(3, 'i64')
    const writes = f.parameter(4, 'i32')
    const illegal = () => {
      f.call(parts.raiseIllegal, hart)
      f.return(i32.const(STATUS.trapped))
    }
    const privilege = f.let(hart32(hart, 'privilege'))
    const context: Context = { f, hart, privilege, illegal }
    const index = f.let(i32.load8_u(number, { offset: parts.layout.csrIndex }))
    f.ifUnlikely(i32.eqz(index), illegal)
    f.ifUnlikely(i32.lt_u(privilege, i32.and(i32.shr_u(number, 8), 3)), illegal)
    f.ifUnlikely(i32.and(writes, i32.eq(i32.shr_u(number, 10), 3)), illegal)
    const old = f.local('i64')
    const base = f.local('i64')
    const each = (body: (csr: Csr) => void) =>
      f.switch(
        i32.sub(index, 1),
        registers.map((csr) => () => body(csr)),
        () => f.unreachable(),
      )
    each((csr) => {
      csr.guard?.(context)
      f.set(old, csr.read(context))
      f.set(base, csr.modify === undefined ? old : csr.modify(context))
    })
    setHart64(f, hart, 'result', old)
    f.if(i32.eqz(writes), () => f.return(i32.const(STATUS.done)))
    const value = f.let(operandValue)
    f.if(i32.eq(operation, OPERATION.set), () => f.set(value, i64.or(base, operandValue)))
    f.if(i32.eq(operation, OPERATION.clear), () => f.set(value, i64.and(base, i64.xor(operandValue, -1))))
    each((csr) => {
      csr.write?.(context, value)
      applyEffect(f, hart, csr.effect, parts.updateBanks)
    })
    f.return(i32.const(STATUS.done))
  })
  return { access, numbers: registers.map((csr) => csr.number) }
}

function applyEffect(f: FunctionBuilder, hart: I32, effect: Effect, updateBanks: Callee): void {
  if (effect === 'none') return
  if (effect === 'timer') requestExit(f, EXIT.timer)
  else f.call(updateBanks, hart)
  f.return(i32.const(STATUS.resync))
}

/** Ends the slice after this step, unless something stronger has asked already. */
export function requestExit(f: FunctionBuilder, reason: number): void {
  f.if(i32.eqz(machine32('stop')), () => setMachine32(f, 'stop', reason))
}

/**
 * Traps, interrupts and returns (privileged spec, chapters "Machine-Level ISA" and "Supervisor-Level ISA").
 *
 * Every trap and every interrupt entry is one step. A trapped instruction does not retire, which minstret accounts for
 * here. Traps and returns end the hart's load reservation (DESIGN rule: reservations end at traps, so that no snapshot
 * or turn can fall between a reservation and its use).
 */
import { type I32, type I64, i32, i64, select } from '../wasm/expression.ts'
import { type Callee, call, type FunctionBuilder } from '../wasm/function.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import { anyBit, hart32, hart64, setHart32, setHart64 } from './fields.ts'
import { CAUSE, MSTATUS, PRIVILEGE, RAM_BASE } from './layout.ts'
import { ACCESS } from './translate.ts'

/** Interrupt numbers in the order of their priority, highest first. */
const INTERRUPT_PRIORITY = [11, 3, 7, 9, 1, 5]

export interface Traps {
  /** raise(hart, cause, tval): an exception of the instruction at the hart's pc. */
  readonly raise: Callee
  /** takeInterrupt(hart) -> 1 if one was pending and enabled and has been entered. */
  readonly takeInterrupt: Callee
  readonly mret: Callee
  readonly sret: Callee
}

export const pendingInterrupts = (hart: I32): I64 =>
  i64.and(i64.or(hart64(hart, 'mipSoft'), hart64(hart, 'mipLines')), hart64(hart, 'mie'))

export function buildTraps(module: ModuleBuilder, updateBanks: Callee): Traps {
  const enter = buildEnter(module, updateBanks)
  const raise = module.function('raise', ['i32', 'i32', 'i64'], [], (f) => {
    const hart = f.parameter(0, 'i32')
    const cause = f.let(i64.extend_i32_u(f.parameter(1, 'i32')))
    const delegated = i64.and(i64.shr_u(hart64(hart, 'medeleg'), cause), 1)
    const fromBelow = i32.ne(hart32(hart, 'privilege'), PRIVILEGE.machine)
    const toSupervisor = i32.and(i32.wrap(delegated), fromBelow)
    f.call(enter, hart, cause, f.parameter(2, 'i64'), toSupervisor)
  })
  return {
    raise,
    takeInterrupt: buildTakeInterrupt(module, enter),
    mret: buildReturn(module, updateBanks, MACHINE_RETURN),
    sret: buildReturn(module, updateBanks, SUPERVISOR_RETURN),
  }
}

/** `bits` of mstatus replaced by `value` (already in place). */
const replace = (mstatus: I64, bits: number, value: I64): I64 =>
  i64.or(i64.and(mstatus, ~BigInt(bits)), value)

/** Moves bit `from` of `value` to bit `to`. */
const moveBit = (value: I64, from: number, to: number): I64 => i64.shl(i64.and(i64.shr_u(value, from), 1), to)

/** enterTrap(hart, cause with the interrupt bit, tval, toSupervisor). */
function buildEnter(module: ModuleBuilder, updateBanks: Callee): Callee {
  return module.function('enterTrap', ['i32', 'i64', 'i64', 'i32'], [], (f) => {
    const hart = f.parameter(0, 'i32')
    const cause = f.parameter(1, 'i64')
    const tval = f.parameter(2, 'i64')
    const mstatus = f.let(hart64(hart, 'mstatus'))
    const privilege = i64.extend_i32_u(hart32(hart, 'privilege'))
    const vector = f.local('i64')
    f.if(
      f.parameter(3, 'i32'),
      () => {
        setHart64(f, hart, 'scause', cause)
        setHart64(f, hart, 'sepc', hart64(hart, 'pc'))
        setHart64(f, hart, 'stval', tval)
        const value = i64.or(moveBit(mstatus, 1, 5), i64.shl(privilege, 8))
        setHart64(f, hart, 'mstatus', replace(mstatus, MSTATUS.sie | MSTATUS.spie | MSTATUS.spp, value))
        setHart32(f, hart, 'privilege', PRIVILEGE.supervisor)
        f.set(vector, hart64(hart, 'stvec'))
      },
      () => {
        setHart64(f, hart, 'mcause', cause)
        setHart64(f, hart, 'mepc', hart64(hart, 'pc'))
        setHart64(f, hart, 'mtval', tval)
        const value = i64.or(moveBit(mstatus, 3, 7), i64.shl(privilege, 11))
        setHart64(f, hart, 'mstatus', replace(mstatus, MSTATUS.mie | MSTATUS.mpie | MSTATUS.mpp, value))
        setHart32(f, hart, 'privilege', PRIVILEGE.machine)
        f.set(vector, hart64(hart, 'mtvec'))
      },
    )
    const isVectored = i32.and(i64.lt_s(cause, 0), i32.wrap(i64.and(vector, 1)))
    const distance = select(isVectored, i64.shl(i64.and(cause, 63), 2), 0)
    setHart64(f, hart, 'pc', i64.add(i64.and(vector, -4), distance))
    notRetired(f, hart)
    setHart32(f, hart, 'reserved', 0)
    f.call(updateBanks, hart)
  })
}

/** Takes back the count of a step that did not retire an instruction. */
function notRetired(f: FunctionBuilder, hart: I32): void {
  const counting = i64.eqz(i64.and(hart64(hart, 'mcountinhibit'), 4))
  const one = i64.extend_i32_u(counting)
  setHart64(f, hart, 'minstret', i64.sub(hart64(hart, 'minstret'), one))
}

function buildTakeInterrupt(module: ModuleBuilder, enter: Callee): Callee {
  return module.function('takeInterrupt', ['i32'], ['i32'], (f) => {
    const hart = f.parameter(0, 'i32')
    const pending = f.let(pendingInterrupts(hart))
    const mideleg = f.let(hart64(hart, 'mideleg'))
    const privilege = f.let(hart32(hart, 'privilege'))
    const mstatus = f.let(hart64(hart, 'mstatus'))
    const enabled = (mode: number, bit: number): I32 =>
      i32.or(i32.lt_u(privilege, mode), i32.and(i32.eq(privilege, mode), anyBit(mstatus, bit)))
    const chosen = f.local('i64', 0)
    const toSupervisor = f.local('i32', 0)
    f.if(enabled(PRIVILEGE.machine, MSTATUS.mie), () => f.set(chosen, i64.and(pending, i64.xor(mideleg, -1))))
    f.if(i32.and(i64.eqz(chosen), enabled(PRIVILEGE.supervisor, MSTATUS.sie)), () => {
      f.set(chosen, i64.and(pending, mideleg))
      f.set(toSupervisor, 1)
    })
    f.if(i64.eqz(chosen), () => f.return(i32.const(0)))
    f.block((entered) => {
      for (const number of INTERRUPT_PRIORITY) {
        f.if(anyBit(chosen, 1 << number), () => {
          f.call(enter, hart, (1n << 63n) | BigInt(number), 0, toSupervisor)
          f.br(entered)
        })
      }
    })
    f.return(i32.const(1))
  })
}

interface ReturnKind {
  readonly name: string
  readonly level: number
  readonly ie: number
  readonly pie: number
  readonly pp: number
  readonly ppBits: number
  readonly epc: 'mepc' | 'sepc'
}

const MACHINE_RETURN: ReturnKind = {
  name: 'mret',
  level: PRIVILEGE.machine,
  ie: 3,
  pie: 7,
  pp: 11,
  ppBits: MSTATUS.mpp,
  epc: 'mepc',
}
const SUPERVISOR_RETURN: ReturnKind = {
  name: 'sret',
  level: PRIVILEGE.supervisor,
  ie: 1,
  pie: 5,
  pp: 8,
  ppBits: MSTATUS.spp,
  epc: 'sepc',
}

/** mret(hart), sret(hart) -> 1 if the instruction is illegal here. */
function buildReturn(module: ModuleBuilder, updateBanks: Callee, kind: ReturnKind): Callee {
  return module.function(kind.name, ['i32'], ['i32'], (f) => {
    const hart = f.parameter(0, 'i32')
    const mstatus = f.let(hart64(hart, 'mstatus'))
    const privilege = f.let(hart32(hart, 'privilege'))
    f.if(i32.lt_u(privilege, kind.level), () => f.return(i32.const(1)))
    if (kind.level === PRIVILEGE.supervisor) {
      const denied = i32.and(i32.eq(privilege, PRIVILEGE.supervisor), anyBit(mstatus, MSTATUS.tsr))
      f.if(denied, () => f.return(i32.const(1)))
    }
    const previous = f.let(i64.and(i64.shr_u(mstatus, kind.pp), kind.ppBits >> kind.pp))
    const cleared = i64.and(mstatus, ~BigInt(kind.ppBits | (1 << kind.ie)))
    const restored = f.let(i64.or(i64.or(cleared, moveBit(mstatus, kind.pie, kind.ie)), 1 << kind.pie))
    f.if(i64.ne(previous, PRIVILEGE.machine), () => f.set(restored, i64.and(restored, ~BigInt(MSTATUS.mprv))))
    setHart64(f, hart, 'mstatus', restored)
    setHart32(f, hart, 'privilege', i32.wrap(previous))
    setHart64(f, hart, 'pc', hart64(hart, kind.epc))
    setHart32(f, hart, 'reserved', 0)
    f.call(updateBanks, hart)
    f.return(i32.const(0))
  })
}

/** raiseIllegal(hart): the instruction at the hart's pc is illegal; its bits become the trap value. */
export function buildRaiseIllegal(module: ModuleBuilder, raise: Callee, translate: Callee): Callee {
  return module.function('raiseIllegal', ['i32'], [], (f) => {
    const hart = f.parameter(0, 'i32')
    const pc = f.let(hart64(hart, 'pc'))
    const half = (va: I64): I64 => {
      const status = f.let(call<'i32'>(translate, hart, va, ACCESS.fetch, 2))
      const offset = i32.wrap(i64.sub(hart64(hart, 'result'), RAM_BASE))
      const value = f.local('i64', 0)
      f.if(i32.le_u(status, 1), () => f.set(value, i64.load16_u(offset, { memory: 1 })))
      return value
    }
    const word = f.let(half(pc))
    f.if(i64.eq(i64.and(word, 3), 3), () => {
      f.set(word, i64.or(word, i64.shl(half(i64.add(pc, 2)), 16)))
    })
    f.call(raise, hart, CAUSE.illegal, word)
  })
}

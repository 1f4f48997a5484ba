/**
 * Floating point in translated code. What an instruction has to look at is in local variables, which are set where the way
 * to it begins (before a loop, for one): WebAssembly's own arithmetic is right if floating point is on and marked as changed, the
 * rounding mode is nearest even and inexact is raised already, and the result is normal. None of these but the last can change in a
 * region, except by an instruction that has found it otherwise.
 */
import { type Expr, type I32, i32, i64, select } from '../../wasm/expression.ts'
import type { Callee, FunctionBuilder, Global, Local } from '../../wasm/function.ts'
import type { ModuleBuilder } from '../../wasm/module.ts'
import { hart32, hart64, setHart64, setMachine32 } from '../fields.ts'
import type { Format } from '../float/format.ts'
import { MSTATUS } from '../layout.ts'

export interface FloatVariables {
  /** Whether floating point is on and marked as changed. */
  readonly isDirty: Local<'i32'>
  /** A result whose exponent field, less LOWEST, is below this needs no look; zero if all need one. */
  readonly limit: Local<'i32'>
  /** The rounding mode of an instruction that is executed the slow way. */
  readonly mode: Local<'i32'>
}

export interface FloatChecks {
  /**
   * check(hart, pc, steps left, rm + FLOAT_CHANGES) -> the rounding mode; below zero if the instruction at pc is illegal, which
   * has been raised then.
   */
  readonly check: Callee
  /** limit(hart) -> FloatVariables.limit */
  readonly limit: Callee
}

/** The instruction changes the state of floating point. */
export const FLOAT_CHANGES = 8
const DYNAMIC = 7
const MODE_MAX = 4

/** Exponent fields from here on belong to numbers strictly above the smallest normal one. */
const LOWEST = 2
/** For doubles. Its low bits are those for singles. */
const LIMIT = 2047 - LOWEST

/** Whether a result's exponent is within the limit. */
export function isWithin(
  limit: I32,
  result: Expr<'i32' | 'i64'>,
  { fractionBits, exponentMax }: Pick<Format, 'fractionBits' | 'exponentMax'>,
): I32 {
  const field =
    result.type === 'i64'
      ? i32.wrap(i64.shr_u(result as Expr<'i64'>, fractionBits))
      : i32.shr_u(result as Expr<'i32'>, fractionBits)
  const above = i32.sub(i32.and(field, exponentMax), LOWEST)
  return i32.lt_u(above, exponentMax === 2047 ? limit : i32.and(limit, exponentMax))
}

/** Sets the variables that the fast ways look at. */
export function loadFloatState(
  f: FunctionBuilder,
  hart: I32,
  fflags: Global<'i32'>,
  { isDirty, limit }: FloatVariables,
): void {
  f.set(isDirty, isMarked(hart))
  f.set(limit, limitOf(hart, fflags, isDirty))
}

const isMarked = (hart: I32): I32 => i64.eq(i64.and(hart64(hart, 'mstatus'), MSTATUS.fs), MSTATUS.fs)

function limitOf(hart: I32, fflags: Global<'i32'>, isDirty: I32): I32 {
  const isNearest = i32.and(i32.and(fflags, 1), i32.eqz(hart32(hart, 'frm')))
  return select(i32.and(isDirty, isNearest), i32.const(LIMIT), 0)
}

export function buildFloatChecks(
  module: ModuleBuilder,
  fflags: Global<'i32'>,
  raiseIllegal: Callee,
): FloatChecks {
  return {
    check: module.function('floatCheck', ['i32', 'i64', 'i32', 'i32'], ['i32'], (f) => {
      const hart = f.parameter(0, 'i32')
      const info = f.parameter(3, 'i32')
      const refuse = (): void => {
        setHart64(f, hart, 'pc', f.parameter(1, 'i64'))
        setMachine32(f, 'remaining', f.parameter(2, 'i32'))
        f.call(raiseIllegal, hart)
        f.return(i32.const(-1))
      }
      const mstatus = f.let(hart64(hart, 'mstatus'))
      f.if(i64.eqz(i64.and(mstatus, MSTATUS.fs)), refuse)
      // As in the interpreter, before the mode is looked at.
      f.if(i32.and(info, FLOAT_CHANGES), () => setHart64(f, hart, 'mstatus', i64.or(mstatus, MSTATUS.fs)))
      const mode = f.let(i32.and(info, FLOAT_CHANGES - 1))
      f.if(i32.eq(mode, DYNAMIC), () => f.set(mode, hart32(hart, 'frm')))
      f.if(i32.gt_u(mode, MODE_MAX), refuse)
      f.return(mode)
    }),
    limit: module.function('floatLimit', ['i32'], ['i32'], (f) => {
      const hart = f.parameter(0, 'i32')
      f.return(limitOf(hart, fflags, isMarked(hart)))
    }),
  }
}

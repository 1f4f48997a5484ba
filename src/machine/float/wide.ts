/**
 * Shifts and products that keep what falls off: *jamming* ORs all bits lost below into the lowest one, which is enough
 * to round correctly later, as long as at least two bits below the rounding position are kept.
 */
import { i32, i64 } from '../../wasm/expression.ts'
import type { Callee, FunctionBuilder } from '../../wasm/function.ts'
import type { ModuleBuilder } from '../../wasm/module.ts'

export interface WideFunctions {
  /** (value: i64, distance: u32) → i64, shifted right and jammed; any distance. */
  readonly shiftRightJam: Callee
  /** (high: i64, low: i64, distance: u32) → (high, low), shifted right and jammed; any distance. */
  readonly shiftRightJamPair: Callee
  /** (left: u64, right: u64) → (high, low): the product of 128 bits. */
  readonly multiply: Callee
}

export function buildWide(module: ModuleBuilder): WideFunctions {
  const shiftRightJam = module.function('float.shiftRightJam', ['i64', 'i32'], ['i64'], defineShiftRightJam)
  return {
    shiftRightJam,
    shiftRightJamPair: module.function(
      'float.shiftRightJamPair',
      ['i64', 'i64', 'i32'],
      ['i64', 'i64'],
      (f) => defineShiftRightJamPair(f, shiftRightJam),
    ),
    multiply: module.function('float.multiply', ['i64', 'i64'], ['i64', 'i64'], defineMultiply),
  }
}

function defineShiftRightJam(f: FunctionBuilder): void {
  const value = f.parameter(0, 'i64')
  const distance = f.parameter(1, 'i32')
  f.ifUnlikely(i32.gt_u(distance, 63), () => f.return(i64.extend_i32_u(i64.ne(value, 0))))
  const by = f.let(i64.extend_i32_u(distance))
  const kept = f.let(i64.shr_u(value, by))
  f.return(i64.or(kept, i64.extend_i32_u(i64.ne(i64.shl(kept, by), value))))
}

function defineShiftRightJamPair(f: FunctionBuilder, shiftRightJam: Callee): void {
  const high = f.parameter(0, 'i64')
  const low = f.parameter(1, 'i64')
  const distance = f.parameter(2, 'i32')
  f.if(i32.eqz(distance), () => f.return(high, low))
  const by = f.let(i64.extend_i32_u(distance))
  f.if(i32.lt_u(distance, 64), () => {
    const kept = f.let(i64.shr_u(low, by))
    const lost = i64.extend_i32_u(i64.ne(i64.shl(kept, by), low))
    f.return(i64.shr_u(high, by), i64.or(i64.or(kept, lost), i64.shl(high, i64.sub(64, by))))
  })
  const lowest = f.local('i64')
  f.callInto([lowest], shiftRightJam, high, i32.sub(distance, 64))
  f.return(i64.const(0), i64.or(lowest, i64.extend_i32_u(i64.ne(low, 0))))
}

/** By halves of 32 bits: no partial sum below exceeds 64 bits. */
function defineMultiply(f: FunctionBuilder): void {
  const left = f.parameter(0, 'i64')
  const right = f.parameter(1, 'i64')
  const leftLow = f.let(i64.and(left, 0xffffffffn))
  const leftHigh = f.let(i64.shr_u(left, 32))
  const rightLow = f.let(i64.and(right, 0xffffffffn))
  const rightHigh = f.let(i64.shr_u(right, 32))
  const low = f.let(i64.mul(leftLow, rightLow))
  const middle = f.let(i64.add(i64.mul(leftHigh, rightLow), i64.shr_u(low, 32)))
  const other = f.let(i64.add(i64.mul(leftLow, rightHigh), i64.and(middle, 0xffffffffn)))
  const carried = i64.add(i64.shr_u(middle, 32), i64.shr_u(other, 32))
  f.return(
    i64.add(i64.mul(leftHigh, rightHigh), carried),
    i64.or(i64.shl(other, 32), i64.and(low, 0xffffffffn)),
  )
}

/**
 * Between bit patterns and numbers: unpacking, rounding and packing, and the NaNs.
 *
 * The software path computes with *unpacked* numbers: a sign (0 or 1), an exponent e, and a significand s of 64 bits
 * whose top bit is bit 62. The value is s x 2^(e - 62). Both formats unpack to the same shape; the bits below the
 * format's last place (10 for double, 39 for single) are what rounding looks at:
 *
 *     bit 63  62  61 ...            extra-1 ... 0
 *          0   1   fraction         rounding bits, the lowest one sticky
 */
import { choose, type I32, i32, i64, select } from '../../wasm/expression.ts'
import type { Callee, FunctionBuilder, Global, Local } from '../../wasm/function.ts'
import type { ModuleBuilder } from '../../wasm/module.ts'
import { FLAG, type Format, isNan, isSignalling, ROUND, raise, signed } from './format.ts'
import type { WideFunctions } from './wide.ts'

export interface PackFunctions {
  /** (bits: i64) → (exponent: i32, significand: i64), of a finite number other than zero. */
  readonly unpack: Callee
  /** (sign, exponent, significand, rounding mode) → bits; raises inexact, underflow and overflow. */
  readonly roundAndPack: Callee
  /** (left: i64, right: i64) → the canonical NaN; raises invalid where one of the two is a signalling NaN. */
  readonly propagateNan: Callee
  /** () → the canonical NaN; raises invalid. */
  readonly invalid: Callee
}

export function buildPack(
  module: ModuleBuilder,
  flags: Global<'i32'>,
  format: Format,
  wide: WideFunctions,
): PackFunctions {
  const name = (part: string): string => `float.${part}.${format.letter}`
  return {
    unpack: module.function(name('unpack'), ['i64'], ['i32', 'i64'], (f) => defineUnpack(f, format)),
    roundAndPack: module.function(name('roundAndPack'), ['i32', 'i32', 'i64', 'i32'], ['i64'], (f) =>
      defineRoundAndPack(f, flags, format, wide),
    ),
    propagateNan: module.function(name('propagateNan'), ['i64', 'i64'], ['i64'], (f) => {
      const left = f.parameter(0, 'i64')
      const right = f.parameter(1, 'i64')
      const signalling = i32.or(isSignalling(format, left), isSignalling(format, right))
      f.if(signalling, () => raise(f, flags, FLAG.invalid))
      f.return(i64.const(format.canonicalNan))
    }),
    invalid: module.function(name('invalid'), [], ['i64'], (f) => {
      raise(f, flags, FLAG.invalid)
      f.return(i64.const(format.canonicalNan))
    }),
  }
}

/** Whether one of two wide patterns is a NaN. */
export function eitherIsNan(format: Format, left: Local<'i64'>, right: Local<'i64'>): I32 {
  return i32.or(isNan(format, left), isNan(format, right))
}

function defineUnpack(f: FunctionBuilder, format: Format): void {
  const { fractionBits, bias } = format
  const bits = f.parameter(0, 'i64')
  const field = f.let(i32.and(i32.wrap(i64.shr_u(bits, fractionBits)), format.exponentMax))
  const fraction = f.let(i64.and(bits, format.fractionMask))
  f.ifLikely(field, () => {
    const significand = i64.shl(i64.or(fraction, format.smallestNormal), 62 - fractionBits)
    f.return(i32.sub(field, bias), significand)
  })
  const zeros = f.let(i64.clz(fraction))
  f.return(i32.sub(64 - bias - fractionBits, i32.wrap(zeros)), i64.shl(fraction, i64.sub(zeros, 1)))
}

function defineRoundAndPack(
  f: FunctionBuilder,
  flags: Global<'i32'>,
  format: Format,
  wide: WideFunctions,
): void {
  const { bias, fractionBits, exponentMax } = format
  const extra = 62 - fractionBits
  const mask = (1n << BigInt(extra)) - 1n
  const half = 1n << BigInt(extra - 1)
  const sign = f.parameter(0, 'i32')
  const field = f.let(i32.add(f.parameter(1, 'i32'), bias))
  const significand = f.parameter(2, 'i64')
  const rounding = f.parameter(3, 'i32')

  // Adding this and cutting the rounding bits off rounds, but for ties to even. Both nearest modes have two low zeros;
  // of the directed ones, down (2) moves negative numbers away from zero, and up (3) positive ones.
  const directed = select(i32.xor(sign, i32.and(rounding, 1)), i64.const(mask), 0n)
  const increment = f.let(
    choose(
      i32.eqz(i32.and(rounding, 3)),
      i64.const(half),
      select(i32.eq(rounding, ROUND.towardZero), i64.const(0), directed),
    ),
  )
  const carries = i64.lt_s(i64.add(significand, increment), 0)

  f.ifUnlikely(i32.ge_u(i32.sub(field, 1), exponentMax - 2), () => {
    f.if(
      i32.le_s(field, 0),
      () => {
        // Tiny after rounding: below the normal range even if rounded with an exponent without bounds.
        const tiny = f.let(i32.or(i32.lt_s(field, 0), i32.eqz(carries)))
        f.callInto([significand], wide.shiftRightJam, significand, i32.sub(1, field))
        f.set(field, 1)
        const inexact = i64.ne(i64.and(significand, mask), 0)
        f.if(i32.and(tiny, inexact), () => raise(f, flags, FLAG.underflow))
      },
      () =>
        f.if(i32.or(i32.ge_s(field, exponentMax), carries), () => {
          raise(f, flags, FLAG.overflow | FLAG.inexact)
          const largestFinite = i64.extend_i32_u(i64.eqz(increment))
          f.return(i64.sub(signed(format, sign, format.infinity), largestFinite))
        }),
    )
  })
  const lost = f.let(i64.and(significand, mask))
  f.set(significand, i64.shr_u(i64.add(significand, increment), extra))
  f.if(i64.ne(lost, 0), () => {
    raise(f, flags, FLAG.inexact)
    const tieToEven = i32.and(i64.eq(lost, half), i32.eqz(rounding))
    f.set(significand, i64.and(significand, select(tieToEven, i64.const(-2), -1n)))
  })
  // The significand's top bit, where it has one, adds the 1 that is missing in the exponent field.
  const fieldBits = i64.shl(i64.extend_i32_u(i32.sub(field, 1)), fractionBits)
  f.return(i64.add(i64.add(signed(format, sign, 0n), fieldBits), significand))
}

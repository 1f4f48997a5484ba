/**
 * Proofs that a result of WebAssembly's own arithmetic, rounded to nearest, is exact: residuals that are computed
 * without error and are zero. They are asked only about results that are finite and strictly above the smallest
 * normal number; a proof may fail for an exact result, which then takes the software path, but never the other way.
 *
 * For single, products fit a double: the residual is a comparison in f64. For double, the sum has Knuth's two-sum,
 * and the others compare significands as integers modulo 2^64: a correctly rounded result leaves a residual of less
 * than 2^63, so that it is zero exactly if its low 64 bits are.
 */
import { type Expr, type F64, f32, f64, type I32, type I64, i32, i64, select } from '../../wasm/expression.ts'
import type { FunctionBuilder } from '../../wasm/function.ts'
import { DOUBLE, type Format, type NativeType, type RawType } from './format.ts'

/** Each takes the operands and the rounded result as locals, and answers whether the result is exact. */
export interface Exactness<R extends RawType> {
  product(f: FunctionBuilder, left: Expr<R>, right: Expr<R>, product: Expr<R>): I32
  quotient(f: FunctionBuilder, dividend: Expr<R>, divisor: Expr<R>, quotient: Expr<R>): I32
  root(f: FunctionBuilder, radicand: Expr<R>, root: Expr<R>): I32
}

/**
 * Knuth's two-sum: the error of a rounded sum is itself a number of the format, gradual underflow included. Should an
 * intermediate overflow, the error is not a number and does not compare equal to zero.
 */
export function sumIsExact<R extends RawType, N extends NativeType>(
  { native }: Format<R, N>,
  f: FunctionBuilder,
  left: Expr<N>,
  right: Expr<N>,
  sum: Expr<N>,
): I32 {
  const rightPart = f.let(native.sub(sum, left))
  const leftPart = native.sub(sum, rightPart)
  return native.eq(native.add(native.sub(left, leftPart), native.sub(right, rightPart)), 0)
}

function promoted(bits: Expr<'i32'>): F64 {
  return f64.promote(f32.reinterpret(bits))
}

export const SINGLE_EXACTNESS: Exactness<'i32'> = {
  product: (_, left, right, product) => f64.eq(f64.mul(promoted(left), promoted(right)), promoted(product)),
  quotient: (_, dividend, divisor, quotient) =>
    f64.eq(f64.mul(promoted(quotient), promoted(divisor)), promoted(dividend)),
  root: (_, radicand, root) => f64.eq(f64.mul(promoted(root), promoted(root)), promoted(radicand)),
}

/** The significand of a normal double, top bit at bit 52. */
function significand(bits: I64): I64 {
  return i64.or(i64.and(bits, DOUBLE.fractionMask), DOUBLE.smallestNormal)
}

/** Whether a double is neither subnormal nor zero. The sign does not matter. */
function isNormal(bits: I64): I32 {
  return i64.ne(i64.and(bits, DOUBLE.infinity), 0)
}

export const DOUBLE_EXACTNESS: Exactness<'i64'> = {
  // A product of two 53-bit significands has at most 106 bits, and as many zeros at its end as both have together:
  // with 53 of them it fits. (For a subnormal operand the bit that `significand` adds lies above its lowest one.)
  product: (_, left, right) => i64.ge_u(i64.add(i64.ctz(significand(left)), i64.ctz(significand(right))), 53),
  quotient: (f, dividend, divisor, quotient) => {
    const numerator = f.let(significand(dividend))
    const denominator = f.let(significand(divisor))
    const shift = i64.extend_i32_u(i32.add(i64.lt_u(numerator, denominator), 52))
    const residual = i64.sub(i64.shl(numerator, shift), i64.mul(significand(quotient), denominator))
    return i32.and(i32.and(isNormal(dividend), isNormal(divisor)), i64.eqz(residual))
  },
  root: (f, radicand, root) => {
    const factor = f.let(significand(root))
    // The bias is odd: an even field stands for an odd exponent, whose significand counts double.
    const odd = i64.eqz(i64.and(radicand, DOUBLE.smallestNormal))
    const scaled = i64.shl(significand(radicand), select(odd, i64.const(53), 52))
    return i32.and(isNormal(radicand), i64.eq(scaled, i64.mul(factor, factor)))
  },
}

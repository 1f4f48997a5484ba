/**
 * Addition, multiplication, division and square root in integers: every operand, every rounding mode, every flag.
 *
 * Patterns are in the wide form (format.ts); numbers are unpacked as in pack.ts. Each function first deals with NaNs,
 * infinities and zeros, then computes an exact or jammed significand, and leaves the rest to `roundAndPack`.
 *
 * Division and square root take their digits from WebAssembly's own double arithmetic on significands scaled to [1, 4),
 * where nothing overflows or underflows, and then correct them: the result is the exact one rounded to 53 bits, so the
 * residual (dividend - quotient x divisor, radicand - root²) is at most half a unit and has fewer than 55 bits. Its
 * value modulo 2^64 is thus its value, and its sign says on which side of the 53 bits the exact result lies. Neither
 * operation can have a result half-way between two 53-bit numbers.
 */
import { f64, type I32, type I64, i32, i64, select } from '../../wasm/expression.ts'
import type { Callee, FunctionBuilder, Global, Local } from '../../wasm/function.ts'
import type { ModuleBuilder } from '../../wasm/module.ts'
import {
  DOUBLE,
  FLAG,
  type Format,
  magnitude,
  numberFromSignificand,
  ROUND,
  raise,
  signed,
  signOf,
} from './format.ts'
import { eitherIsNan, type PackFunctions } from './pack.ts'
import type { WideFunctions } from './wide.ts'

/** What the functions of one format are built from. */
export interface SoftParts {
  readonly module: ModuleBuilder
  readonly flags: Global<'i32'>
  readonly format: Format
  readonly wide: WideFunctions
  readonly pack: PackFunctions
}

export interface SoftFunctions {
  /** (left: i64, right: i64, rounding mode: i32) → i64, as are the next two. */
  readonly add: Callee
  readonly mul: Callee
  readonly div: Callee
  /** (radicand: i64, rounding mode: i32) → i64. */
  readonly sqrt: Callee
  /** (sign, exponent, significand of one, the same of the other, rounding mode) → i64: the sum, rounded. */
  readonly sum: Callee
}

export function buildSoft(parts: SoftParts): SoftFunctions {
  const { module, format } = parts
  const name = (part: string): string => `float.soft.${part}.${format.letter}`
  const unpacked = ['i32', 'i32', 'i64'] as const
  const sum = module.declare(name('sum'), [...unpacked, ...unpacked, 'i32'], ['i64'])
  module.define(sum, (f) => defineSum(f, parts, sum))
  const binary = (part: string, define: (f: FunctionBuilder) => void): Callee =>
    module.function(name(part), ['i64', 'i64', 'i32'], ['i64'], define)
  return {
    sum,
    add: binary('add', (f) => defineAdd(f, parts, sum)),
    mul: binary('mul', (f) => defineMul(f, parts)),
    div: binary('div', (f) => defineDiv(f, parts)),
    sqrt: module.function(name('sqrt'), ['i64', 'i32'], ['i64'], (f) => defineSqrt(f, parts)),
  }
}

/** An unpacked number without its sign, in local variables. */
export interface Unpacked {
  readonly exponent: Local<'i32'>
  readonly significand: Local<'i64'>
}

/** Unpacks a finite number other than zero into new locals. */
export function unpack(f: FunctionBuilder, pack: PackFunctions, bits: I64): Unpacked {
  const exponent = f.local('i32')
  const significand = f.local('i64')
  f.callInto([exponent, significand], pack.unpack, bits)
  return { exponent, significand }
}

/** The exact zero of a sum of opposite numbers: negative only when rounding down (IEEE 754, 6.3). */
export function cancelledZero(format: Format, rounding: I32): I64 {
  return signed(format, i32.eq(rounding, ROUND.down), 0n)
}

/** Brings a significand that may have reached bit 63 back to bit 62, jamming. */
export function settle(f: FunctionBuilder, exponent: Local<'i32'>, significand: Local<'i64'>): void {
  f.if(i64.lt_s(significand, 0), () => {
    f.set(significand, i64.or(i64.shr_u(significand, 1), i64.and(significand, 1)))
    f.set(exponent, i32.add(exponent, 1))
  })
}

function defineSum(f: FunctionBuilder, { format, wide, pack }: SoftParts, self: Callee): void {
  const sign = f.parameter(0, 'i32')
  const exponent = f.parameter(1, 'i32')
  const significand = f.parameter(2, 'i64')
  const otherSign = f.parameter(3, 'i32')
  const otherExponent = f.parameter(4, 'i32')
  const other = f.parameter(5, 'i64')
  const rounding = f.parameter(6, 'i32')
  f.if(i32.lt_s(exponent, otherExponent), () =>
    f.returnCall(self, otherSign, otherExponent, other, sign, exponent, significand, rounding),
  )
  f.callInto([other], wide.shiftRightJam, other, i32.sub(exponent, otherExponent))
  f.if(
    i32.eq(sign, otherSign),
    () => {
      f.set(significand, i64.add(significand, other))
      settle(f, exponent, significand)
    },
    () => {
      f.set(significand, i64.sub(significand, other))
      f.if(i64.eqz(significand), () => f.return(cancelledZero(format, rounding)))
      f.if(i64.lt_s(significand, 0), () => {
        f.set(significand, i64.sub(0, significand))
        f.set(sign, otherSign)
      })
      const shift = f.let(i64.sub(i64.clz(significand), 1))
      f.set(significand, i64.shl(significand, shift))
      f.set(exponent, i32.sub(exponent, i32.wrap(shift)))
    },
  )
  f.returnCall(pack.roundAndPack, sign, exponent, significand, rounding)
}

function defineAdd(f: FunctionBuilder, { format, pack }: SoftParts, sum: Callee): void {
  const left = f.parameter(0, 'i64')
  const right = f.parameter(1, 'i64')
  const rounding = f.parameter(2, 'i32')
  const leftMagnitude = f.let(magnitude(format, left))
  const rightMagnitude = f.let(magnitude(format, right))
  f.ifUnlikely(i32.or(isSpecial(format, leftMagnitude), isSpecial(format, rightMagnitude)), () => {
    f.if(eitherIsNan(format, left, right), () => f.returnCall(pack.propagateNan, left, right))
    f.if(i64.eq(leftMagnitude, rightMagnitude), () => {
      f.if(i64.ne(left, right), () => f.returnCall(pack.invalid))
    })
    f.return(select(isSpecial(format, leftMagnitude), left, right))
  })
  f.ifUnlikely(i64.eqz(leftMagnitude), () => {
    f.if(i32.or(i64.ne(rightMagnitude, 0), i64.eq(left, right)), () => f.return(right))
    f.return(cancelledZero(format, rounding))
  })
  f.ifUnlikely(i64.eqz(rightMagnitude), () => f.return(left))
  const one = unpack(f, pack, left)
  const other = unpack(f, pack, right)
  f.returnCall(
    sum,
    ...[signOf(format, left), one.exponent, one.significand],
    ...[signOf(format, right), other.exponent, other.significand],
    rounding,
  )
}

/** Whether a magnitude is infinite or a NaN. */
export function isSpecial(format: Format, value: I64): I32 {
  return i64.ge_u(value, format.infinity)
}

function defineMul(f: FunctionBuilder, parts: SoftParts): void {
  const { format, pack } = parts
  const left = f.parameter(0, 'i64')
  const right = f.parameter(1, 'i64')
  const rounding = f.parameter(2, 'i32')
  const sign = f.let(signOf(format, i64.xor(left, right)))
  const leftMagnitude = f.let(magnitude(format, left))
  const rightMagnitude = f.let(magnitude(format, right))
  const zero = f.let(i32.or(i64.eqz(leftMagnitude), i64.eqz(rightMagnitude)))
  f.ifUnlikely(i32.or(isSpecial(format, leftMagnitude), isSpecial(format, rightMagnitude)), () => {
    f.if(eitherIsNan(format, left, right), () => f.returnCall(pack.propagateNan, left, right))
    f.if(zero, () => f.returnCall(pack.invalid))
    f.return(signed(format, sign, format.infinity))
  })
  f.ifUnlikely(zero, () => f.return(signed(format, sign, 0n)))
  const product = unpack(f, pack, left)
  const factor = unpack(f, pack, right)
  multiplySignificands(f, parts, product.significand, factor.significand)
  f.set(product.exponent, i32.add(product.exponent, factor.exponent))
  settle(f, product.exponent, product.significand)
  f.returnCall(pack.roundAndPack, sign, product.exponent, product.significand, rounding)
}

/** Sets `product` to its product with `factor`, in [2^62, 2^64). Exact for single, jammed for double. */
function multiplySignificands(
  f: FunctionBuilder,
  { format, wide }: SoftParts,
  product: Local<'i64'>,
  factor: Local<'i64'>,
): void {
  if (format === DOUBLE) {
    const low = f.local('i64')
    f.callInto([product, low], wide.multiply, i64.shl(product, 1), i64.shl(factor, 1))
    f.set(product, i64.or(product, i64.extend_i32_u(i64.ne(low, 0))))
  } else {
    f.set(product, productOfSingles(product, factor))
  }
}

/** The exact product, in [2^62, 2^64), of two significands that came from singles and so have 24 bits. */
export function productOfSingles(left: I64, right: I64): I64 {
  return i64.mul(i64.shr_u(left, 31), i64.shr_u(right, 31))
}

function defineDiv(f: FunctionBuilder, { flags, format, pack }: SoftParts): void {
  const left = f.parameter(0, 'i64')
  const right = f.parameter(1, 'i64')
  const rounding = f.parameter(2, 'i32')
  const sign = f.let(signOf(format, i64.xor(left, right)))
  const leftMagnitude = f.let(magnitude(format, left))
  const rightMagnitude = f.let(magnitude(format, right))
  f.ifUnlikely(i32.or(isSpecial(format, leftMagnitude), isSpecial(format, rightMagnitude)), () => {
    f.if(eitherIsNan(format, left, right), () => f.returnCall(pack.propagateNan, left, right))
    f.if(i64.eq(leftMagnitude, rightMagnitude), () => f.returnCall(pack.invalid))
    f.if(isSpecial(format, leftMagnitude), () => f.return(signed(format, sign, format.infinity)))
    f.return(signed(format, sign, 0n))
  })
  f.ifUnlikely(i64.eqz(rightMagnitude), () => {
    f.if(i64.eqz(leftMagnitude), () => f.returnCall(pack.invalid))
    raise(f, flags, FLAG.divideByZero)
    f.return(signed(format, sign, format.infinity))
  })
  f.ifUnlikely(i64.eqz(leftMagnitude), () => f.return(signed(format, sign, 0n)))
  const dividend = unpack(f, pack, left)
  const divisor = unpack(f, pack, right)
  f.set(dividend.significand, i64.shr_u(dividend.significand, 10))
  f.set(divisor.significand, i64.shr_u(divisor.significand, 10))
  // The dividend is doubled where it is the smaller one, which brings the quotient into [1, 2).
  const doubled = f.let(i64.lt_u(dividend.significand, divisor.significand))
  const one = i32.const(0)
  const number = f64.div(
    numberFromSignificand(dividend.significand, doubled),
    numberFromSignificand(divisor.significand, one),
  )
  const quotient = f.let(significandOf(number))
  const scaled = i64.shl(dividend.significand, i64.extend_i32_u(i32.add(doubled, 52)))
  const residual = f.let(i64.sub(scaled, i64.mul(quotient, divisor.significand)))
  const exponent = i32.sub(i32.sub(dividend.exponent, divisor.exponent), doubled)
  f.returnCall(pack.roundAndPack, sign, exponent, withResidual(quotient, residual), rounding)
}

/** The 53-bit significand of a number in [1, 2). */
function significandOf(number: ReturnType<typeof f64.div>): I64 {
  return i64.or(i64.and(i64.reinterpret(number), DOUBLE.fractionMask), DOUBLE.smallestNormal)
}

/** A 53-bit significand brought to bit 62 and moved off the exact place in the direction of the residual. */
function withResidual(significand: I64, residual: Local<'i64'>): I64 {
  const direction = i32.sub(i64.gt_s(residual, 0), i64.lt_s(residual, 0))
  return i64.add(i64.shl(significand, 10), i64.extend_i32_s(direction))
}

function defineSqrt(f: FunctionBuilder, { format, pack }: SoftParts): void {
  const bits = f.parameter(0, 'i64')
  const rounding = f.parameter(1, 'i32')
  f.ifUnlikely(i64.eqz(magnitude(format, bits)), () => f.return(bits))
  f.ifUnlikely(i64.ge_u(bits, format.infinity), () => {
    f.if(i64.eq(bits, format.infinity), () => f.return(bits))
    f.if(i64.gt_u(magnitude(format, bits), format.infinity), () =>
      f.returnCall(pack.propagateNan, bits, bits),
    )
    f.returnCall(pack.invalid)
  })
  const { exponent, significand } = unpack(f, pack, bits)
  const odd = f.let(i32.and(exponent, 1))
  f.set(significand, i64.shr_u(significand, 10))
  const root = f.let(significandOf(f64.sqrt(numberFromSignificand(significand, odd))))
  const scaled = i64.shl(significand, i64.extend_i32_u(i32.add(odd, 52)))
  const residual = f.let(i64.sub(scaled, i64.mul(root, root)))
  const sign = i32.const(0)
  f.returnCall(pack.roundAndPack, sign, i32.shr_s(exponent, 1), withResidual(root, residual), rounding)
}

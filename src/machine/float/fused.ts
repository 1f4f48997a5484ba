/**
 * Fused multiply-add in integers: a x b + c, rounded once.
 *
 * The product of two singles fits one significand exactly, so that single needs only the sum of soft.ts. The product of
 * two doubles has 106 bits and is added in pairs of 64 bits, whose top bit is bit 126 as in one significand it is 62.
 */
import { type I32, type I64, i32, i64, select } from '../../wasm/expression.ts'
import type { Callee, FunctionBuilder, Local } from '../../wasm/function.ts'
import { DOUBLE, isNan, magnitude, signed, signOf } from './format.ts'
import {
  cancelledZero,
  isSpecial,
  productOfSingles,
  type SoftFunctions,
  type SoftParts,
  settle,
  type Unpacked,
  unpack,
} from './soft.ts'

/** A significand of 128 bits. */
interface Pair {
  readonly high: Local<'i64'>
  readonly low: Local<'i64'>
}

/** Builds (a: i64, b: i64, c: i64, rounding mode: i32) → i64 on wide patterns. */
export function buildFused(parts: SoftParts, soft: SoftFunctions): Callee {
  const { module, format } = parts
  const special = module.function(
    `float.soft.fmaSpecial.${format.letter}`,
    ['i64', 'i64', 'i64'],
    ['i64'],
    (f) => defineSpecial(f, parts),
  )
  const parameters = ['i64', 'i64', 'i64', 'i32'] as const
  return module.function(`float.soft.fma.${format.letter}`, parameters, ['i64'], (f) =>
    defineFused(f, parts, soft, special),
  )
}

/** One of the three at least is infinite or a NaN. Infinity times zero is invalid also where c is a quiet NaN. */
function defineSpecial(f: FunctionBuilder, { format, pack }: SoftParts): void {
  const a = f.parameter(0, 'i64')
  const b = f.parameter(1, 'i64')
  const c = f.parameter(2, 'i64')
  const sign = f.let(signOf(format, i64.xor(a, b)))
  f.set(a, select(isNan(format, a), a, magnitude(format, a)))
  f.set(b, select(isNan(format, b), b, magnitude(format, b)))
  const infiniteTimesZero = (infinite: I64, zero: I64): I32 =>
    i32.and(i64.eq(infinite, format.infinity), i64.eqz(zero))
  f.if(i32.or(infiniteTimesZero(a, b), infiniteTimesZero(b, a)), () => f.returnCall(pack.invalid))
  f.if(i32.or(i32.or(isNan(format, a), isNan(format, b)), isNan(format, c)), () => {
    f.call(pack.propagateNan, a, b)
    f.returnCall(pack.propagateNan, c, c)
  })
  const productInfinite = i32.or(i64.eq(a, format.infinity), i64.eq(b, format.infinity))
  f.if(productInfinite, () => {
    const opposite = i64.eq(c, signed(format, i32.xor(sign, 1), format.infinity))
    f.if(opposite, () => f.returnCall(pack.invalid))
    f.return(signed(format, sign, format.infinity))
  })
  f.return(c)
}

function defineFused(f: FunctionBuilder, parts: SoftParts, soft: SoftFunctions, special: Callee): void {
  const { format, pack } = parts
  const a = f.parameter(0, 'i64')
  const b = f.parameter(1, 'i64')
  const c = f.parameter(2, 'i64')
  const rounding = f.parameter(3, 'i32')
  const sign = f.let(signOf(format, i64.xor(a, b)))
  const magnitudes = [a, b, c].map((bits) => f.let(magnitude(format, bits)))
  const [specialA, specialB, specialC] = magnitudes.map((value) => isSpecial(format, value))
  f.ifUnlikely(i32.or(i32.or(specialA!, specialB!), specialC!), () => f.returnCall(special, a, b, c))
  const [zeroA, zeroB, zeroC] = magnitudes.map((value) => i64.eqz(value))
  f.ifUnlikely(i32.or(zeroA!, zeroB!), () => {
    const sum = signed(format, sign, 0n)
    f.if(i32.or(i32.eqz(zeroC!), i64.eq(c, sum)), () => f.return(c))
    f.return(cancelledZero(format, rounding))
  })
  f.ifUnlikely(zeroC!, () => f.returnCall(soft.mul, a, b, rounding))

  const product = unpack(f, pack, a)
  const factor = unpack(f, pack, b)
  const addend = unpack(f, pack, c)
  const addendSign = f.let(signOf(format, c))
  f.set(product.exponent, i32.add(product.exponent, factor.exponent))
  if (format === DOUBLE) {
    sumOfPairs(f, parts, sign, product, factor, addendSign, addend, rounding)
  } else {
    f.set(product.significand, productOfSingles(product.significand, factor.significand))
    settle(f, product.exponent, product.significand)
    const { exponent, significand } = product
    f.returnCall(
      soft.sum,
      ...[sign, exponent, significand, addendSign, addend.exponent, addend.significand],
      rounding,
    )
  }
}

/** Returns product x factor + addend from the function under construction. */
function sumOfPairs(
  f: FunctionBuilder,
  { format, wide, pack }: SoftParts,
  sign: Local<'i32'>,
  product: Unpacked,
  factor: Unpacked,
  addendSign: Local<'i32'>,
  addend: Unpacked,
  rounding: I32,
): void {
  const sum: Pair = { high: f.local('i64'), low: f.local('i64') }
  const other: Pair = { high: addend.significand, low: f.local('i64', 0) }
  const both = [sum.high, sum.low]
  f.callInto(both, wide.multiply, i64.shl(product.significand, 1), i64.shl(factor.significand, 1))
  // The product's lowest 20 bits are zero, so settling it loses nothing.
  f.if(i64.lt_s(sum.high, 0), () => {
    shiftRightOne(f, sum)
    f.set(product.exponent, i32.add(product.exponent, 1))
  })
  const distance = f.let(i32.sub(product.exponent, addend.exponent))
  f.if(
    i32.lt_s(distance, 0),
    () => {
      f.callInto(both, wide.shiftRightJamPair, sum.high, sum.low, i32.sub(0, distance))
      f.set(product.exponent, addend.exponent)
    },
    () => f.callInto([other.high, other.low], wide.shiftRightJamPair, other.high, other.low, distance),
  )
  f.if(
    i32.eq(sign, addendSign),
    () => {
      addPair(f, sum, other)
      f.set(sum.high, i64.or(sum.high, i64.extend_i32_u(i64.ne(sum.low, 0))))
      settle(f, product.exponent, sum.high)
    },
    () => {
      subtractPair(f, sum, other, sign)
      f.if(i64.eqz(i64.or(sum.high, sum.low)), () => f.return(cancelledZero(format, rounding)))
      normalizePair(f, sum, product.exponent)
      f.set(sum.high, i64.or(sum.high, i64.extend_i32_u(i64.ne(sum.low, 0))))
    },
  )
  f.returnCall(pack.roundAndPack, sign, product.exponent, sum.high, rounding)
}

function shiftRightOne(f: FunctionBuilder, { high, low }: Pair): void {
  f.set(low, i64.or(i64.shr_u(low, 1), i64.shl(high, 63)))
  f.set(high, i64.shr_u(high, 1))
}

/** sum += other */
function addPair(f: FunctionBuilder, sum: Pair, other: Pair): void {
  f.set(sum.low, i64.add(sum.low, other.low))
  const carry = i64.extend_i32_u(i64.lt_u(sum.low, other.low))
  f.set(sum.high, i64.add(i64.add(sum.high, other.high), carry))
}

/** sum -= other; a negative difference is negated, and with it `sign`. */
function subtractPair(f: FunctionBuilder, sum: Pair, other: Pair, sign: Local<'i32'>): void {
  const borrow = i64.extend_i32_u(i64.lt_u(sum.low, other.low))
  f.set(sum.high, i64.sub(i64.sub(sum.high, other.high), borrow))
  f.set(sum.low, i64.sub(sum.low, other.low))
  f.if(i64.lt_s(sum.high, 0), () => {
    f.set(sum.high, i64.sub(i64.sub(0, sum.high), i64.extend_i32_u(i64.ne(sum.low, 0))))
    f.set(sum.low, i64.sub(0, sum.low))
    f.set(sign, i32.xor(sign, 1))
  })
}

/** Shifts left until the top bit is bit 126. `sum` is not zero and below 2^127. */
function normalizePair(f: FunctionBuilder, sum: Pair, exponent: Local<'i32'>): void {
  f.if(i64.eqz(sum.high), () => {
    // Moved up by 63 places, not 64, so that a full low half does not reach bit 127.
    f.set(sum.high, i64.shr_u(sum.low, 1))
    f.set(sum.low, i64.shl(sum.low, 63))
    f.set(exponent, i32.sub(exponent, 63))
  })
  // One bit is left where the high half is still zero: it is the low half's top one, and clz - 1 is 63.
  const shift = f.let(i64.sub(i64.clz(sum.high), 1))
  f.if(i64.ne(shift, 0), () => {
    const carried = i64.shr_u(sum.low, i64.sub(64, shift))
    f.set(sum.high, i64.or(i64.shl(sum.high, shift), carried))
    f.set(sum.low, i64.shl(sum.low, shift))
    f.set(exponent, i32.sub(exponent, i32.wrap(shift)))
  })
}

/**
 * What the F and D instructions compute, by exact rational arithmetic on BigInt: slow, short, and independent of the
 * functions that it tests. Every finite number is a fraction; rounding compares what is cut off with one half.
 */

/** A format by its widths; everything else follows. */
export interface OracleFormat {
  readonly width: number
  readonly fractionBits: number
}

export const ORACLE_SINGLE: OracleFormat = { width: 32, fractionBits: 23 }
export const ORACLE_DOUBLE: OracleFormat = { width: 64, fractionBits: 52 }

/** A result and the exceptions it raised. Comparisons and classes are 0, 1 or a mask. */
export interface Outcome {
  readonly bits: bigint
  readonly flags: number
}

const NX = 1
const UF = 2
const OF = 4
const DZ = 8
const NV = 16

type Decoded =
  | { readonly kind: 'nan'; readonly signalling: boolean }
  | { readonly kind: 'infinite'; readonly negative: boolean }
  /** significand x 2^exponent */
  | {
      readonly kind: 'finite'
      readonly negative: boolean
      readonly significand: bigint
      readonly exponent: number
    }

/** A positive or negative fraction; the denominator is above zero. */
interface Fraction {
  readonly numerator: bigint
  readonly denominator: bigint
}

function power(exponent: number): bigint {
  return 1n << BigInt(exponent)
}

function biasOf({ width, fractionBits }: OracleFormat): number {
  return 2 ** (width - fractionBits - 2) - 1
}

function infinityBits(format: OracleFormat): bigint {
  return BigInt(2 * biasOf(format) + 1) << BigInt(format.fractionBits)
}

function withSign(format: OracleFormat, negative: boolean, bits: bigint): bigint {
  return negative ? bits | power(format.width - 1) : bits
}

function canonical(format: OracleFormat, flags: number): Outcome {
  return { bits: infinityBits(format) | power(format.fractionBits - 1), flags }
}

function infinite(format: OracleFormat, negative: boolean, flags = 0): Outcome {
  return { bits: withSign(format, negative, infinityBits(format)), flags }
}

function zero(format: OracleFormat, negative: boolean): Outcome {
  return { bits: withSign(format, negative, 0n), flags: 0 }
}

function decode(format: OracleFormat, bits: bigint): Decoded {
  const { width, fractionBits } = format
  const negative = bits >> BigInt(width - 1) === 1n
  const fraction = bits & (power(fractionBits) - 1n)
  const field = Number((bits >> BigInt(fractionBits)) & (power(width - fractionBits - 1) - 1n))
  if (field === 2 * biasOf(format) + 1) {
    if (fraction === 0n) return { kind: 'infinite', negative }
    return { kind: 'nan', signalling: (fraction & power(fractionBits - 1)) === 0n }
  }
  const exponent = Math.max(field, 1) - biasOf(format) - fractionBits
  return {
    kind: 'finite',
    negative,
    significand: field === 0 ? fraction : fraction + power(fractionBits),
    exponent,
  }
}

function fractionOf(value: Decoded & { kind: 'finite' }): Fraction {
  const numerator = value.negative ? -value.significand : value.significand
  if (value.exponent >= 0) return { numerator: numerator << BigInt(value.exponent), denominator: 1n }
  return { numerator, denominator: power(-value.exponent) }
}

function absolute(value: bigint): bigint {
  return value < 0n ? -value : value
}

/** The quotient of two positive integers, rounded to an integer, and whether it was exact. */
function divideRounded(
  numerator: bigint,
  denominator: bigint,
  negative: boolean,
  rounding: number,
): { integer: bigint; exact: boolean } {
  const floor = numerator / denominator
  const rest = numerator % denominator
  if (rest === 0n) return { integer: floor, exact: true }
  const twice = 2n * rest
  const aboveHalf = twice > denominator
  const tie = twice === denominator
  const up = [aboveHalf || (tie && floor % 2n === 1n), false, negative, !negative, aboveHalf || tie][
    rounding
  ]!
  return { integer: up ? floor + 1n : floor, exact: false }
}

/** numerator / denominator / 2^exponent, rounded. */
function roundAt(value: Fraction, exponent: number, rounding: number): { integer: bigint; exact: boolean } {
  const negative = value.numerator < 0n
  const numerator = absolute(value.numerator)
  return exponent >= 0
    ? divideRounded(numerator, value.denominator << BigInt(exponent), negative, rounding)
    : divideRounded(numerator << BigInt(-exponent), value.denominator, negative, rounding)
}

/** The e with 2^e <= |value| < 2^(e+1). */
function exponentOf({ numerator, denominator }: Fraction): number {
  const size = absolute(numerator)
  const guess = size.toString(2).length - denominator.toString(2).length
  const notBelow = guess >= 0 ? size >= denominator << BigInt(guess) : size << BigInt(-guess) >= denominator
  return notBelow ? guess : guess - 1
}

/** Rounds a fraction other than zero to the format. */
function round(format: OracleFormat, value: Fraction, rounding: number): Outcome {
  const { fractionBits } = format
  const negative = value.numerator < 0n
  const smallest = 1 - biasOf(format)
  const exponent = exponentOf(value)
  const place = Math.max(exponent, smallest) - fractionBits
  const { integer, exact } = roundAt(value, place, rounding)
  // The smallest exponent's numbers have field 1 (or 0 where the top bit is missing); each place more adds one to it.
  const bits = integer + (BigInt(place + fractionBits - smallest) << BigInt(fractionBits))
  if (bits >= infinityBits(format)) {
    const toInfinity = [true, false, negative, !negative, true][rounding]!
    const largest = infinityBits(format) - (toInfinity ? 0n : 1n)
    return { bits: withSign(format, negative, largest), flags: OF | NX }
  }
  const unbounded = roundAt(value, exponent - fractionBits, rounding).integer
  const tiny = exponent + (unbounded >= power(fractionBits + 1) ? 1 : 0) < smallest
  return { bits: withSign(format, negative, bits), flags: exact ? 0 : tiny ? NX | UF : NX }
}

/** Rounds a sum that may be zero although its terms, of both signs, are not. */
function roundSum(format: OracleFormat, value: Fraction, rounding: number): Outcome {
  return value.numerator === 0n ? zero(format, rounding === 2) : round(format, value, rounding)
}

function plus(left: Fraction, right: Fraction): Fraction {
  return {
    numerator: left.numerator * right.denominator + right.numerator * left.denominator,
    denominator: left.denominator * right.denominator,
  }
}

function times(left: Fraction, right: Fraction): Fraction {
  return { numerator: left.numerator * right.numerator, denominator: left.denominator * right.denominator }
}

function nanOutcome(format: OracleFormat, operands: readonly Decoded[]): Outcome | undefined {
  if (!operands.some(({ kind }) => kind === 'nan')) return undefined
  return canonical(format, operands.some((x) => x.kind === 'nan' && x.signalling) ? NV : 0)
}

export function oracleAdd(format: OracleFormat, left: bigint, right: bigint, rounding: number): Outcome {
  const [a, b] = [decode(format, left), decode(format, right)]
  const nan = nanOutcome(format, [a, b])
  if (nan !== undefined || a.kind === 'nan' || b.kind === 'nan') return nan!
  if (a.kind === 'infinite' && b.kind === 'infinite' && a.negative !== b.negative)
    return canonical(format, NV)
  if (a.kind === 'infinite') return infinite(format, a.negative)
  if (b.kind === 'infinite') return infinite(format, b.negative)
  if (a.significand === 0n && b.significand === 0n && a.negative === b.negative)
    return zero(format, a.negative)
  return roundSum(format, plus(fractionOf(a), fractionOf(b)), rounding)
}

export function oracleSub(format: OracleFormat, left: bigint, right: bigint, rounding: number): Outcome {
  return oracleAdd(format, left, right ^ power(format.width - 1), rounding)
}

export function oracleMul(format: OracleFormat, left: bigint, right: bigint, rounding: number): Outcome {
  const [a, b] = [decode(format, left), decode(format, right)]
  const nan = nanOutcome(format, [a, b])
  if (nan !== undefined || a.kind === 'nan' || b.kind === 'nan') return nan!
  const negative = a.negative !== b.negative
  const isZero = [a, b].some((x) => x.kind === 'finite' && x.significand === 0n)
  if (a.kind === 'infinite' || b.kind === 'infinite') {
    return isZero ? canonical(format, NV) : infinite(format, negative)
  }
  return isZero ? zero(format, negative) : round(format, times(fractionOf(a), fractionOf(b)), rounding)
}

export function oracleDiv(format: OracleFormat, left: bigint, right: bigint, rounding: number): Outcome {
  const [a, b] = [decode(format, left), decode(format, right)]
  const nan = nanOutcome(format, [a, b])
  if (nan !== undefined || a.kind === 'nan' || b.kind === 'nan') return nan!
  const negative = a.negative !== b.negative
  if (a.kind === 'infinite') return b.kind === 'infinite' ? canonical(format, NV) : infinite(format, negative)
  if (b.kind === 'infinite') return zero(format, negative)
  if (b.significand === 0n)
    return a.significand === 0n ? canonical(format, NV) : infinite(format, negative, DZ)
  if (a.significand === 0n) return zero(format, negative)
  const [dividend, divisor] = [fractionOf(a), fractionOf(b)]
  const sign = divisor.numerator < 0n ? -1n : 1n
  const inverse = { numerator: sign * divisor.denominator, denominator: sign * divisor.numerator }
  return round(format, times(dividend, inverse), rounding)
}

function integerRoot(value: bigint): bigint {
  let root = power(Math.ceil(value.toString(2).length / 2))
  for (;;) {
    const next = (root + value / root) / 2n
    if (next >= root) return root
    root = next
  }
}

export function oracleSqrt(format: OracleFormat, bits: bigint, rounding: number): Outcome {
  const value = decode(format, bits)
  if (value.kind === 'nan') return nanOutcome(format, [value])!
  if (value.kind === 'finite' && value.significand === 0n) return { bits, flags: 0 }
  if (value.negative) return canonical(format, NV)
  if (value.kind === 'infinite') return infinite(format, false)
  // Scaled by an even power of two to 300 bits or so; what the root cuts off becomes one more bit that is not zero.
  const scale = 300 + (value.exponent & 1)
  const radicand = value.significand << BigInt(scale)
  const root = integerRoot(radicand)
  const sticky = root * root === radicand ? 0n : 1n
  const exponent = (value.exponent - scale) / 2 - 1
  const numerator = 2n * root + sticky
  return exponent < 0
    ? round(format, { numerator, denominator: power(-exponent) }, rounding)
    : round(format, { numerator: numerator << BigInt(exponent), denominator: 1n }, rounding)
}

/** left x right + addend, rounded once. */
export function oracleFma(
  format: OracleFormat,
  left: bigint,
  right: bigint,
  addend: bigint,
  rounding: number,
): Outcome {
  const [a, b, c] = [decode(format, left), decode(format, right), decode(format, addend)]
  const isZero = (x: Decoded): boolean => x.kind === 'finite' && x.significand === 0n
  if (a.kind === 'infinite' && isZero(b)) return canonical(format, NV)
  if (b.kind === 'infinite' && isZero(a)) return canonical(format, NV)
  const nan = nanOutcome(format, [a, b, c])
  if (nan !== undefined || a.kind === 'nan' || b.kind === 'nan' || c.kind === 'nan') return nan!
  const negative = a.negative !== b.negative
  if (a.kind === 'infinite' || b.kind === 'infinite') {
    const opposite = c.kind === 'infinite' && c.negative !== negative
    return opposite ? canonical(format, NV) : infinite(format, negative)
  }
  if (c.kind === 'infinite') return infinite(format, c.negative)
  if ((isZero(a) || isZero(b)) && isZero(c) && c.negative === negative) return zero(format, negative)
  return roundSum(format, plus(times(fractionOf(a), fractionOf(b)), fractionOf(c)), rounding)
}

/** -1, 0 or 1 as left is below, equal to or above right; infinities are larger than every fraction. */
function order(left: Decoded, right: Decoded): number {
  const scale = (x: Decoded): Fraction => {
    if (x.kind === 'finite') return fractionOf(x)
    return { numerator: x.kind === 'infinite' && x.negative ? -power(5000) : power(5000), denominator: 1n }
  }
  const [a, b] = [scale(left), scale(right)]
  const difference = a.numerator * b.denominator - b.numerator * a.denominator
  return difference < 0n ? -1 : difference > 0n ? 1 : 0
}

export function oracleCompare(
  format: OracleFormat,
  relation: 'eq' | 'lt' | 'le',
  left: bigint,
  right: bigint,
): Outcome {
  const [a, b] = [decode(format, left), decode(format, right)]
  const nan = nanOutcome(format, [a, b])
  if (nan !== undefined) return { bits: 0n, flags: relation === 'eq' ? nan.flags : NV }
  const relative = order(a, b)
  const holds = { eq: relative === 0, lt: relative < 0, le: relative <= 0 }[relation]
  return { bits: holds ? 1n : 0n, flags: 0 }
}

export function oracleExtremum(
  format: OracleFormat,
  which: 'min' | 'max',
  left: bigint,
  right: bigint,
): Outcome {
  const [a, b] = [decode(format, left), decode(format, right)]
  const flags = nanOutcome(format, [a, b])?.flags ?? 0
  if (a.kind === 'nan' && b.kind === 'nan') return canonical(format, flags)
  if (a.kind === 'nan') return { bits: right, flags }
  if (b.kind === 'nan') return { bits: left, flags }
  const relative = order(a, b)
  // Equal numbers are the same pattern, except for the zeros, of which the negative one is the smaller.
  const leftIsLess = relative < 0 || (relative === 0 && a.negative)
  return { bits: leftIsLess === (which === 'min') ? left : right, flags }
}

export function oracleClassify(format: OracleFormat, bits: bigint): Outcome {
  const value = decode(format, bits)
  if (value.kind === 'nan') return { bits: value.signalling ? 256n : 512n, flags: 0 }
  if (value.kind === 'infinite') return { bits: value.negative ? 1n : 128n, flags: 0 }
  const normal = value.significand >= power(format.fractionBits)
  if (value.significand === 0n) return { bits: value.negative ? 8n : 16n, flags: 0 }
  if (normal) return { bits: value.negative ? 2n : 64n, flags: 0 }
  return { bits: value.negative ? 4n : 32n, flags: 0 }
}

export function oracleToFormat(
  source: OracleFormat,
  target: OracleFormat,
  bits: bigint,
  rounding: number,
): Outcome {
  const value = decode(source, bits)
  if (value.kind === 'nan') return canonical(target, value.signalling ? NV : 0)
  if (value.kind === 'infinite') return infinite(target, value.negative)
  if (value.significand === 0n) return zero(target, value.negative)
  return round(target, fractionOf(value), rounding)
}

/** An integer type by its range. */
export interface OracleInteger {
  readonly width: 32 | 64
  readonly isSigned: boolean
}

/** The result is the 64-bit register, as an unsigned number. */
export function oracleToInteger(
  format: OracleFormat,
  type: OracleInteger,
  bits: bigint,
  rounding: number,
): Outcome {
  const lowest = type.isSigned ? -power(type.width - 1) : 0n
  const highest = type.isSigned ? power(type.width - 1) - 1n : power(type.width) - 1n
  const register = (integer: bigint): bigint => BigInt.asUintN(64, BigInt.asIntN(type.width, integer))
  const value = decode(format, bits)
  if (value.kind === 'nan') return { bits: register(highest), flags: NV }
  if (value.kind === 'infinite') return { bits: register(value.negative ? lowest : highest), flags: NV }
  const { integer, exact } = roundAt(fractionOf(value), 0, rounding)
  const result = value.negative ? -integer : integer
  if (result < lowest) return { bits: register(lowest), flags: NV }
  if (result > highest) return { bits: register(highest), flags: NV }
  return { bits: register(result), flags: exact ? 0 : NX }
}

export function oracleFromInteger(
  format: OracleFormat,
  type: OracleInteger,
  register: bigint,
  rounding: number,
): Outcome {
  const value = type.isSigned ? BigInt.asIntN(type.width, register) : BigInt.asUintN(type.width, register)
  return value === 0n ? zero(format, false) : round(format, { numerator: value, denominator: 1n }, rounding)
}

/**
 * Conversions between the two formats and to and from integers.
 *
 * Integers travel as 64-bit register values: word results are sign-extended from 32 bits, also unsigned ones, and of a
 * word operand the low half counts. What a conversion to an integer cannot represent is invalid (and not inexact) and
 * gives the nearest end of the range; a NaN gives the upper end.
 */
import { choose, f32, f64, type I32, type I64, i32, i64, select } from '../../wasm/expression.ts'
import { type Callee, call, type FunctionBuilder, type Global, type Local } from '../../wasm/function.ts'
import type { ModuleBuilder } from '../../wasm/module.ts'
import {
  DOUBLE,
  FLAG,
  type Format,
  isNan,
  isStrictlyNormal,
  magnitude,
  type NativeType,
  type RawType,
  ROUND,
  raise,
  SINGLE,
  signed,
  signOf,
} from './format.ts'
import type { PackFunctions } from './pack.ts'
import { settle, unpack } from './soft.ts'
import type { WideFunctions } from './wide.ts'

export interface ConvertParts {
  readonly module: ModuleBuilder
  readonly flags: Global<'i32'>
  readonly inexactAlready: () => I32
  readonly wide: WideFunctions
  readonly single: PackFunctions
  readonly double: PackFunctions
}

/** An integer type as in the instructions' names: fcvt.w.d, fcvt.wu.d, fcvt.l.d, fcvt.lu.d. */
interface IntegerType {
  readonly bits: 32 | 64
  readonly isSigned: boolean
}

const INTEGER_TYPES = {
  W: { bits: 32, isSigned: true },
  Wu: { bits: 32, isSigned: false },
  L: { bits: 64, isSigned: true },
  Lu: { bits: 64, isSigned: false },
} as const satisfies Record<string, IntegerType>

type IntegerName = keyof typeof INTEGER_TYPES

/** toX: (raw pattern, rounding mode) → i64; fromX: (i64, rounding mode) → raw pattern. */
export type IntegerConversions = Readonly<Record<`to${IntegerName}` | `from${IntegerName}`, Callee>>

export interface ConvertFunctions {
  readonly single: IntegerConversions
  readonly double: IntegerConversions
  /** (i32) → i64; exact. */
  readonly singleToDouble: Callee
  /** (i64, rounding mode) → i32 */
  readonly doubleToSingle: Callee
}

export function buildConvert(parts: ConvertParts): ConvertFunctions {
  const { module } = parts
  const single: Record<string, Callee> = {}
  const double: Record<string, Callee> = {}
  for (const name of Object.keys(INTEGER_TYPES) as IntegerName[]) {
    const type = INTEGER_TYPES[name]
    const toInteger = buildToInteger(parts, name, type)
    double[`to${name}`] = toInteger
    single[`to${name}`] = module.function(`float.to${name}.s`, ['i32', 'i32'], ['i64'], (f) => {
      const number = f64.promote(f32.reinterpret(f.parameter(0, 'i32')))
      f.returnCall(toInteger, i64.reinterpret(number), f.parameter(1, 'i32'))
    })
    single[`from${name}`] = buildFromInteger(parts, parts.single, SINGLE, name, type)
    double[`from${name}`] = buildFromInteger(parts, parts.double, DOUBLE, name, type)
  }
  return {
    single: single as IntegerConversions,
    double: double as IntegerConversions,
    singleToDouble: module.function('float.singleToDouble', ['i32'], ['i64'], (f) => {
      const bits = f.parameter(0, 'i32')
      const number = f.let(f32.reinterpret(bits))
      f.ifUnlikely(f32.ne(number, number), () => {
        f.call(parts.single.propagateNan, i64.extend_i32_u(bits), i64.extend_i32_u(bits))
        f.return(i64.const(DOUBLE.canonicalNan))
      })
      f.return(i64.reinterpret(f64.promote(number)))
    }),
    doubleToSingle: module.function('float.doubleToSingle', ['i64', 'i32'], ['i32'], (f) =>
      defineDoubleToSingle(f, parts),
    ),
  }
}

function defineDoubleToSingle(f: FunctionBuilder, { inexactAlready, single, double }: ConvertParts): void {
  const bits = f.parameter(0, 'i64')
  const rounding = f.parameter(1, 'i32')
  const narrowed = f.let(f32.demote(f64.reinterpret(bits)))
  const narrowedBits = f.let(i32.reinterpret(narrowed))
  f.ifLikely(i32.and(i32.eqz(rounding), isStrictlyNormal(SINGLE, narrowedBits)), () => {
    const exact = f64.eq(f64.promote(narrowed), f64.reinterpret(bits))
    f.ifLikely(choose(inexactAlready(), i32.const(1), exact), () => f.return(narrowedBits))
  })
  const sign = f.let(signOf(DOUBLE, bits))
  f.ifUnlikely(i64.eqz(magnitude(DOUBLE, bits)), () => f.return(i32.wrap(signed(SINGLE, sign, 0n))))
  f.ifUnlikely(i64.ge_u(magnitude(DOUBLE, bits), DOUBLE.infinity), () => {
    f.if(isNan(DOUBLE, bits), () => {
      f.call(double.propagateNan, bits, bits)
      f.return(i32.const(Number(SINGLE.canonicalNan)))
    })
    f.return(i32.wrap(signed(SINGLE, sign, SINGLE.infinity)))
  })
  const { exponent, significand } = unpack(f, double, bits)
  f.return(i32.wrap(call(single.roundAndPack, sign, exponent, significand, rounding)))
}

/** The operand of a conversion from `type`, as a 64-bit integer of the same value. */
function integerOperand(register: I64, { bits, isSigned }: IntegerType): I64 {
  if (bits === 64) return register
  return isSigned ? i64.extend32_s(register) : i64.and(register, 0xffffffffn)
}

function buildFromInteger<R extends RawType, N extends NativeType>(
  parts: ConvertParts,
  pack: PackFunctions,
  format: Format<R, N>,
  name: IntegerName,
  type: IntegerType,
): Callee {
  const { native, raw, rawType } = format
  return parts.module.function(`float.from${name}.${format.letter}`, ['i64', 'i32'], [rawType], (f) => {
    const value = f.let(integerOperand(f.parameter(0, 'i64'), type))
    const rounding = f.parameter(1, 'i32')
    const sign = f.let(type.isSigned ? i64.lt_s(value, 0) : i32.const(0))
    const size = f.let(type.isSigned ? select(sign, i64.sub(0, value), value) : value)
    const exact = i64.lt_u(size, format.smallestNormal * 2n)
    const quick = i32.or(exact, i32.and(i32.eqz(rounding), parts.inexactAlready()))
    const convert = type.isSigned ? native.convert_i64_s : native.convert_i64_u
    f.ifLikely(quick, () => f.return(raw.reinterpret(convert(value))))
    const exponent = f.local('i32', 62)
    settle(f, exponent, size)
    // What is not exact is not zero either, and settled it has its top bit at bit 62 or below.
    const shift = f.let(i64.sub(i64.clz(size), 1))
    const normalized = i64.shl(size, shift)
    const rebased = i32.sub(exponent, i32.wrap(shift))
    f.return(raw.narrow(call(pack.roundAndPack, sign, rebased, normalized, rounding)))
  })
}

/** Of doubles; singles are converted to double first, which is exact. */
function buildToInteger(parts: ConvertParts, name: IntegerName, type: IntegerType): Callee {
  const { module, flags } = parts
  const soft = module.function(`float.soft.to${name}`, ['i64', 'i32'], ['i64'], (f) =>
    defineSoftToInteger(f, parts, type),
  )
  return module.function(`float.to${name}.d`, ['i64', 'i32'], ['i64'], (f) => {
    const bits = f.parameter(0, 'i64')
    const rounding = f.parameter(1, 'i32')
    const number = f.let(f64.reinterpret(bits))
    // Strictly inside the signed 64-bit range nothing saturates; a NaN is not inside.
    f.ifLikely(f64.lt(f64.abs(number), 2 ** 63), () => {
      const towardZero = f.let(i32.eq(rounding, ROUND.towardZero))
      const rounded = choose(towardZero, number, f64.nearest(number))
      const integer = f.let(i64.trunc_sat_f64_s(rounded))
      const inexact = f.let(f64.ne(f64.convert_i64_s(integer), number))
      const known = i32.or(i32.eqz(inexact), i32.or(towardZero, i32.eqz(rounding)))
      f.ifLikely(i32.and(known, isInRange(integer, type)), () => {
        f.if(inexact, () => raise(f, flags, FLAG.inexact))
        f.return(resultOf(integer, type))
      })
    })
    f.returnCall(soft, bits, rounding)
  })
}

/** Whether a signed 64-bit integer is in the range of `type`. */
function isInRange(integer: I64, { bits, isSigned }: IntegerType): I32 {
  if (!isSigned) return bits === 64 ? i64.ge_s(integer, 0) : i64.lt_u(integer, 0x100000000n)
  return bits === 64 ? i32.const(1) : i64.eq(integer, i64.extend32_s(integer))
}

/** The register value of an integer that is in range. */
function resultOf(integer: I64, { bits }: IntegerType): I64 {
  return bits === 64 ? integer : i64.extend32_s(integer)
}

function defineSoftToInteger(
  f: FunctionBuilder,
  { flags, double, wide }: ConvertParts,
  type: IntegerType,
): void {
  const bits = f.parameter(0, 'i64')
  const rounding = f.parameter(1, 'i32')
  const width = BigInt(type.bits)
  const upper = type.isSigned ? (1n << (width - 1n)) - 1n : (1n << width) - 1n
  const lower = type.isSigned ? -(1n << (width - 1n)) : 0n
  const outOfRange = (end: bigint): void => {
    raise(f, flags, FLAG.invalid)
    f.return(i64.const(BigInt.asIntN(type.bits, end)))
  }
  f.if(isNan(DOUBLE, bits), () => outOfRange(upper))
  const sign = f.let(signOf(DOUBLE, bits))
  const saturate = (): void => {
    f.if(sign, () => outOfRange(lower))
    outOfRange(upper)
  }
  f.if(i64.eqz(magnitude(DOUBLE, bits)), () => f.return(i64.const(0)))
  const { exponent, significand } = unpack(f, double, bits)
  f.if(i32.gt_s(exponent, 63), saturate)

  // The number as a fixed-point one: 64 bits before the point and 64 after it, the lowest of these sticky.
  const { integer, fraction } = fixedPoint(f, wide, exponent, significand)
  f.set(integer, i64.add(integer, i64.extend_i32_u(roundsAway(sign, rounding, integer, fraction))))
  const limit = choose(sign, i64.const(-lower), upper)
  f.if(i64.gt_u(integer, limit), saturate)
  f.if(i64.ne(fraction, 0), () => raise(f, flags, FLAG.inexact))
  f.return(resultOf(select(sign, i64.sub(0, integer), integer), type))
}

function fixedPoint(
  f: FunctionBuilder,
  wide: WideFunctions,
  exponent: Local<'i32'>,
  significand: Local<'i64'>,
): { integer: Local<'i64'>; fraction: Local<'i64'> } {
  const integer = f.local('i64', 0)
  const fraction = f.local('i64')
  const distance = f.let(i64.extend_i32_s(exponent))
  f.if(
    i32.lt_s(exponent, 0),
    () => f.callInto([fraction], wide.shiftRightJam, i64.shl(significand, 1), i32.sub(-1, exponent)),
    () =>
      f.if(
        i32.gt_s(exponent, 61),
        () => f.set(integer, i64.shl(significand, i64.sub(distance, 62))),
        () => {
          f.set(integer, i64.shr_u(significand, i64.sub(62, distance)))
          f.set(fraction, i64.shl(significand, i64.add(distance, 2)))
        },
      ),
  )
  return { integer, fraction }
}

/** Whether rounding an integer with the fraction `fraction` x 2^-64 moves it away from zero. */
function roundsAway(sign: I32, rounding: I32, integer: I64, fraction: I64): I32 {
  const half = i64.const(1n << 63n)
  const above = i64.gt_u(fraction, half)
  const tie = i64.eq(fraction, half)
  const odd = i32.wrap(i64.and(integer, 1))
  const tieGoesAway = i32.or(i32.ne(rounding, ROUND.nearestEven), odd)
  const nearest = i32.or(above, i32.and(tie, tieGoesAway))
  const isDirected = i32.xor(sign, i32.and(rounding, 1))
  const directed = i32.and(i32.and(isDirected, i64.ne(fraction, 0)), i32.ne(rounding, ROUND.towardZero))
  return choose(i32.and(rounding, 3), directed, nearest)
}

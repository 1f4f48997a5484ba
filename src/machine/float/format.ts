/**
 * The two floating-point formats, described once, and the questions that can be asked of a bit pattern.
 *
 * A pattern exists in two forms. The *raw* form is what the public functions take and return: i32 for single, i64 for
 * double. The *wide* form is an i64 for both (single zero-extended), which lets one software path serve both formats.
 */
import {
  type Expr,
  type F64,
  f32,
  f64,
  type I32,
  type I64,
  i32,
  i64,
  type Operand,
  select,
} from '../../wasm/expression.ts'
import type { FunctionBuilder, Global } from '../../wasm/function.ts'

/** Rounding modes, as in an instruction's rm field. */
export const ROUND = { nearestEven: 0, towardZero: 1, down: 2, up: 3, nearestMaxMagnitude: 4 } as const

/** Exception flags, as in fflags. */
export const FLAG = { inexact: 1, underflow: 2, overflow: 4, divideByZero: 8, invalid: 16 } as const

export type RawType = 'i32' | 'i64'
export type NativeType = 'f32' | 'f64'

/** WebAssembly's own arithmetic in a format: rounds to nearest even, raises nothing, and its NaNs are not ours. */
export interface Native<R extends RawType, N extends NativeType> {
  const(value: number): Expr<N>
  add(left: Expr<N>, right: Expr<N>): Expr<N>
  sub(left: Expr<N>, right: Expr<N>): Expr<N>
  mul(left: Expr<N>, right: Expr<N>): Expr<N>
  div(left: Expr<N>, right: Expr<N>): Expr<N>
  min(left: Expr<N>, right: Expr<N>): Expr<N>
  max(left: Expr<N>, right: Expr<N>): Expr<N>
  eq(left: Expr<N>, right: Operand<N>): I32
  ne(left: Expr<N>, right: Expr<N>): I32
  lt(left: Expr<N>, right: Expr<N>): I32
  le(left: Expr<N>, right: Expr<N>): I32
  sqrt(value: Expr<N>): Expr<N>
  convert_i64_s(value: I64): Expr<N>
  convert_i64_u(value: I64): Expr<N>
  reinterpret(raw: Expr<R>): Expr<N>
}

/** Integer arithmetic on raw patterns. */
export interface Raw<R extends RawType, N extends NativeType> {
  const(value: bigint): Expr<R>
  and(left: Expr<R>, right: Expr<R>): Expr<R>
  xor(left: Expr<R>, right: Expr<R>): Expr<R>
  sub(left: Expr<R>, right: Expr<R>): Expr<R>
  lt_u(left: Expr<R>, right: Expr<R>): I32
  gt_u(left: Expr<R>, right: Expr<R>): I32
  reinterpret(value: Expr<N>): Expr<R>
  /** To the wide form. */
  widen(value: Expr<R>): I64
  /** From the wide form. */
  narrow(value: I64): Expr<R>
}

export interface Format<R extends RawType = RawType, N extends NativeType = NativeType> {
  /** As in the instructions' names: fadd.s, fadd.d. */
  readonly letter: 's' | 'd'
  readonly rawType: R
  readonly nativeType: N
  readonly width: number
  readonly fractionBits: number
  readonly bias: number
  /** The exponent field of infinities and NaNs. */
  readonly exponentMax: number
  readonly signBit: bigint
  readonly magnitudeMask: bigint
  readonly fractionMask: bigint
  readonly smallestNormal: bigint
  readonly infinity: bigint
  readonly canonicalNan: bigint
  readonly quietBit: bigint
  readonly native: Native<R, N>
  readonly raw: Raw<R, N>
}

type Numbers = Omit<Format, 'letter' | 'rawType' | 'nativeType' | 'native' | 'raw'>

function numbers(width: number, fractionBits: number): Numbers {
  const exponentMax = 2 ** (width - 1 - fractionBits) - 1
  const signBit = 1n << BigInt(width - 1)
  const smallestNormal = 1n << BigInt(fractionBits)
  const infinity = BigInt(exponentMax) * smallestNormal
  const quietBit = smallestNormal >> 1n
  return {
    width,
    fractionBits,
    bias: (exponentMax - 1) / 2,
    exponentMax,
    signBit,
    magnitudeMask: signBit - 1n,
    fractionMask: smallestNormal - 1n,
    smallestNormal,
    infinity,
    canonicalNan: infinity | quietBit,
    quietBit,
  }
}

export const SINGLE: Format<'i32', 'f32'> = {
  letter: 's',
  rawType: 'i32',
  nativeType: 'f32',
  ...numbers(32, 23),
  native: f32,
  raw: {
    ...i32,
    const: (value) => i32.const(Number(value)),
    widen: (value) => i64.extend_i32_u(value),
    narrow: (value) => i32.wrap(value),
  },
}

export const DOUBLE: Format<'i64', 'f64'> = {
  letter: 'd',
  rawType: 'i64',
  nativeType: 'f64',
  ...numbers(64, 52),
  native: f64,
  raw: { ...i64, const: (value) => i64.const(value), widen: (value) => value, narrow: (value) => value },
}

/** The significant bits of a wide pattern without its sign. */
export function magnitude(format: Format, bits: I64): I64 {
  return i64.and(bits, format.magnitudeMask)
}

/** The sign of a wide pattern, 0 or 1. */
export function signOf(format: Format, bits: I64): I32 {
  return i32.wrap(i64.shr_u(bits, format.width - 1))
}

/** A wide pattern with sign `sign` (0 or 1) and the constant magnitude `value`. */
export function signed(format: Format, sign: I32, value: bigint): I64 {
  return i64.or(i64.shl(i64.extend_i32_u(sign), format.width - 1), value)
}

/** Whether a wide pattern is a NaN. */
export function isNan(format: Format, bits: I64): I32 {
  return i64.gt_u(magnitude(format, bits), format.infinity)
}

/** Whether a wide pattern is a signalling NaN. Reads `bits` twice. */
export function isSignalling(format: Format, bits: I64): I32 {
  return i32.and(isNan(format, bits), i64.eqz(i64.and(bits, format.quietBit)))
}

/**
 * Whether a raw pattern is finite and strictly above the smallest normal number in magnitude: the range in which a
 * result rounded to nearest can have raised nothing but inexact. The smallest normal itself may have been tiny before
 * it was rounded to the format's precision.
 */
export function isStrictlyNormal<R extends RawType, N extends NativeType>(
  format: Format<R, N>,
  bits: Expr<R>,
): I32 {
  const { raw } = format
  const lowest = format.smallestNormal + 1n
  const distance = raw.sub(raw.and(bits, raw.const(format.magnitudeMask)), raw.const(lowest))
  return raw.lt_u(distance, raw.const(format.infinity - lowest))
}

/** Adds exception flags to the global. */
export function raise(f: FunctionBuilder, flags: Global<'i32'>, raised: I32 | number): void {
  f.setGlobal(flags, i32.or(flags, raised))
}

/**
 * The single-precision pattern in a 64-bit register: its low half where the high half is all ones, the canonical NaN
 * otherwise (unprivileged spec, NaN boxing). Reads `register` twice.
 */
export function unboxSingle(register: I64): I32 {
  return select(
    i64.ge_u(register, 0xffffffff00000000n),
    i32.wrap(register),
    i32.const(Number(SINGLE.canonicalNan)),
  )
}

/** The register value that holds a single-precision pattern. */
export function boxSingle(bits: I32): I64 {
  return i64.or(i64.extend_i32_u(bits), 0xffffffff00000000n)
}

/** A significand of 53 bits (its top bit at bit 52) as a number in [1, 2), or in [2, 4) with `doubled` 1. */
export function numberFromSignificand(significand: I64, doubled: I32): F64 {
  const exponent = i64.shl(i64.extend_i32_u(i32.add(doubled, DOUBLE.bias)), DOUBLE.fractionBits)
  return f64.reinterpret(i64.or(i64.and(significand, DOUBLE.fractionMask), exponent))
}

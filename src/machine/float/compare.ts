/** Comparison, minimum and maximum, and classification. Ordered operands take WebAssembly's own instructions. */
import { type Expr, type I32, i32, i64 } from '../../wasm/expression.ts'
import type { Callee, FunctionBuilder, Local } from '../../wasm/function.ts'
import {
  FLAG,
  type Format,
  isNan,
  isSignalling,
  magnitude,
  type NativeType,
  type RawType,
  raise,
  signOf,
} from './format.ts'
import type { SoftParts } from './soft.ts'

export interface CompareParts<R extends RawType, N extends NativeType> extends SoftParts {
  readonly format: Format<R, N>
}

export interface CompareFunctions {
  readonly eq: Callee
  readonly lt: Callee
  readonly le: Callee
  readonly min: Callee
  readonly max: Callee
  readonly classify: Callee
}

export function buildCompare<R extends RawType, N extends NativeType>(
  parts: CompareParts<R, N>,
): CompareFunctions {
  const { module, format } = parts
  const { native, rawType } = format
  const name = (part: string): string => `float.${part}.${format.letter}`
  const pair = [rawType, rawType]
  const minimumOrMaximum = (part: 'min' | 'max'): Callee =>
    module.function(name(part), pair, [rawType], (f) => defineExtremum(f, parts, native[part]))
  return {
    eq: module.function(name('eq'), pair, ['i32'], (f) => defineQuiet(f, parts)),
    lt: module.function(name('lt'), pair, ['i32'], (f) => defineOrdering(f, parts, native.lt)),
    le: module.function(name('le'), pair, ['i32'], (f) => defineOrdering(f, parts, native.le)),
    min: minimumOrMaximum('min'),
    max: minimumOrMaximum('max'),
    classify: module.function(name('classify'), [rawType], ['i32'], (f) => defineClassify(f, format)),
  }
}

/** Both operands as numbers. */
function numbers<R extends RawType, N extends NativeType>(
  f: FunctionBuilder,
  { native, rawType }: Format<R, N>,
): [Local<N>, Local<N>] {
  return [
    f.let(native.reinterpret(f.parameter(0, rawType))),
    f.let(native.reinterpret(f.parameter(1, rawType))),
  ]
}

/** Whether one of two numbers is a NaN: only a NaN differs from itself. */
function unordered<R extends RawType, N extends NativeType>(
  { native }: Format<R, N>,
  left: Expr<N>,
  right: Expr<N>,
): I32 {
  return i32.or(native.ne(left, left), native.ne(right, right))
}

/** Equality is quiet: only a signalling NaN is invalid. */
function defineQuiet<R extends RawType, N extends NativeType>(
  f: FunctionBuilder,
  { format, pack }: CompareParts<R, N>,
): void {
  const { native, raw, rawType } = format
  const [left, right] = numbers(f, format)
  f.ifUnlikely(unordered(format, left, right), () =>
    f.call(pack.propagateNan, raw.widen(f.parameter(0, rawType)), raw.widen(f.parameter(1, rawType))),
  )
  f.return(native.eq(left, right))
}

/** Less-than and less-or-equal signal: any NaN is invalid. */
function defineOrdering<R extends RawType, N extends NativeType>(
  f: FunctionBuilder,
  { format, flags }: CompareParts<R, N>,
  compare: (left: Expr<N>, right: Expr<N>) => I32,
): void {
  const [left, right] = numbers(f, format)
  f.ifUnlikely(unordered(format, left, right), () => raise(f, flags, FLAG.invalid))
  f.return(compare(left, right))
}

/**
 * minimumNumber and maximumNumber of IEEE 754-2019: the other operand where one is a NaN, the canonical NaN where both
 * are. WebAssembly orders the zeros as RISC-V does.
 */
function defineExtremum<R extends RawType, N extends NativeType>(
  f: FunctionBuilder,
  { format, pack }: CompareParts<R, N>,
  native: (left: Expr<N>, right: Expr<N>) => Expr<N>,
): void {
  const { raw, rawType } = format
  const bits = [f.parameter(0, rawType), f.parameter(1, rawType)] as const
  const [left, right] = numbers(f, format)
  f.ifUnlikely(unordered(format, left, right), () => {
    const wide = bits.map((operand) => f.let(raw.widen(operand)))
    f.call(pack.propagateNan, wide[0]!, wide[1]!)
    f.if(i32.eqz(isNan(format, wide[0]!)), () => f.return(bits[0]))
    f.if(i32.eqz(isNan(format, wide[1]!)), () => f.return(bits[1]))
    f.return(raw.const(format.canonicalNan))
  })
  f.return(raw.reinterpret(native(left, right)))
}

/**
 * The class as one of ten bits (unprivileged spec, FCLASS):
 * -inf, -normal, -subnormal, -0, +0, +subnormal, +normal, +inf, signalling NaN, quiet NaN.
 */
function defineClassify<R extends RawType, N extends NativeType>(
  f: FunctionBuilder,
  format: Format<R, N>,
): void {
  const bits = f.let(format.raw.widen(f.parameter(0, format.rawType)))
  const size = f.let(magnitude(format, bits))
  f.if(isNan(format, bits), () => f.return(i32.shl(1, i32.sub(9, isSignalling(format, bits)))))
  // 0 for zero, 1 subnormal, 2 normal, 3 infinite.
  const above = (value: bigint): I32 => i64.ge_u(size, value)
  const rank = i32.add(above(1n), i32.add(above(format.smallestNormal), above(format.infinity)))
  f.if(signOf(format, bits), () => f.return(i32.shl(1, i32.sub(3, rank))))
  f.return(i32.shl(1, i32.add(4, rank)))
}

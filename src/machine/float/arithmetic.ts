/**
 * The arithmetic instructions: WebAssembly's own operation where that is provably the same, software otherwise.
 *
 * Native arithmetic rounds to nearest even and tells nothing about exceptions. It is right, flags included, when
 * - the rounding mode is nearest even, and
 * - the result is finite and strictly above the smallest normal number: it is no NaN, and neither overflow, underflow,
 *   invalid nor division by zero can have happened, and
 * - inexact is already raised, or the operation was exact.
 */
import { type Expr, type I32, i32 } from '../../wasm/expression.ts'
import { type Callee, call, type FunctionBuilder, type Local } from '../../wasm/function.ts'
import { type Exactness, sumIsExact } from './exactness.ts'
import { type Format, isStrictlyNormal, type NativeType, type RawType } from './format.ts'
import type { SoftFunctions, SoftParts } from './soft.ts'

export interface ArithmeticParts<R extends RawType, N extends NativeType> extends SoftParts {
  readonly format: Format<R, N>
  readonly exactness: Exactness<R>
  /** Whether inexact is raised already, so that raising it again changes nothing. */
  readonly inexactAlready: () => I32
}

export interface ArithmeticFunctions {
  readonly add: Callee
  readonly sub: Callee
  readonly mul: Callee
  readonly div: Callee
  readonly sqrt: Callee
  readonly fma: Callee
}

/** What a fast path computes and how it proves itself. */
interface NativeResult<N extends NativeType> {
  readonly result: Expr<N>
  readonly isExact: (value: Local<N>) => I32
}

export function buildArithmetic<R extends RawType, N extends NativeType>(
  parts: ArithmeticParts<R, N>,
  soft: SoftFunctions,
  softFma: Callee,
): ArithmeticFunctions {
  const { module, format } = parts
  const { native, raw, rawType } = format
  const name = (part: string): string => `float.${part}.${format.letter}`
  const binary = (part: string, software: Callee, fast: (f: FunctionBuilder) => NativeResult<N>): Callee =>
    module.function(name(part), [rawType, rawType, 'i32'], [rawType], (f) => {
      const { result, isExact } = fast(f)
      tryNative(f, parts, f.parameter(2, 'i32'), result, isExact)
      const [left, right] = operands(f, format)
      f.return(raw.narrow(call(software, raw.widen(left), raw.widen(right), f.parameter(2, 'i32'))))
    })
  const add = binary('add', soft.add, (f) => nativeSum(f, format))
  return {
    add,
    sub: module.function(name('sub'), [rawType, rawType, 'i32'], [rawType], (f) => {
      const [left, right] = operands(f, format)
      f.returnCall(add, left, raw.xor(right, raw.const(format.signBit)), f.parameter(2, 'i32'))
    }),
    mul: binary('mul', soft.mul, (f) => {
      const [left, right] = operands(f, format)
      return {
        result: native.mul(native.reinterpret(left), native.reinterpret(right)),
        isExact: (value) => parts.exactness.product(f, left, right, raw.reinterpret(value)),
      }
    }),
    div: binary('div', soft.div, (f) => {
      const [left, right] = operands(f, format)
      return {
        result: native.div(native.reinterpret(left), native.reinterpret(right)),
        isExact: (value) => parts.exactness.quotient(f, left, right, raw.reinterpret(value)),
      }
    }),
    sqrt: buildSqrt(parts, soft),
    fma: module.function(name('fma'), [rawType, rawType, rawType, 'i32'], [rawType], (f) => {
      const [a, b, c] = [0, 1, 2].map((index) => raw.widen(f.parameter(index, rawType)))
      f.return(raw.narrow(call(softFma, a!, b!, c!, f.parameter(3, 'i32'))))
    }),
  }
}

function operands<R extends RawType>(f: FunctionBuilder, { rawType }: Format<R>): [Local<R>, Local<R>] {
  return [f.parameter(0, rawType), f.parameter(1, rawType)]
}

function nativeSum<R extends RawType, N extends NativeType>(
  f: FunctionBuilder,
  format: Format<R, N>,
): NativeResult<N> {
  const [left, right] = operands(f, format).map((bits) => f.let(format.native.reinterpret(bits)))
  return {
    result: format.native.add(left!, right!),
    isExact: (value) => sumIsExact(format, f, left!, right!, value),
  }
}

function buildSqrt<R extends RawType, N extends NativeType>(
  parts: ArithmeticParts<R, N>,
  soft: SoftFunctions,
): Callee {
  const { module, format } = parts
  const { native, raw, rawType } = format
  return module.function(`float.sqrt.${format.letter}`, [rawType, 'i32'], [rawType], (f) => {
    const bits = f.parameter(0, rawType)
    const rounding = f.parameter(1, 'i32')
    tryNative(f, parts, rounding, native.sqrt(native.reinterpret(bits)), (value) =>
      parts.exactness.root(f, bits, raw.reinterpret(value)),
    )
    f.return(raw.narrow(call(soft.sqrt, raw.widen(bits), rounding)))
  })
}

/** Returns the native result from the function under construction, where the three conditions hold. */
function tryNative<R extends RawType, N extends NativeType>(
  f: FunctionBuilder,
  { format, inexactAlready }: ArithmeticParts<R, N>,
  rounding: Local<'i32'>,
  result: Expr<N>,
  isExact: NativeResult<N>['isExact'],
): void {
  f.ifLikely(i32.eqz(rounding), () => {
    const value = f.let(result)
    const bits = f.let(format.raw.reinterpret(value))
    f.ifLikely(isStrictlyNormal(format, bits), () => {
      f.ifLikely(inexactAlready(), () => f.return(bits))
      f.if(isExact(value), () => f.return(bits))
    })
  })
}

/**
 * RISC-V F and D arithmetic as WebAssembly functions, exact to the bit and to the flag.
 *
 * Values are bit patterns: i32 for single precision (unboxed, see `unboxSingle`), i64 for double. A rounding mode is an
 * i32 from 0 to 4 as in an instruction's rm field, already resolved. Exceptions are ORed into a global, laid out as
 * fflags; NaN results are canonical; tininess is detected after rounding (unprivileged spec, chapters F and D).
 */
import type { I32 } from '../../wasm/expression.ts'
import type { Global } from '../../wasm/function.ts'
import type { ModuleBuilder } from '../../wasm/module.ts'
import { type ArithmeticFunctions, buildArithmetic } from './arithmetic.ts'
import { buildCompare, type CompareFunctions } from './compare.ts'
import { buildConvert, type ConvertFunctions, type IntegerConversions } from './convert.ts'
import { DOUBLE_EXACTNESS, type Exactness, SINGLE_EXACTNESS } from './exactness.ts'
import { DOUBLE, type Format, type NativeType, type RawType, SINGLE } from './format.ts'
import { buildFused } from './fused.ts'
import { buildPack, type PackFunctions } from './pack.ts'
import { buildSoft } from './soft.ts'
import { buildWide } from './wide.ts'

export { boxSingle, unboxSingle } from './format.ts'

/**
 * The functions of one format; `raw` stands for its pattern type, i32 or i64.
 *
 * - add, sub, mul, div: (raw, raw, rounding) → raw; sqrt: (raw, rounding) → raw
 * - fma: (a, b, c, rounding) → a x b + c, rounded once
 * - min, max: (raw, raw) → raw; eq, lt, le: (raw, raw) → i32
 * - classify: (raw) → i32
 * - toW, toWu, toL, toLu: (raw, rounding) → i64, words sign-extended
 * - fromW, fromWu, fromL, fromLu: (i64, rounding) → raw
 */
export type FormatFunctions = ArithmeticFunctions & CompareFunctions & IntegerConversions

export interface FloatFunctions extends Pick<ConvertFunctions, 'singleToDouble' | 'doubleToSingle'> {
  readonly single: FormatFunctions
  readonly double: FormatFunctions
}

export interface FloatOptions {
  /**
   * An expression that is 1 where the inexact flag is raised already, so that it need not be found out again, and 0
   * otherwise. It changes speed only: flags and results are the same for either answer, given that a 1 is true.
   */
  readonly inexactAlready: () => I32
}

/** Defines the functions in `module`, all of whose imports must have been declared. */
export function buildFloat(
  module: ModuleBuilder,
  flags: Global<'i32'>,
  { inexactAlready }: FloatOptions,
): FloatFunctions {
  const wide = buildWide(module)
  const build = <R extends RawType, N extends NativeType>(
    format: Format<R, N>,
    exactness: Exactness<R>,
  ): { pack: PackFunctions; functions: ArithmeticFunctions & CompareFunctions } => {
    const pack = buildPack(module, flags, format, wide)
    const parts = { module, flags, format, wide, pack, exactness, inexactAlready }
    const soft = buildSoft(parts)
    const arithmetic = buildArithmetic(parts, soft, buildFused(parts, soft))
    return { pack, functions: { ...arithmetic, ...buildCompare(parts) } }
  }
  const single = build(SINGLE, SINGLE_EXACTNESS)
  const double = build(DOUBLE, DOUBLE_EXACTNESS)
  const convert = buildConvert({
    ...{ module, flags, inexactAlready, wide },
    ...{ single: single.pack, double: double.pack },
  })
  return {
    single: { ...single.functions, ...convert.single },
    double: { ...double.functions, ...convert.double },
    singleToDouble: convert.singleToDouble,
    doubleToSingle: convert.doubleToSingle,
  }
}

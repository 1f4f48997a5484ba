/** RV64F and RV64D, in terms of the functions of float/. Single values are NaN-boxed in 64-bit registers. */
import {
  type Expr,
  f32,
  f64,
  type I32,
  type I64,
  i32,
  i64,
  relaxedMultiplyAdd,
} from '../../wasm/expression.ts'
import { type Callee, call } from '../../wasm/function.ts'
import type { Emitter, Meaning } from '../emitter.ts'
import { boxSingle, type FormatFunctions, unboxSingle } from '../float/float.ts'
import { DOUBLE, type Format, type NativeType, type RawType, SINGLE } from '../float/format.ts'
import { fromWord, truth } from './integer.ts'

/** How a format looks in registers. `raw` values are i32 for single and i64 for double. */
interface Width {
  readonly format: Format<RawType, NativeType>
  readonly functions: (e: Emitter) => FormatFunctions
  readonly unbox: (register: I64) => I32 | I64
  readonly box: (raw: I32 | I64) => I64
  readonly flipSign: (raw: I32 | I64) => I32 | I64
}

const SIGN_SINGLE = 0x8000_0000 | 0
const SIGN_DOUBLE = 1n << 63n

const single: Width = {
  format: SINGLE as unknown as Format<RawType, NativeType>,
  functions: (e) => e.functions.float.single,
  unbox: unboxSingle,
  box: (raw) => boxSingle(raw as I32),
  flipSign: (raw) => i32.xor(raw as I32, SIGN_SINGLE),
}
const double: Width = {
  format: DOUBLE as unknown as Format<RawType, NativeType>,
  functions: (e) => e.functions.float.double,
  unbox: (register) => register,
  box: (raw) => raw as I64,
  flipSign: (raw) => i64.xor(raw as I64, SIGN_DOUBLE),
}

const raw = (callee: Callee, ...args: (I32 | I64)[]): I32 | I64 =>
  call<'i32' | 'i64'>(callee, ...args) as I32 | I64

/** Meanings of one format, by the part of the name before the suffix: what rounds. */
function arithmeticMeanings(width: Width): Record<string, Meaning> {
  const { format, functions, unbox, flipSign } = width
  const native = (raw: I32 | I64): Expr<NativeType> => format.native.reinterpret(raw)
  const rounded =
    (name: 'add' | 'sub' | 'mul' | 'div'): Meaning =>
    (e) => {
      const [a, b] = [unbox(e.f1()), unbox(e.f2())]
      round(e, width, {
        exact: (mode) => raw(functions(e)[name], a, b, mode),
        nearest: () => format.native[name](native(a), native(b)),
      })
    }
  const fused =
    (negateProduct: boolean, negateAddend: boolean): Meaning =>
    (e) => {
      const a = negateProduct ? flipSign(unbox(e.f1())) : unbox(e.f1())
      const b = unbox(e.f2())
      const c = negateAddend ? flipSign(unbox(e.f3())) : unbox(e.f3())
      const exact = (mode: I32): I32 | I64 => raw(functions(e).fma, a, b, c, mode)
      const nearest = (): Expr<NativeType> => relaxedMultiplyAdd(native(a), native(b), native(c))
      round(e, width, e.functions.fusesMultiplyAdd ? { exact, nearest } : { exact })
    }
  return {
    fadd: rounded('add'),
    fsub: rounded('sub'),
    fmul: rounded('mul'),
    fdiv: rounded('div'),
    fsqrt: (e) => {
      const a = unbox(e.f1())
      round(e, width, {
        exact: (mode) => raw(functions(e).sqrt, a, mode),
        nearest: () => format.native.sqrt(native(a)),
      })
    },
    fmadd: fused(false, false),
    fmsub: fused(false, true),
    fnmsub: fused(true, false),
    fnmadd: fused(true, true),
  }
}

interface Rounding {
  readonly exact: (mode: I32) => I32 | I64
  readonly nearest?: () => Expr<NativeType>
}

/** Sets rd to a result that is rounded to a format. */
function round(e: Emitter, { format, box }: Width, { exact, nearest }: Rounding): void {
  const result = (): Expr<RawType> => format.raw.reinterpret(nearest!())
  e.rounded<RawType>({
    exact,
    ...(nearest !== undefined && { nearest: { format, result } }),
    done: (found) => e.setF(box(found as I32 | I64)),
  })
}

/** What rounds nothing. */
function comparisonMeanings(width: Width): Record<string, Meaning> {
  const { functions, unbox, box } = width
  const native = (raw: I32 | I64): Expr<NativeType> => width.format.native.reinterpret(raw)
  const extremum =
    (name: 'min' | 'max'): Meaning =>
    (e) => {
      e.float(true, () => e.setF(box(raw(functions(e)[name], unbox(e.f1()), unbox(e.f2())))))
    }
  const compare =
    (name: 'eq' | 'lt' | 'le'): Meaning =>
    (e) => {
      const [a, b] = [unbox(e.f1()), unbox(e.f2())]
      const { le } = width.format.native
      const result = width.format.native[name](native(a), native(b))
      // Numbers, none of them a NaN: one is at most the other, this way or that.
      const isOrdered = () => i32.or(le(native(a), native(b)), le(native(b), native(a)))
      const exact = () => e.setX(truth(call<'i32'>(functions(e)[name], a, b)))
      e.float(true, () => e.prefer(isOrdered, () => e.setX(truth(result)), exact))
    }
  return {
    fmin: extremum('min'),
    fmax: extremum('max'),
    feq: compare('eq'),
    flt: compare('lt'),
    fle: compare('le'),
    fclass: (e) => {
      e.float(false, () => e.setX(truth(call<'i32'>(functions(e).classify, unbox(e.f1())))))
    },
  }
}

/** To and from integers. */
function conversionMeanings(width: Width): Record<string, Meaning> {
  const { format, functions, unbox } = width
  const toInteger =
    (name: 'toW' | 'toWu' | 'toL' | 'toLu', bound: number): Meaning =>
    (e) => {
      const number = (): Expr<'f64'> =>
        width === double ? f64.reinterpret(e.f1()) : f64.promote(f32.reinterpret(unboxSingle(e.f1())))
      const isBelow = (): I32 => f64.lt(f64.abs(number()), bound)
      e.rounded<'i64'>({
        exact: (mode) => call<'i64'>(functions(e)[name], unbox(e.f1()), mode),
        towardZero: {
          isInRange: () => (name.endsWith('u') ? i32.and(isBelow(), f64.ge(number(), 0)) : isBelow()),
          result: () => i64.trunc_sat_f64_s(number()),
        },
        done: (found) => e.setX(found),
      })
    }
  const fromInteger =
    (name: 'fromW' | 'fromWu' | 'fromL' | 'fromLu', whole: (x: I64) => I64): Meaning =>
    (e) =>
      round(e, width, {
        exact: (mode) => raw(functions(e)[name], e.x1(), mode),
        nearest: () =>
          name === 'fromLu'
            ? format.native.convert_i64_u(e.x1())
            : format.native.convert_i64_s(whole(e.x1())),
      })
  return {
    'fcvt.w': toInteger('toW', 2 ** 31),
    'fcvt.wu': toInteger('toWu', 2 ** 31),
    'fcvt.l': toInteger('toL', 2 ** 63),
    'fcvt.lu': toInteger('toLu', 2 ** 63),
    'from.w': fromInteger('fromW', i64.extend32_s),
    'from.wu': fromInteger('fromWu', (x) => i64.and(x, 0xffff_ffff)),
    'from.l': fromInteger('fromL', (x) => x),
    'from.lu': fromInteger('fromLu', (x) => x),
  }
}

type SignRule = (a: I64, b: I64) => I64

/** Sign injection works on bits; `rule` gives the new sign from both operands. */
const singleSign =
  (rule: SignRule): Meaning =>
  (e) => {
    e.float(true, () => {
      const a = e.scratch64(0, i64.extend_i32_u(unboxSingle(e.f1())))
      const b = e.scratch64(1, i64.extend_i32_u(unboxSingle(e.f2())))
      const sign = i64.and(rule(a, b), 0x8000_0000)
      e.setF(boxSingle(i32.wrap(i64.or(i64.and(a, 0x7fff_ffff), sign))))
    })
  }
const doubleSign =
  (rule: SignRule): Meaning =>
  (e) => {
    e.float(true, () => {
      const a = e.scratch64(0, e.f1())
      const b = e.scratch64(1, e.f2())
      e.setF(i64.or(i64.and(a, SIGN_DOUBLE - 1n), i64.and(rule(a, b), SIGN_DOUBLE)))
    })
  }

const signRules: Record<string, SignRule> = {
  fsgnj: (_a, b) => b,
  fsgnjn: (_a, b) => i64.xor(b, -1),
  fsgnjx: (a, b) => i64.xor(a, b),
}

const moves: Record<string, Meaning> = {
  flw: (e) => e.float(true, () => e.load(4, false, (value) => e.setF(i64.or(value, 0xffff_ffff_0000_0000n)))),
  fld: (e) => e.float(true, () => e.load(8, false, (value) => e.setF(value))),
  fsw: (e) => e.float(false, () => e.store(4, e.f2())),
  fsd: (e) => e.float(false, () => e.store(8, e.f2())),
  'fmv.x.w': (e) => e.float(false, () => e.setX(fromWord(i32.wrap(e.f1())))),
  'fmv.w.x': (e) => e.float(true, () => e.setF(boxSingle(i32.wrap(e.x1())))),
  'fmv.x.d': (e) => e.float(false, () => e.setX(e.f1())),
  'fmv.d.x': (e) => e.float(true, () => e.setF(e.x1())),
  'fcvt.s.d': (e) =>
    round(e, single, {
      exact: (mode) => call<'i32'>(e.functions.float.doubleToSingle, e.f1(), mode),
      nearest: () => f32.demote(f64.reinterpret(e.f1())),
    }),
  // Exact, so that the rounding mode has no effect; a reserved one is illegal all the same.
  'fcvt.d.s': (e) =>
    round(e, double, {
      exact: () => call<'i64'>(e.functions.float.singleToDouble, unboxSingle(e.f1())),
      nearest: () => f64.promote(f32.reinterpret(unboxSingle(e.f1()))),
    }),
}

/** `from.w` of format s is fcvt.s.w; everything else is its name and the suffix. */
function named(prefix: string, suffix: string): string {
  return prefix.startsWith('from.') ? `fcvt.${suffix}.${prefix.slice(5)}` : `${prefix}.${suffix}`
}

function allFloatMeanings(): Record<string, Meaning> {
  const meanings: Record<string, Meaning> = { ...moves }
  for (const [suffix, width] of [
    ['s', single],
    ['d', double],
  ] as const) {
    for (const [prefix, meaning] of Object.entries({
      ...arithmeticMeanings(width),
      ...comparisonMeanings(width),
      ...conversionMeanings(width),
    }))
      meanings[named(prefix, suffix)] = meaning
  }
  for (const [prefix, rule] of Object.entries(signRules)) {
    meanings[`${prefix}.s`] = singleSign(rule)
    meanings[`${prefix}.d`] = doubleSign(rule)
  }
  return meanings
}

export const floatMeanings = allFloatMeanings()

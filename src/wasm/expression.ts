/**
 * Typed WebAssembly expressions, written like the specification's instructions: `i64.add(a, i64.shl(b, 3))`.
 *
 * An expression is code that leaves one value on the stack. Arguments are evaluated from left to right, exactly once,
 * where the expression is used; a plain number stands for a constant.
 */
import {
  type BranchHint,
  type Code,
  code,
  hintCode,
  hole,
  signedLeb32,
  signedLeb64,
  unsignedLeb,
} from './encoding.ts'

export type ValueType = 'i32' | 'i64' | 'f32' | 'f64'

export interface Expr<T extends ValueType = ValueType> {
  readonly type: T
  readonly code: Code
}

export type I32 = Expr<'i32'>
export type I64 = Expr<'i64'>
export type F32 = Expr<'f32'>
export type F64 = Expr<'f64'>

/** An expression, or a number that stands for a constant of the type wanted. */
export type Operand<T extends ValueType> = Expr<T> | number | (T extends 'i64' ? bigint : never)

/** Where a load or store goes: address + offset in a memory (0: harts and tables, 1: guest RAM). */
export interface MemoryPlace {
  readonly offset?: number
  readonly memory?: number
}

const I32_CONST = code(0x41)
const I64_CONST = code(0x42)
const SELECT = code(0x1b)
const NO_ALIGNMENT = code(0x00)
const WITH_MEMORY = code(0x40)
const NO_OFFSET: MemoryPlace = {}

/** Turns a number into a constant expression; leaves expressions as they are. */
export function operand<T extends ValueType>(type: T, value: Operand<T>): Expr<T> {
  if (typeof value === 'object') return value
  return constant(type, value as number | bigint)
}

/** A constant that is not known yet (encoding.ts). */
export const holeConstant = (number: number): I32 => ({ type: 'i32', code: I32_CONST + hole(number) })

function constant<T extends ValueType>(type: T, value: number | bigint): Expr<T> {
  if (type === 'i32') return { type, code: I32_CONST + signedLeb32(Number(value)) }
  if (type === 'i64') return { type, code: I64_CONST + signedLeb64(value) }
  const view = new DataView(new ArrayBuffer(8))
  const bytes = type === 'f32' ? 4 : 8
  if (type === 'f32') view.setFloat32(0, Number(value), true)
  else view.setFloat64(0, Number(value), true)
  return { type, code: code(type === 'f32' ? 0x43 : 0x44, ...new Uint8Array(view.buffer, 0, bytes)) }
}

type Binaries<Names extends string, T extends ValueType, R extends ValueType> = Record<
  Names,
  (left: Operand<T>, right: Operand<T>) => Expr<R>
>
type Unaries<Names extends string, T extends ValueType, R extends ValueType> = Record<
  Names,
  (value: Operand<T>) => Expr<R>
>

function binaries<N extends string, T extends ValueType, R extends ValueType>(
  from: T,
  to: R,
  opcodes: Record<N, number>,
): Binaries<N, T, R> {
  const result = {} as Binaries<N, T, R>
  for (const name of Object.keys(opcodes) as N[]) {
    const opcode = code(opcodes[name])
    result[name] = (left, right) => ({
      type: to,
      code: operand(from, left).code + operand(from, right).code + opcode,
    })
  }
  return result
}

/** Opcodes above 255 stand for the 0xFC prefix and the low byte. */
function unaries<N extends string, T extends ValueType, R extends ValueType>(
  from: T,
  to: R,
  opcodes: Record<N, number>,
): Unaries<N, T, R> {
  const result = {} as Unaries<N, T, R>
  for (const name of Object.keys(opcodes) as N[]) {
    const opcode = opcodes[name]
    const tail = opcode > 0xff ? code(0xfc, opcode & 0xff) : code(opcode)
    result[name] = (value) => ({ type: to, code: operand(from, value).code + tail })
  }
  return result
}

type Loads<N extends string, T extends ValueType> = Record<
  N,
  (address: Operand<'i32'>, place?: MemoryPlace) => Expr<T>
>

/** Memory immediates; the alignment is a hint and always stated as one byte, since guests misalign freely. */
export function memoryArgument(place: MemoryPlace): Code {
  const memory = place.memory ?? 0
  const offset = unsignedLeb(place.offset ?? 0)
  return memory === 0 ? NO_ALIGNMENT + offset : WITH_MEMORY + unsignedLeb(memory) + offset
}

function loads<N extends string, T extends ValueType>(type: T, opcodes: Record<N, number>): Loads<N, T> {
  const result = {} as Loads<N, T>
  for (const name of Object.keys(opcodes) as N[]) {
    const opcode = code(opcodes[name])
    result[name] = (address, place = NO_OFFSET) => ({
      type,
      code: operand('i32', address).code + opcode + memoryArgument(place),
    })
  }
  return result
}

export const i32 = {
  const: (value: number): I32 => constant('i32', value),
  ...binaries('i32', 'i32', {
    eq: 0x46, ne: 0x47, lt_s: 0x48, lt_u: 0x49, gt_s: 0x4a, gt_u: 0x4b, le_s: 0x4c, le_u: 0x4d, ge_s: 0x4e, ge_u: 0x4f,
    add: 0x6a, sub: 0x6b, mul: 0x6c, div_s: 0x6d, div_u: 0x6e, rem_s: 0x6f, rem_u: 0x70,
    and: 0x71, or: 0x72, xor: 0x73, shl: 0x74, shr_s: 0x75, shr_u: 0x76, rotl: 0x77, rotr: 0x78,
  }), // biome-ignore format: opcodes read best as a table
  ...unaries('i32', 'i32', {
    eqz: 0x45,
    clz: 0x67,
    ctz: 0x68,
    popcnt: 0x69,
    extend8_s: 0xc0,
    extend16_s: 0xc1,
  }),
  ...unaries('i64', 'i32', { wrap: 0xa7 }),
  ...unaries('f32', 'i32', { reinterpret: 0xbc, trunc_sat_f32_s: 0xfc00, trunc_sat_f32_u: 0xfc01 }),
  ...unaries('f64', 'i32', { trunc_sat_f64_s: 0xfc02, trunc_sat_f64_u: 0xfc03 }),
  ...loads('i32', { load: 0x28, load8_s: 0x2c, load8_u: 0x2d, load16_s: 0x2e, load16_u: 0x2f }),
}

const ZERO = constant('i64', 0).code
const ADD = code(0x7c)

export const i64 = {
  const: (value: number | bigint): I64 => constant('i64', value),
  ...binaries('i64', 'i32', {
    eq: 0x51, ne: 0x52, lt_s: 0x53, lt_u: 0x54, gt_s: 0x55, gt_u: 0x56, le_s: 0x57, le_u: 0x58, ge_s: 0x59, ge_u: 0x5a,
  }), // biome-ignore format: opcodes read best as a table
  ...binaries('i64', 'i64', {
    sub: 0x7d, mul: 0x7e, div_s: 0x7f, div_u: 0x80, rem_s: 0x81, rem_u: 0x82,
    and: 0x83, or: 0x84, xor: 0x85, shl: 0x86, shr_s: 0x87, shr_u: 0x88, rotl: 0x89, rotr: 0x8a,
  }), // biome-ignore format: opcodes read best as a table
  /** Adding nothing is left out: what moves a register adds zero to it. */
  add: (left: Operand<'i64'>, right: Operand<'i64'>): I64 => {
    const [one, other] = [operand('i64', left), operand('i64', right)]
    if (other.code === ZERO) return one
    return one.code === ZERO ? other : { type: 'i64', code: one.code + other.code + ADD }
  },
  ...unaries('i64', 'i32', { eqz: 0x50 }),
  ...unaries('i64', 'i64', {
    clz: 0x79, ctz: 0x7a, popcnt: 0x7b, extend8_s: 0xc2, extend16_s: 0xc3, extend32_s: 0xc4,
  }), // biome-ignore format: opcodes read best as a table
  ...unaries('i32', 'i64', { extend_i32_s: 0xac, extend_i32_u: 0xad }),
  ...unaries('f32', 'i64', { trunc_sat_f32_s: 0xfc04, trunc_sat_f32_u: 0xfc05 }),
  ...unaries('f64', 'i64', { reinterpret: 0xbd, trunc_sat_f64_s: 0xfc06, trunc_sat_f64_u: 0xfc07 }),
  ...loads('i64', {
    load: 0x29, load8_s: 0x30, load8_u: 0x31, load16_s: 0x32, load16_u: 0x33, load32_s: 0x34, load32_u: 0x35,
  }), // biome-ignore format: opcodes read best as a table
}

export const f32 = {
  const: (value: number): F32 => constant('f32', value),
  ...binaries('f32', 'i32', { eq: 0x5b, ne: 0x5c, lt: 0x5d, gt: 0x5e, le: 0x5f, ge: 0x60 }),
  ...binaries('f32', 'f32', {
    add: 0x92,
    sub: 0x93,
    mul: 0x94,
    div: 0x95,
    min: 0x96,
    max: 0x97,
    copysign: 0x98,
  }),
  ...unaries('f32', 'f32', { abs: 0x8b, neg: 0x8c, nearest: 0x90, sqrt: 0x91 }),
  ...unaries('i32', 'f32', { convert_i32_s: 0xb2, convert_i32_u: 0xb3, reinterpret: 0xbe }),
  ...unaries('i64', 'f32', { convert_i64_s: 0xb4, convert_i64_u: 0xb5 }),
  ...unaries('f64', 'f32', { demote: 0xb6 }),
  ...loads('f32', { load: 0x2a }),
}

export const f64 = {
  const: (value: number): F64 => constant('f64', value),
  ...binaries('f64', 'i32', { eq: 0x61, ne: 0x62, lt: 0x63, gt: 0x64, le: 0x65, ge: 0x66 }),
  ...binaries('f64', 'f64', {
    add: 0xa0,
    sub: 0xa1,
    mul: 0xa2,
    div: 0xa3,
    min: 0xa4,
    max: 0xa5,
    copysign: 0xa6,
  }),
  ...unaries('f64', 'f64', { abs: 0x99, neg: 0x9a, nearest: 0x9e, sqrt: 0x9f }),
  ...unaries('i32', 'f64', { convert_i32_s: 0xb7, convert_i32_u: 0xb8 }),
  ...unaries('i64', 'f64', { convert_i64_s: 0xb9, convert_i64_u: 0xba, reinterpret: 0xbf }),
  ...unaries('f32', 'f64', { promote: 0xbb }),
  ...loads('f64', { load: 0x2b }),
}

/** `condition ? whenTrue : whenFalse`, evaluating both. */
export function select<T extends ValueType>(
  condition: Operand<'i32'>,
  whenTrue: Expr<T>,
  whenFalse: Operand<T>,
): Expr<T> {
  return {
    type: whenTrue.type,
    code: whenTrue.code + operand(whenTrue.type, whenFalse).code + operand('i32', condition).code + SELECT,
  }
}

/**
 * a x b + c by the relaxed instruction of SIMD: rounded once or twice, as the engine likes. Whoever uses it has found out
 * which (machine/float/relaxed.ts).
 */
export function relaxedMultiplyAdd<T extends 'f32' | 'f64'>(a: Expr<T>, b: Expr<T>, c: Expr<T>): Expr<T> {
  const [splat, multiplyAdd, lane] =
    a.type === 'f32'
      ? [code(0xfd, 0x13), code(0xfd, 0x85, 0x02), 0x1f]
      : [code(0xfd, 0x14), code(0xfd, 0x87, 0x02), 0x21]
  const values = a.code + splat + b.code + splat + c.code + splat
  return { type: a.type, code: values + multiplyAdd + code(0xfd, lane, 0) }
}

const VALUE_TYPE_BYTE: Record<ValueType, number> = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c }

/** The byte that names a value type in the binary format. */
export function valueTypeByte(type: ValueType): number {
  return VALUE_TYPE_BYTE[type]
}

/** `condition ? whenTrue : whenFalse`, evaluating only one of them. `hint` says which is usual (1: true). */
export function choose<T extends ValueType>(
  condition: Operand<'i32'>,
  whenTrue: Expr<T>,
  whenFalse: Operand<T>,
  hint?: BranchHint,
): Expr<T> {
  const type = whenTrue.type
  const hinted = operand('i32', condition).code + (hint === undefined ? '' : hintCode(hint))
  const paths = whenTrue.code + code(0x05) + operand(type, whenFalse).code + code(0x0b)
  return { type, code: hinted + code(0x04, VALUE_TYPE_BYTE[type]) + paths }
}

/** A bit pattern that may be read as a number: `value != 0` as a condition. */
export function isNonZero(value: I64): I32 {
  return i64.ne(value, 0)
}

/** The instructions that src/wasm can emit, by their opcodes, with what they take from the stack and leave there. */

/** What follows an opcode. */
export type Immediate =
  | 'none'
  | 'local'
  | 'global'
  | 'function'
  | 'indirect'
  | 'label'
  | 'labels'
  | 'block'
  | 'memory'
  | 'i32'
  | 'i64'
  | 'f32'
  | 'f64'
  /** The number of a vector's lane. */
  | 'lane'
  /** Index bytes that are zero: the memory of a fill, the two of a copy. */
  | 'zero'
  | 'zeros'

export interface Opcode {
  readonly name: string
  readonly immediate: Immediate
  /** Values that it takes; of calls, returns and blocks these follow from their types. */
  readonly operands: number
  readonly results: number
}

const opcodes = new Map<number, Opcode>()

/** Instructions with opcodes one behind the other. */
function define(
  first: number,
  [operands, results]: readonly [number, number],
  immediate: Immediate,
  ...names: readonly string[]
): void {
  for (const [index, name] of names.entries())
    opcodes.set(first + index, { name, immediate, operands, results })
}

const UNARY = [1, 1] as const
const BINARY = [2, 1] as const
const STORE = [2, 0] as const
const NOTHING = [0, 0] as const
const VALUE = [0, 1] as const

const prefixed = (type: string, names: string): readonly string[] =>
  names.split(' ').map((name) => `${type}.${name}`)

const COMPARISONS = 'eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u'
const ARITHMETIC = 'add sub mul div_s div_u rem_s rem_u and or xor shl shr_s shr_u rotl rotr'
const FLOAT_COMPARISONS = 'eq ne lt gt le ge'
const FLOAT_ARITHMETIC = 'add sub mul div min max copysign'

define(0x00, NOTHING, 'none', 'unreachable')
define(0x02, NOTHING, 'block', 'block', 'loop')
define(0x04, [1, 0], 'block', 'if')
define(0x05, NOTHING, 'none', 'else')
define(0x0b, NOTHING, 'none', 'end')
define(0x0c, NOTHING, 'label', 'br')
define(0x0d, [1, 0], 'label', 'br_if')
define(0x0e, [1, 0], 'labels', 'br_table')
define(0x0f, NOTHING, 'none', 'return')
define(0x10, NOTHING, 'function', 'call')
define(0x11, NOTHING, 'indirect', 'call_indirect')
define(0x12, NOTHING, 'function', 'return_call')
define(0x13, NOTHING, 'indirect', 'return_call_indirect')
define(0x1a, [1, 0], 'none', 'drop')
define(0x1b, [3, 1], 'none', 'select')
define(0x20, VALUE, 'local', 'local.get')
define(0x21, [1, 0], 'local', 'local.set')
define(0x23, VALUE, 'global', 'global.get')
define(0x24, [1, 0], 'global', 'global.set')
define(0x28, UNARY, 'memory', 'i32.load', 'i64.load', 'f32.load', 'f64.load')
define(0x2c, UNARY, 'memory', ...prefixed('i32', 'load8_s load8_u load16_s load16_u'))
define(0x30, UNARY, 'memory', ...prefixed('i64', 'load8_s load8_u load16_s load16_u load32_s load32_u'))
define(0x36, STORE, 'memory', 'i32.store', 'i64.store', 'f32.store', 'f64.store')
define(0x3a, STORE, 'memory', ...prefixed('i32', 'store8 store16'))
define(0x3c, STORE, 'memory', ...prefixed('i64', 'store8 store16 store32'))
define(0x41, VALUE, 'i32', 'i32.const')
define(0x42, VALUE, 'i64', 'i64.const')
define(0x43, VALUE, 'f32', 'f32.const')
define(0x44, VALUE, 'f64', 'f64.const')
define(0x45, UNARY, 'none', 'i32.eqz')
define(0x46, BINARY, 'none', ...prefixed('i32', COMPARISONS))
define(0x50, UNARY, 'none', 'i64.eqz')
define(0x51, BINARY, 'none', ...prefixed('i64', COMPARISONS))
define(0x5b, BINARY, 'none', ...prefixed('f32', FLOAT_COMPARISONS))
define(0x61, BINARY, 'none', ...prefixed('f64', FLOAT_COMPARISONS))
define(0x67, UNARY, 'none', ...prefixed('i32', 'clz ctz popcnt'))
define(0x6a, BINARY, 'none', ...prefixed('i32', ARITHMETIC))
define(0x79, UNARY, 'none', ...prefixed('i64', 'clz ctz popcnt'))
define(0x7c, BINARY, 'none', ...prefixed('i64', ARITHMETIC))
define(0x8b, UNARY, 'none', ...prefixed('f32', 'abs neg'))
define(0x90, UNARY, 'none', ...prefixed('f32', 'nearest sqrt'))
define(0x92, BINARY, 'none', ...prefixed('f32', FLOAT_ARITHMETIC))
define(0x99, UNARY, 'none', ...prefixed('f64', 'abs neg'))
define(0x9e, UNARY, 'none', ...prefixed('f64', 'nearest sqrt'))
define(0xa0, BINARY, 'none', ...prefixed('f64', FLOAT_ARITHMETIC))
define(0xa7, UNARY, 'none', 'i32.wrap_i64')
define(0xac, UNARY, 'none', ...prefixed('i64', 'extend_i32_s extend_i32_u'))
define(0xb2, UNARY, 'none', ...prefixed('f32', 'convert_i32_s convert_i32_u convert_i64_s convert_i64_u'))
define(0xb6, UNARY, 'none', 'f32.demote_f64')
define(0xb7, UNARY, 'none', ...prefixed('f64', 'convert_i32_s convert_i32_u convert_i64_s convert_i64_u'))
define(0xbb, UNARY, 'none', 'f64.promote_f32')
define(0xbc, UNARY, 'none', 'i32.reinterpret_f32', 'i64.reinterpret_f64')
define(0xbe, UNARY, 'none', 'f32.reinterpret_i32', 'f64.reinterpret_i64')
define(0xc0, UNARY, 'none', ...prefixed('i32', 'extend8_s extend16_s'))
define(0xc2, UNARY, 'none', ...prefixed('i64', 'extend8_s extend16_s extend32_s'))
for (const [first, type] of [
  [0xfc00, 'i32'],
  [0xfc04, 'i64'],
] as const) {
  const names = prefixed(type, 'trunc_sat_f32_s trunc_sat_f32_u trunc_sat_f64_s trunc_sat_f64_u')
  define(first, UNARY, 'none', ...names)
}
define(0xfc0a, [3, 0], 'zeros', 'memory.copy')
define(0xfc0b, [3, 0], 'zero', 'memory.fill')
define(0xfd13, UNARY, 'none', 'f32x4.splat', 'f64x2.splat')
define(0xfd1f, UNARY, 'lane', 'f32x4.extract_lane')
define(0xfd21, UNARY, 'lane', 'f64x2.extract_lane')
define(0xfd00 + 0x105, [3, 1], 'none', 'f32x4.relaxed_madd')
define(0xfd00 + 0x107, [3, 1], 'none', 'f64x2.relaxed_madd')

/** The instruction with this opcode; one with the prefix 0xFC is 0xFC00 + its number, with 0xFD accordingly. Undefined if we never emit it. */
export function opcodeOf(code: number): Opcode | undefined {
  return opcodes.get(code)
}

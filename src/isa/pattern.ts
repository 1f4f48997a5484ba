/**
 * Bit patterns, written as the RISC-V manual writes them in its instruction listings: from the highest bit
 * to the lowest, constant bits as digits, `-` for bits that are ignored, and fields by name:
 *
 *     rd rs1 rs2 rs3         a register number (5 bits)
 *     rd' rs1' rs2'          one of x8..x15 (3 bits)
 *     rd!=0 rd!=0,2          a register number that must not be one of these
 *     imm[12|10:5]           these bits of a sign-extended immediate, in this order
 *     uimm[5:3]              the same, zero-extended; nzimm and nzuimm must not be zero as a whole
 *     rm aq rl               rounding mode (3 bits), acquire and release (1 bit)
 *     shamt5 shamt6 csr fm pred succ zimm   see `aliases`
 */
import { assert } from '../base/assert.ts'
import { UserError } from '../base/errors.ts'

export type FieldName = 'rd' | 'rs1' | 'rs2' | 'rs3' | 'imm' | 'rm' | 'aq' | 'rl'

/** `width` bits at bit `at` of the instruction are the bits of the field's value from bit `to` on. */
interface Piece {
  readonly at: number
  readonly width: number
  readonly to: number
}

export interface Field {
  readonly name: FieldName
  readonly pieces: readonly Piece[]
  /** The highest bit of the value is its sign. */
  readonly signed: boolean
  /** Added to the encoded number: 8 for the registers of the three-bit fields, else 0. */
  readonly bias: number
  /** Values that this field must not have. */
  readonly excluded: readonly number[]
}

export interface Pattern {
  /** Length of the instruction in bits. */
  readonly size: number
  /** A word belongs to the pattern if `(word & mask) >>> 0 === match`, apart from excluded field values. */
  readonly match: number
  readonly mask: number
  readonly fields: readonly Field[]
}

/** Values of an instruction's fields. */
export type FieldValues = { readonly [name in FieldName]?: number }

const aliases: Readonly<Record<string, string>> = {
  shamt5: 'uimm[4:0]',
  shamt6: 'uimm[5:0]',
  csr: 'uimm[11:0]',
  fm: 'uimm[11:8]',
  pred: 'uimm[7:4]',
  succ: 'uimm[3:0]',
  zimm: 'rs1',
}

interface Token {
  readonly width: number
  /** Constant bits, or undefined for a field. */
  readonly bits?: string
  readonly name?: FieldName
  /** Ranges [high, low] of the field's value, in the order of the encoding. */
  readonly ranges: readonly (readonly [number, number])[]
  readonly signed: boolean
  readonly bias: number
  readonly excluded: readonly number[]
}

/** Parses a pattern. A mistake in one is a mistake in our table, so it fails an assertion. */
export function parsePattern(text: string): Pattern {
  const tokens = text.trim().split(/\s+/).map(parseToken)
  const size = tokens.reduce((sum, token) => sum + token.width, 0)
  assert(size === 16 || size === 32, `instruction pattern of ${size} bits: ${text}`)
  let match = 0
  let mask = 0
  let at = size
  const fields = new Map<FieldName, Field>()
  for (const token of tokens) {
    at -= token.width
    if (token.name !== undefined) {
      fields.set(token.name, addPieces(fields.get(token.name), token, token.name, at + token.width))
    } else if (token.bits !== undefined) {
      match |= Number.parseInt(token.bits.replaceAll('-', '0'), 2) << at
      mask |= Number.parseInt(token.bits.replaceAll('0', '1').replaceAll('-', '0'), 2) << at
    }
  }
  return { size, match: match >>> 0, mask: mask >>> 0, fields: [...fields.values()] }
}

function parseToken(text: string): Token {
  const token = aliases[text] ?? text
  const plain = { ranges: [], signed: false, bias: 0, excluded: [] }
  if (/^[01-]+$/.test(token)) return { ...plain, width: token.length, bits: token }
  const immediate = /^(nz)?(u)?imm\[([\d:|]+)\]$/.exec(token)
  if (immediate) {
    const ranges = immediate[3]!.split('|').map(parseRange)
    const width = ranges.reduce((sum, [high, low]) => sum + high - low + 1, 0)
    return { width, name: 'imm', ranges, signed: !immediate[2], bias: 0, excluded: immediate[1] ? [0] : [] }
  }
  const register = /^(rd|rs[123])(')?(?:!=([\d,]+))?$/.exec(token)
  if (register) {
    const width = register[2] ? 3 : 5
    const excluded = register[3]?.split(',').map(Number) ?? []
    const name = register[1] as FieldName
    return { width, name, ranges: [[width - 1, 0]], signed: false, bias: register[2] ? 8 : 0, excluded }
  }
  assert(token === 'rm' || token === 'aq' || token === 'rl', `unknown instruction field: ${token}`)
  const width = token === 'rm' ? 3 : 1
  return { ...plain, width, name: token, ranges: [[width - 1, 0]] }
}

function parseRange(text: string): readonly [number, number] {
  const [high, low = high] = text.split(':').map(Number)
  assert(high !== undefined && low !== undefined && high >= low, `bad bit range: ${text}`)
  return [high, low]
}

function addPieces(known: Field | undefined, token: Token, name: FieldName, end: number): Field {
  const pieces = [...(known?.pieces ?? [])]
  let at = end
  for (const [high, low] of token.ranges) {
    const width = high - low + 1
    at -= width
    pieces.push({ at, width, to: low })
  }
  return { name, pieces, signed: token.signed, bias: token.bias, excluded: token.excluded }
}

/** The value of `field` in an instruction `word`; signed fields are sign-extended. */
export function extractField(field: Field, word: number): number {
  let value = 0
  let width = 0
  for (const piece of field.pieces) {
    value |= ((word >>> piece.at) & ((1 << piece.width) - 1)) << piece.to
    width = Math.max(width, piece.to + piece.width)
  }
  return field.signed ? (value << (32 - width)) >> (32 - width) : value + field.bias
}

/** Whether `word` is an instruction of this pattern. */
export function matches(pattern: Pattern, word: number): boolean {
  if ((word & pattern.mask) >>> 0 !== pattern.match) return false
  return pattern.fields.every((field) => !field.excluded.includes(extractField(field, word)))
}

/**
 * The instruction of `pattern` with these field values. Fields that are not given are zero (x8 for three-bit
 * registers). Throws UserError, naming the instruction as `name`, for a value that the field cannot hold.
 */
export function encodePattern(pattern: Pattern, name: string, values: FieldValues): number {
  let word = pattern.match
  for (const field of pattern.fields) {
    const value = values[field.name] ?? field.bias
    for (const piece of field.pieces) {
      word |= (((value - field.bias) >> piece.to) & ((1 << piece.width) - 1)) << piece.at
    }
    if (extractField(field, word) !== value || field.excluded.includes(value)) {
      throw new UserError(`${name}: ${field.name} cannot be ${value}`)
    }
  }
  return word >>> 0
}

/**
 * Asserts that no two lines of a table have one name, or encodings in common. `overlaps` lists the
 * exceptions as `first second`: there the first, standing earlier, wins.
 */
export function assertDisjoint(
  lines: readonly { readonly name: string; readonly pattern: Pattern }[],
  overlaps: ReadonlySet<string>,
): void {
  for (const [index, right] of lines.entries()) {
    for (const left of lines.slice(0, index)) {
      assert(left.name !== right.name, `two instructions are named ${left.name}`)
      const clash = overlap(left.pattern, right.pattern) && !overlaps.has(`${left.name} ${right.name}`)
      assert(!clash, `the encodings of ${left.name} and ${right.name} overlap`)
    }
  }
}

/** Whether some word belongs to both patterns, as far as their constant bits and excluded values tell. */
function overlap(left: Pattern, right: Pattern): boolean {
  if (((left.match ^ right.match) & left.mask & right.mask) !== 0) return false
  return !excludes(left, right) && !excludes(right, left)
}

/** Whether `other` fixes a field of `pattern` to an excluded value. */
function excludes(pattern: Pattern, other: Pattern): boolean {
  return pattern.fields.some((field) => {
    const fixed = field.pieces.every(({ at, width }) => {
      const bits = ((1 << width) - 1) << at
      return (other.mask & bits) === bits
    })
    return fixed && field.excluded.includes(extractField(field, other.match))
  })
}

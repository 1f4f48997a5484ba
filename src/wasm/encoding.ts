/**
 * The byte level of WebAssembly: LEB128 numbers, and *code*, which is text until the function that it belongs to is
 * finished. The engine concatenates text without copying it, and copies it once at the end: composing expressions is
 * most of what a translator does.
 */
import { assert } from '../base/assert.ts'
import { encodeAscii } from '../base/text.ts'

/** Instructions: a character for each byte; two characters above them are hints on the branch that follows, those above that are holes. */
export type Code = string

/** Says that the condition of the `if` or `br_if` that follows is usually false (0) or true (1). */
export type BranchHint = 0 | 1

const HINT_BASE = 0x100
const HINTS: readonly Code[] = [0, 1].map((hint) => String.fromCharCode(HINT_BASE + hint))

export function hintCode(hint: BranchHint): Code {
  return HINTS[hint]!
}

const HOLE_BASE = 0x200
const HOLES = /[\u0200-\u02ff]/g

/** A number that is not known yet: from 0 to 255. */
export function hole(number: number): Code {
  assert(number >= 0 && number < 0x100, () => `no hole has the number ${number}`)
  return String.fromCharCode(HOLE_BASE + number)
}

/** The code with what each hole is to be in its place. */
export function fillHoles(text: Code, fill: (number: number) => Code): Code {
  return text.replace(HOLES, (character) => fill(character.charCodeAt(0) - HOLE_BASE))
}

/** The bytes as code. */
export function code(...bytes: number[]): Code {
  return String.fromCharCode(...bytes)
}

/** A growing byte buffer. */
export class ByteSink {
  #bytes = new Uint8Array(256)
  length = 0

  byte(value: number): void {
    if (this.length === this.#bytes.length) this.#grow(1)
    this.#bytes[this.length++] = value
  }

  bytes(values: Uint8Array): void {
    if (this.length + values.length > this.#bytes.length) this.#grow(values.length)
    this.#bytes.set(values, this.length)
    this.length += values.length
  }

  /** Appends code, and collects the hints in it with their offsets in the sink. */
  code(text: Code, hints?: PlacedHint[]): void {
    if (this.length + text.length > this.#bytes.length) this.#grow(text.length)
    const bytes = this.#bytes
    let { length } = this
    for (let i = 0; i < text.length; i++) {
      const value = text.charCodeAt(i)
      if (value < HINT_BASE) bytes[length++] = value
      else hints!.push({ offset: length, hint: (value - HINT_BASE) as BranchHint })
    }
    this.length = length
  }

  unsigned(value: number): void {
    this.code(unsignedLeb(value))
  }

  /** A vector of bytes, as names are written. */
  name(value: string): void {
    this.code(nameCode(value))
  }

  /** What was written, as a view that later writes may invalidate. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.length)
  }

  #grow(count: number): void {
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.length + count))
    grown.set(this.#bytes)
    this.#bytes = grown
  }
}

/** A name, with its length before it. */
export function nameCode(value: string): Code {
  const encoded = encodeAscii(value)
  return unsignedLeb(encoded.length) + code(...encoded)
}

/** Single bytes as code: nearly all numbers are small. */
const BYTES: readonly Code[] = Array.from({ length: 0x100 }, (_, byte) => String.fromCharCode(byte))

/** LEB128 of an unsigned integer below 2^53. */
export function unsignedLeb(value: number): Code {
  assert(Number.isSafeInteger(value) && value >= 0, () => `not an unsigned integer: ${value}`)
  if (value < 0x80) return BYTES[value]!
  return BYTES[(value % 0x80) | 0x80]! + unsignedLeb(Math.floor(value / 0x80))
}

/** LEB128 of a signed 32-bit integer. */
export function signedLeb32(value: number): Code {
  const byte = value & 0x7f
  const rest = (value | 0) >> 7
  const isLast = (rest === 0 && (byte & 0x40) === 0) || (rest === -1 && (byte & 0x40) !== 0)
  return isLast ? BYTES[byte]! : BYTES[byte | 0x80]! + signedLeb32(rest)
}

/** LEB128 of a signed 64-bit integer. */
export function signedLeb64(value: number | bigint): Code {
  if (typeof value === 'number' && (value | 0) === value) return signedLeb32(value)
  const whole = BigInt.asIntN(64, BigInt(value))
  const byte = Number(whole & 0x7fn)
  const rest = whole >> 7n
  const isLast = (rest === 0n && (byte & 0x40) === 0) || (rest === -1n && (byte & 0x40) !== 0)
  return isLast ? BYTES[byte]! : BYTES[byte | 0x80]! + signedLeb64(rest)
}

/** Where in a function's body a hinted branch stands. */
export interface PlacedHint {
  readonly offset: number
  readonly hint: BranchHint
}

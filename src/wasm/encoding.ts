/**
 * The byte level of WebAssembly: LEB128 numbers and *code*, a tree of bytes that is flattened once, when the function
 * that it belongs to is finished. A tree makes composing expressions cheap and keeps branch hints at their instruction.
 */
import { assert } from '../base/assert.ts'
import { encodeAscii } from '../base/text.ts'

/** Says that the condition of the `if` or `br_if` that follows is usually false (0) or true (1). */
export interface BranchHint {
  readonly hint: 0 | 1
}

/** Instructions as a tree: a byte, a sequence, or a hint on the next instruction. */
export type Code = number | BranchHint | readonly Code[]

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

  unsigned(value: number): void {
    for (const byte of unsignedLeb(value)) this.byte(byte)
  }

  /** A vector of bytes, as names are written. */
  name(value: string): void {
    const encoded = encodeAscii(value)
    this.unsigned(encoded.length)
    this.bytes(encoded)
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

/** LEB128 of an unsigned integer below 2^53. */
export function unsignedLeb(value: number): number[] {
  assert(Number.isSafeInteger(value) && value >= 0, `not an unsigned integer: ${value}`)
  const bytes: number[] = []
  let rest = value
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) | 0x80)
    rest = Math.floor(rest / 0x80)
  }
  bytes.push(rest)
  return bytes
}

/** LEB128 of a signed 32-bit integer. */
export function signedLeb32(value: number): number[] {
  const bytes: number[] = []
  let rest = value | 0
  for (;;) {
    const byte = rest & 0x7f
    rest >>= 7
    if ((rest === 0 && (byte & 0x40) === 0) || (rest === -1 && (byte & 0x40) !== 0)) {
      bytes.push(byte)
      return bytes
    }
    bytes.push(byte | 0x80)
  }
}

/** LEB128 of a signed 64-bit integer. */
export function signedLeb64(value: bigint): number[] {
  const bytes: number[] = []
  let rest = BigInt.asIntN(64, value)
  for (;;) {
    const byte = Number(rest & 0x7fn)
    rest >>= 7n
    if ((rest === 0n && (byte & 0x40) === 0) || (rest === -1n && (byte & 0x40) !== 0)) {
      bytes.push(byte)
      return bytes
    }
    bytes.push(byte | 0x80)
  }
}

/** Where in a function's body a hinted branch stands. */
export interface PlacedHint {
  readonly offset: number
  readonly hint: 0 | 1
}

const isSequence: (code: BranchHint | readonly Code[]) => code is readonly Code[] = Array.isArray

/** Appends `code` to `sink` and collects the hints with their byte offsets in the sink. */
export function flatten(code: Code, sink: ByteSink, hints: PlacedHint[]): void {
  if (typeof code === 'number') return sink.byte(code)
  if (!isSequence(code)) return void hints.push({ offset: sink.length, hint: code.hint })
  // The bytes of a sequence are written here: most parts are bytes, and a call for each is most of the work.
  for (let i = 0; i < code.length; i++) {
    const part = code[i]!
    if (typeof part === 'number') sink.byte(part)
    else flatten(part, sink, hints)
  }
}

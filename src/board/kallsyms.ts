/**
 * Finds Linux's own table of its symbols in its memory: scripts/kallsyms.c, CONFIG_KALLSYMS with a base that all addresses
 * are relative to, as all 64-bit kernels but x86's have it from 6.4 on:
 *
 *     num_syms       u32
 *     names          for each symbol its length (LEB128 of one or two bytes) and so many bytes, each a token
 *     markers        u32 each: where every 256th name begins
 *     token_table    256 pieces of text, each with a NUL behind it
 *     token_index    u16 each: where they begin
 *     offsets        u32 for each symbol
 *     relative_base  u64
 *
 * Each part is aligned to eight bytes. The tables of tokens are what can be told from anything else: no symbol needs all byte
 * values, so the digits stand for themselves, one behind the other, and the index has to say what the table says.
 * A name's first letter is the symbol's type, as `nm` has it.
 *
 * A guest can write such a table itself: how long a search takes, and what comes out of it, are bounded.
 */
import { decodeAscii } from '../base/text.ts'

export interface KernelSymbol {
  readonly address: bigint
  /** As of `nm`: t, T, w and W are code. */
  readonly type: string
  readonly name: string
}

const TOKENS = 256
const DIGITS = [...'0123456789'].flatMap((digit) => [digit.charCodeAt(0), 0])
const FIRST_DIGIT = '0'.charCodeAt(0)
/** A token is a piece of a name, which has up to 512 bytes. */
const TOKEN_BYTES_MAX = 512
const NAMES_PER_MARKER = 256
/** KSYM_NAME_LEN: no name has more characters, nor more tokens. */
const NAME_LENGTH_MAX = 512
/** Of all names; a kernel's have some three million. */
const CHARACTERS_MAX = 50_000_000
/** So many places that look like digits are looked at more closely. */
const CANDIDATES_MAX = 1000
/** Ten times what a kernel has. */
const SYMBOLS_MAX = 1_000_000

const aligned = (offset: number): number => Math.ceil(offset / 8) * 8

/** Where the two tables of tokens are. */
interface Tokens {
  readonly start: number
  readonly texts: readonly string[]
  /** Behind the index. */
  readonly end: number
}

/** The names, decoded, and how many there are. */
interface Names {
  readonly start: number
  readonly count: number
}

/**
 * The symbols of the kernel whose memory, or a part that begins with it, `memory` is, in the kernel's order: by address.
 * Empty if there is no such table, or one of another layout.
 */
export function readKallsyms(memory: Uint8Array): KernelSymbol[] {
  const view = new DataView(memory.buffer, memory.byteOffset, memory.byteLength)
  let candidates = 0
  for (let digits = findDigits(memory, 0); digits >= 0; digits = findDigits(memory, digits + 1)) {
    if (++candidates > CANDIDATES_MAX) return []
    const tokens = readTokens(view, digits)
    const names = tokens === undefined ? undefined : findNames(view, tokens.start)
    if (tokens !== undefined && names !== undefined) return readSymbols(view, tokens, names)
  }
  return []
}

function findDigits(memory: Uint8Array, from: number): number {
  for (let at = memory.indexOf(FIRST_DIGIT, from); at >= 0; at = memory.indexOf(FIRST_DIGIT, at + 1))
    if (DIGITS.every((byte, index) => memory[at + index] === byte)) return at
  return -1
}

/** The tables of tokens around the digit 0; undefined if they are none. */
function readTokens(view: DataView, digits: number): Tokens | undefined {
  const start = tokensBefore(view, digits)
  if (start === undefined || start % 8 !== 0) return undefined
  const texts: string[] = []
  const begins: number[] = []
  let at = start
  while (texts.length < TOKENS) {
    const end = terminator(view, at)
    if (end === undefined) return undefined
    begins.push(at - start)
    texts.push(decodeAscii(bytesOf(view, at, end)))
    at = end + 1
  }
  const index = aligned(at)
  const end = index + TOKENS * 2
  if (end > view.byteLength) return undefined
  const isIndex = begins.every((begin, token) => view.getUint16(index + token * 2, true) === begin)
  return isIndex ? { start, texts, end } : undefined
}

/** Where the table begins in which as many tokens as the code of the digit 0 are before it. */
function tokensBefore(view: DataView, digits: number): number | undefined {
  let at = digits
  for (let token = 0; token < FIRST_DIGIT; token++) {
    const end = at - 1
    at = end
    while (at > 0 && view.getUint8(at - 1) !== 0) at--
    if (at <= 0 || end - at > TOKEN_BYTES_MAX) return undefined
  }
  return at
}

function terminator(view: DataView, start: number): number | undefined {
  const limit = Math.min(view.byteLength, start + TOKEN_BYTES_MAX)
  for (let at = start; at < limit; at++) if (view.getUint8(at) === 0) return at
  return undefined
}

function bytesOf(view: DataView, start: number, end: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + start, end - start)
}

/** The names whose markers end before `tokens`. */
function findNames(view: DataView, tokens: number): Names | undefined {
  // An odd number of markers has four bytes of nothing behind it, which may look like one more.
  for (const end of [tokens, tokens - 4]) {
    const markers = readMarkersBefore(view, end)
    if (markers === undefined) continue
    const { start, list } = markers
    const last = start - list.at(-1)!
    const least = Math.max(8, last - NAMES_PER_MARKER * NAME_LENGTH_MAX)
    for (let names = last - (last % 8); names >= least; names -= 8) {
      const count = view.getUint32(names - 8, true)
      if (count > SYMBOLS_MAX || Math.ceil(count / NAMES_PER_MARKER) !== list.length) continue
      if (areNames(view, { start: names, count }, markers)) return { start: names, count }
    }
  }
  return undefined
}

interface Markers {
  readonly start: number
  readonly list: readonly number[]
}

/** Markers rise from zero. */
function readMarkersBefore(view: DataView, end: number): Markers | undefined {
  const list: number[] = []
  for (let at = end - 4; at >= 0 && list.length <= SYMBOLS_MAX / NAMES_PER_MARKER; at -= 4) {
    const marker = view.getUint32(at, true)
    if (list.length > 0 && marker >= list.at(-1)!) return undefined
    list.push(marker)
    if (marker === 0) return at % 8 === 0 ? { start: at, list: list.reverse() } : undefined
  }
  return undefined
}

/** Whether the names are where the markers say, and end where these begin. */
function areNames(view: DataView, { start, count }: Names, markers: Markers): boolean {
  let at = start
  for (let index = 0; index < count; index++) {
    const isMarked = index % NAMES_PER_MARKER === 0
    if (isMarked && at - start !== markers.list[index / NAMES_PER_MARKER]) return false
    if (at + 2 > markers.start) return false
    const { bytes, length } = lengthAt(view, at)
    if (length === 0 || length > NAME_LENGTH_MAX) return false
    at += bytes + length
  }
  return aligned(at) === markers.start
}

/** The length of a name, and in how many bytes it is written. */
function lengthAt(view: DataView, at: number): { bytes: number; length: number } {
  const first = view.getUint8(at)
  if (first < 0x80) return { bytes: 1, length: first }
  return { bytes: 2, length: (first & 0x7f) | (view.getUint8(at + 1) << 7) }
}

function readSymbols(view: DataView, tokens: Tokens, { start, count }: Names): KernelSymbol[] {
  const offsets = aligned(tokens.end)
  const base = aligned(offsets + count * 4)
  if (base + 8 > view.byteLength) return []
  const relativeBase = view.getBigUint64(base, true)
  const symbols: KernelSymbol[] = []
  let at = start
  let characters = 0
  for (let index = 0; index < count; index++) {
    const { bytes, length } = lengthAt(view, at)
    at += bytes
    let text = ''
    for (const token of bytesOf(view, at, at + length)) text += tokens.texts[token]
    at += length
    characters += text.length
    if (text.length > NAME_LENGTH_MAX || characters > CHARACTERS_MAX || !isPrintable(text)) return []
    const address = BigInt.asUintN(64, relativeBase + BigInt(view.getUint32(offsets + index * 4, true)))
    symbols.push({ address, type: text.slice(0, 1), name: text.slice(1) })
  }
  return symbols
}

const isPrintable = (text: string): boolean => /^[!-~]*$/.test(text)

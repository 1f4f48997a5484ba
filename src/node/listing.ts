/**
 * The listing of a program's machine code, in the manner of objdump:
 *
 *     0000000080000000 <_start>:
 *         80000000:	00100513	addi	a0,zero,1
 *         80000004:	00000097	jal	ra,0x80000040 <main+0x8>
 */
import { type ElfCode, type ElfFile, type ElfSymbol, readElf } from '../board/elf.ts'
import { compressedInstructions } from '../isa/compressed.ts'
import { disassemble } from '../isa/disassemble.ts'
import { instructions } from '../isa/instructions.ts'
import { readInputFile } from './files.ts'

/** Padding of this many zeros is shown as one line, as nobody wants to read it. */
const ZERO_BYTES_MIN = 8
const ADDRESS_DIGITS = 16

/** Instructions whose last operand is an address in the program. */
const withTarget = new Set(
  [...instructions, ...compressedInstructions]
    .filter(({ operands }) => /\btarget$/.test(operands))
    .map(({ name }) => name),
)

/** The lines of the listing of the ELF file at `path`. Throws UserError or FormatError if it cannot be read. */
export function* listProgram(path: string): Generator<string> {
  const elf = readElf(readInputFile(path), path)
  const symbols = new SymbolTable(elf)
  yield `${path}: RV64, ${elf.kind}, entry 0x${elf.entry.toString(16)}`
  for (const code of elf.code) {
    yield ''
    yield `Disassembly of ${code.name}:`
    yield* listCode(code, symbols)
  }
}

function* listCode({ address, bytes }: ElfCode, symbols: SymbolTable): Generator<string> {
  for (let offset = 0; offset < bytes.length; ) {
    const at = BigInt.asUintN(64, address + BigInt(offset))
    const names = symbols.at(at)
    if (names.length > 0 || offset === 0) yield ''
    for (const name of names) yield `${at.toString(16).padStart(ADDRESS_DIGITS, '0')} <${name}>:`
    const zeros = zerosAt(bytes, offset, address, symbols)
    if (zeros >= ZERO_BYTES_MIN) {
      yield `\t... ${zeros} bytes of zeros`
      offset += zeros
      continue
    }
    const word = wordAt(bytes, offset)
    const length = Math.min((word & 3) === 3 ? 4 : 2, bytes.length - offset)
    yield `${at.toString(16).padStart(12)}:\t${wordText(word, length)}\t${symbols.annotate(disassembleAt(word, length, at))}`
    offset += length
  }
}

/** The word at `offset`; bytes beyond the end read as zeros. */
function wordAt(bytes: Uint8Array, offset: number): number {
  const byte = (index: number): number => bytes[offset + index] ?? 0
  return byte(0) | (byte(1) << 8) | (byte(2) << 16) | (byte(3) << 24)
}

function wordText(word: number, length: number): string {
  const digits =
    length === 4 ? (word >>> 0).toString(16) : (word & (length === 2 ? 0xffff : 0xff)).toString(16)
  return digits.padStart(2 * length, '0').padEnd(8)
}

/** What the end of a section cuts off is no instruction. */
function disassembleAt(word: number, length: number, at: bigint): string {
  if (length === 4 || (length === 2 && (word & 3) !== 3)) return disassemble(word, at)
  return length === 1 ? `.byte 0x${(word & 0xff).toString(16)}` : `.2byte 0x${(word & 0xffff).toString(16)}`
}

/** How many zeros there are from `offset` to the next symbol, in whole halfwords. */
function zerosAt(bytes: Uint8Array, offset: number, address: bigint, symbols: SymbolTable): number {
  let end = offset
  while (end < bytes.length && bytes[end] === 0) {
    if (end > offset && symbols.at(address + BigInt(end)).length > 0) break
    end++
  }
  const isAtEnd = end === bytes.length
  return isAtEnd ? end - offset : (end - offset) & ~1
}

/** Names by address, and the nearest name below an address. */
class SymbolTable {
  readonly #names = new Map<bigint, string[]>()
  readonly #addresses: bigint[]

  constructor(elf: ElfFile) {
    const listed = elf.symbols.filter((symbol) => isInCode(elf, symbol) && !symbol.name.startsWith('.L'))
    // The name that others know comes first: annotations use it.
    for (const { address, name } of listed.sort((left, right) => rank(left) - rank(right))) {
      this.#names.set(address, [...(this.#names.get(address) ?? []), name])
    }
    this.#addresses = [...this.#names.keys()].sort((left, right) => (left < right ? -1 : 1))
  }

  at(address: bigint): readonly string[] {
    return this.#names.get(address) ?? []
  }

  /** Tabulates an instruction, and adds the symbol of its target. */
  annotate(text: string): string {
    const space = text.indexOf(' ')
    if (space < 0) return text
    const name = text.slice(0, space)
    const operands = text.slice(space + 1)
    const target = withTarget.has(name) ? /0x([0-9a-f]+)$/.exec(operands) : null
    const place = target ? this.#describe(BigInt(target[0])) : undefined
    return `${name}\t${operands}${place === undefined ? '' : ` <${place}>`}`
  }

  #describe(address: bigint): string | undefined {
    let [low, high] = [0, this.#addresses.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#addresses[middle]! <= address) low = middle + 1
      else high = middle
    }
    const base = this.#addresses[low - 1]
    if (base === undefined) return undefined
    const distance = address - base
    return `${this.at(base)[0]}${distance === 0n ? '' : `+0x${distance.toString(16)}`}`
  }
}

function isInCode(elf: ElfFile, { address }: ElfSymbol): boolean {
  return elf.code.some(
    (code) => address >= code.address && address < code.address + BigInt(code.bytes.length),
  )
}

function rank({ isFunction, isGlobal }: ElfSymbol): number {
  return (isGlobal ? 0 : 2) + (isFunction ? 0 : 1)
}

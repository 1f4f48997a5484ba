/**
 * Reader of RV64 ELF files: what to load where, where to start, and what the symbols are.
 *
 * The file comes from outside. Every offset and length is checked before it is followed, and whatever is wrong
 * becomes a FormatError that names the file, the part and the place. Sources: System V ABI (ELF-64), and the RISC-V
 * ELF psABI.
 *
 *     header ── program headers ── segments: bytes for memory
 *        └───── section headers ── code sections, symbol table ── names
 *
 * Addresses are bigints, since virtual ones fill 64 bits, but for the physical addresses of segments: these must be
 * below 2^53, far above what any board has.
 */
import { FormatError, UserError } from '../base/errors.ts'
import { decodeAscii } from '../base/text.ts'
import type { GuestMemory } from '../machine/device.ts'

/** Bytes for memory: `bytes`, followed by zeros up to `memoryBytes`. */
export interface ElfSegment {
  /** Guest physical. */
  readonly address: number
  readonly bytes: Uint8Array
  readonly memoryBytes: number
}

/** A stretch of machine code, for the disassembler: a section, or a segment of a file without sections. */
export interface ElfCode {
  readonly name: string
  readonly address: bigint
  readonly bytes: Uint8Array
}

export interface ElfSymbol {
  readonly name: string
  readonly address: bigint
  readonly isFunction: boolean
  /** Seen by other files; a local symbol may have the name of another one. */
  readonly isGlobal: boolean
}

export interface ElfFile {
  /** `shared` is position-independent: a library, or a program that its interpreter places. */
  readonly kind: 'executable' | 'shared'
  readonly entry: bigint
  readonly segments: readonly ElfSegment[]
  readonly code: readonly ElfCode[]
  readonly symbols: readonly ElfSymbol[]
}

const HEADER_BYTES = 64
const PROGRAM_HEADER_BYTES = 56
const SECTION_HEADER_BYTES = 64
const SYMBOL_BYTES = 24

const CLASS_64 = 2
const DATA_LITTLE_ENDIAN = 1
const MACHINE_RISCV = 243
const TYPE_EXECUTABLE = 2
const TYPE_SHARED = 3

const SEGMENT_LOAD = 1
const SEGMENT_FLAG_EXECUTE = 1

const SECTION_PROGRAM_BITS = 1
const SECTION_SYMBOLS = 2
const SECTION_STRINGS = 3
const SECTION_FLAG_EXECUTE = 4n
/** From here on section numbers have other meanings; files with more sections keep their count elsewhere. */
const SECTION_RESERVED = 0xff00

const SYMBOL_LOCAL = 0
const SYMBOL_TYPE_FUNCTION = 2
/** Sections and source files have symbols of their own, which name no place in the program. */
const SYMBOL_TYPES_NAMELESS = [3, 4]
/** `$x` and `$d` tell code from data (ELF psABI, mapping symbols). */
const MAPPING_SYMBOL = /^\$[xd]/

/**
 * Reads an executable or a shared object for RV64, little-endian.
 * @param name what messages call the file, such as its path
 * @throws FormatError for anything else, and for damage
 */
export function readElf(bytes: Uint8Array, name: string): ElfFile {
  const input = new ElfInput(bytes, name)
  const kind = readKind(input)
  const programs = readProgramHeaders(input)
  const sections = readSectionHeaders(input)
  const codeSections = sections.filter((section) => section.isCode)
  return {
    kind,
    entry: input.u64(24),
    segments: programs.map(({ address, bytes, memoryBytes }) => ({ address, bytes, memoryBytes })),
    code: (codeSections.length > 0 ? codeSections : programs.filter((program) => program.isCode)).map(
      ({ name, virtualAddress, bytes }) => ({ name, address: virtualAddress, bytes }),
    ),
    symbols: readSymbols(input, sections),
  }
}

/** The address of the symbol `name`; a global one comes before local ones. */
export function symbolAddress(elf: ElfFile, name: string): bigint | undefined {
  const found = elf.symbols.filter((symbol) => symbol.name === name)
  return (found.find((symbol) => symbol.isGlobal) ?? found[0])?.address
}

/**
 * Puts the segments of `elf` into a memory that holds only zeros so far. Empty ones may be anywhere: linker scripts
 * leave such where a section has nothing in it.
 * @throws UserError, before anything is written, if one does not fit into RAM
 */
export function loadSegments(elf: ElfFile, memory: GuestMemory, name: string): void {
  const segments = elf.segments.filter(({ memoryBytes }) => memoryBytes > 0)
  for (const { address, memoryBytes } of segments) {
    if (memory.contains(address, memoryBytes)) continue
    throw new UserError(
      `${name}: ${memoryBytes} bytes at ${hex(BigInt(address))} are outside the RAM; link it to the RAM's addresses`,
    )
  }
  for (const { address, bytes } of segments) memory.write(address, bytes)
}

/** The bytes of a file with checked access to them. */
class ElfInput {
  readonly bytes: Uint8Array
  readonly #name: string
  readonly #view: DataView

  constructor(bytes: Uint8Array, name: string) {
    this.bytes = bytes
    this.#name = name
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  u8(offset: number): number {
    return this.#view.getUint8(offset)
  }

  u16(offset: number): number {
    return this.#view.getUint16(offset, true)
  }

  u32(offset: number): number {
    return this.#view.getUint32(offset, true)
  }

  u64(offset: number): bigint {
    return this.#view.getBigUint64(offset, true)
  }

  /** The `length` bytes at `offset`, which the file claims to have. */
  range(offset: bigint, length: bigint, what: string): Uint8Array {
    if (offset + length > BigInt(this.bytes.length)) {
      throw this.error(`${what} lies outside the file: ${length} bytes at ${offset} of ${this.bytes.length}`)
    }
    return this.bytes.subarray(Number(offset), Number(offset + length))
  }

  /** Where each of `count` entries of a table starts. */
  table(offset: bigint, count: number, entryBytes: number, what: string): number[] {
    this.range(offset, BigInt(count) * BigInt(entryBytes), what)
    return Array.from({ length: count }, (_, index) => Number(offset) + index * entryBytes)
  }

  error(what: string): FormatError {
    return new FormatError(`${this.#name}: ${what}`)
  }
}

function readKind(input: ElfInput): ElfFile['kind'] {
  if (decodeAscii(input.bytes.subarray(0, 4)) !== '\x7fELF') {
    throw input.error('not an ELF file (it does not begin with 7f 45 4c 46)')
  }
  input.range(0n, BigInt(HEADER_BYTES), 'the ELF header')
  if (input.u8(4) !== CLASS_64) throw input.error('not a 64-bit ELF file; this machine is RV64')
  if (input.u8(5) !== DATA_LITTLE_ENDIAN) throw input.error('not a little-endian ELF file')
  const machine = input.u16(18)
  if (machine !== MACHINE_RISCV) {
    throw input.error(`made for machine ${machine}, not for RISC-V (${MACHINE_RISCV})`)
  }
  const type = input.u16(16)
  if (type === TYPE_EXECUTABLE) return 'executable'
  if (type === TYPE_SHARED) return 'shared'
  throw input.error(`ELF type ${type}: neither an executable (2) nor a shared object (3); link it first`)
}

interface ProgramHeader extends ElfSegment {
  readonly name: string
  readonly virtualAddress: bigint
  readonly isCode: boolean
}

function readProgramHeaders(input: ElfInput): ProgramHeader[] {
  const count = input.u16(56)
  if (count === 0) return []
  checkEntryBytes(input, 54, PROGRAM_HEADER_BYTES, 'program headers')
  return input
    .table(input.u64(32), count, PROGRAM_HEADER_BYTES, 'the table of program headers')
    .flatMap((start, index) => (input.u32(start) === SEGMENT_LOAD ? [readSegment(input, start, index)] : []))
}

function readSegment(input: ElfInput, start: number, index: number): ProgramHeader {
  const name = `segment ${index}`
  const address = input.u64(start + 24)
  const fileBytes = input.u64(start + 32)
  const memoryBytes = input.u64(start + 40)
  const bytes = input.range(input.u64(start + 8), fileBytes, name)
  if (fileBytes > memoryBytes) {
    throw input.error(`${name} has ${fileBytes} bytes in the file but ${memoryBytes} in memory`)
  }
  if (address + memoryBytes > Number.MAX_SAFE_INTEGER) {
    throw input.error(`${name} ends beyond any physical memory: ${memoryBytes} bytes at ${hex(address)}`)
  }
  return {
    name,
    address: Number(address),
    virtualAddress: input.u64(start + 16),
    bytes,
    memoryBytes: Number(memoryBytes),
    isCode: (input.u32(start + 4) & SEGMENT_FLAG_EXECUTE) !== 0,
  }
}

interface Section {
  readonly name: string
  readonly type: number
  readonly virtualAddress: bigint
  /** Empty where the section takes no room in the file. */
  readonly bytes: Uint8Array
  readonly offset: bigint
  readonly link: number
  readonly entryBytes: bigint
  readonly isCode: boolean
}

function readSectionHeaders(input: ElfInput): Section[] {
  const offset = input.u64(40)
  if (offset === 0n) return []
  checkEntryBytes(input, 58, SECTION_HEADER_BYTES, 'section headers')
  const count = input.u16(60)
  if (count === 0 || count >= SECTION_RESERVED) {
    throw input.error(`${count} sections: at least 1 and fewer than ${SECTION_RESERVED} are supported`)
  }
  const starts = input.table(offset, count, SECTION_HEADER_BYTES, 'the table of section headers')
  const names = sectionNames(input, starts)
  return starts.map((start, index) => readSection(input, start, `section ${index}`, names))
}

function checkEntryBytes(input: ElfInput, offset: number, expected: number, what: string): void {
  const found = input.u16(offset)
  if (found !== expected) throw input.error(`${what} of ${found} bytes each, not ${expected}`)
}

function sectionNames(input: ElfInput, starts: readonly number[]): Uint8Array {
  const index = input.u16(62)
  if (index === 0) return new Uint8Array(1)
  const start = starts[index]
  if (start === undefined || input.u32(start + 4) !== SECTION_STRINGS) {
    throw input.error(`the names of sections should be in section ${index}, which is not a string table`)
  }
  return input.range(input.u64(start + 24), input.u64(start + 32), 'the names of sections')
}

function readSection(input: ElfInput, start: number, what: string, names: Uint8Array): Section {
  const type = input.u32(start + 4)
  const offset = input.u64(start + 24)
  const stored = type === SECTION_PROGRAM_BITS || type === SECTION_SYMBOLS || type === SECTION_STRINGS
  return {
    name: textAt(input, names, input.u32(start), `the name of ${what}`),
    type,
    virtualAddress: input.u64(start + 16),
    bytes: stored ? input.range(offset, input.u64(start + 32), what) : new Uint8Array(0),
    offset,
    link: input.u32(start + 40),
    entryBytes: input.u64(start + 56),
    isCode: type === SECTION_PROGRAM_BITS && (input.u64(start + 8) & SECTION_FLAG_EXECUTE) !== 0n,
  }
}

/** The NUL-terminated text at `offset` of a string table. */
function textAt(input: ElfInput, table: Uint8Array, offset: number, what: string): string {
  const end = table.indexOf(0, offset)
  if (offset >= table.length || end < 0) {
    throw input.error(`${what} is not in its string table: offset ${offset} of ${table.length}`)
  }
  return decodeAscii(table.subarray(offset, end))
}

function readSymbols(input: ElfInput, sections: readonly Section[]): ElfSymbol[] {
  const table = sections.find((section) => section.type === SECTION_SYMBOLS)
  if (!table) return []
  if (table.entryBytes !== BigInt(SYMBOL_BYTES) || table.bytes.length % SYMBOL_BYTES !== 0) {
    throw input.error(
      `the symbol table has ${table.bytes.length} bytes in entries of ${table.entryBytes}, not of ${SYMBOL_BYTES}`,
    )
  }
  const names = sections[table.link]
  if (names?.type !== SECTION_STRINGS) {
    throw input.error(`the names of symbols should be in section ${table.link}, which is not a string table`)
  }
  const count = table.bytes.length / SYMBOL_BYTES
  return input
    .table(table.offset, count, SYMBOL_BYTES, 'the symbol table')
    .flatMap((start, index) => readSymbol(input, start, index, names.bytes))
}

function readSymbol(input: ElfInput, start: number, index: number, names: Uint8Array): ElfSymbol[] {
  const info = input.u8(start + 4)
  const type = info & 0xf
  const isDefined = input.u16(start + 6) !== 0
  const name = textAt(input, names, input.u32(start), `the name of symbol ${index}`)
  if (!isDefined || name === '' || SYMBOL_TYPES_NAMELESS.includes(type)) return []
  if (MAPPING_SYMBOL.test(name)) return []
  return [
    {
      name,
      address: input.u64(start + 8),
      isFunction: type === SYMBOL_TYPE_FUNCTION,
      isGlobal: info >>> 4 !== SYMBOL_LOCAL,
    },
  ]
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`
}

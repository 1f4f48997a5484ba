/**
 * The smallest ELF executable that has everything: one code segment of 6 bytes in 0x100 bytes of memory, its
 * section, and symbols.
 */
import { concatenate } from '../../base/bytes.ts'
import { encodeAscii } from '../../base/text.ts'

export const CODE_ADDRESS = 0x8000_0000n
/** `li a0, 1; ret` */
export const CODE = Uint8Array.of(0x13, 0x05, 0x10, 0x00, 0x82, 0x80)

/** A symbol as the file holds it; `info` is its binding and type, `section` the number of its section. */
export type SymbolEntry = readonly [name: string, address: bigint, info: number, section: number]

/** Where the parts begin that do not move. */
export const SMALL_ELF = { programHeader: 64, code: 128, symbols: 136 } as const
export const SECTION_COUNT = 5

export function smallElf(symbols: readonly SymbolEntry[] = []): Uint8Array {
  const symbolNames = stringTable(symbols.map(([name]) => name))
  const sectionNames = stringTable(['.text', '.symtab', '.strtab', '.shstrtab'])
  const symbolTable = symbolEntries(symbols, symbolNames.offsets)
  const symbolNamesAt = SMALL_ELF.symbols + symbolTable.length
  const sectionNamesAt = symbolNamesAt + symbolNames.bytes.length
  const sectionsAt = sectionNamesAt + sectionNames.bytes.length
  const section = (name: number, type: number, at: number, length: number, link = 0): Uint8Array => {
    const [flags, address] = type === 1 ? [6, CODE_ADDRESS] : [0, 0]
    const nameOffset = sectionNames.offsets[name]!
    return packed('wwddddwwdd', nameOffset, type, flags, address, at, length, link, 1, 1, type === 2 ? 24 : 0)
  }
  const segment = [SMALL_ELF.code, CODE_ADDRESS, CODE_ADDRESS, CODE.length, 0x100, 4]
  return concatenate([
    Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1),
    new Uint8Array(9),
    packed('hhwdddw', 2, 243, 1, CODE_ADDRESS + 4n, SMALL_ELF.programHeader, sectionsAt, 0),
    packed('hhhhhh', 64, 56, 1, 64, SECTION_COUNT, 4),
    packed('wwdddddd', 1, 5, ...segment),
    new Uint8Array(8),
    CODE,
    new Uint8Array(2),
    symbolTable,
    symbolNames.bytes,
    sectionNames.bytes,
    new Uint8Array(64),
    section(0, 1, SMALL_ELF.code, CODE.length),
    section(1, 2, SMALL_ELF.symbols, symbolTable.length, 3),
    section(2, 3, symbolNamesAt, symbolNames.bytes.length),
    section(3, 3, sectionNamesAt, sectionNames.bytes.length),
  ])
}

function symbolEntries(symbols: readonly SymbolEntry[], names: readonly number[]): Uint8Array {
  const entries = symbols.map(([, address, info, section], index) =>
    packed('whhdd', names[index]!, info, section, address, 0),
  )
  return concatenate([new Uint8Array(24), ...entries])
}

function stringTable(texts: readonly string[]): { bytes: Uint8Array; offsets: number[] } {
  const bytes = encodeAscii(`\0${texts.map((text) => `${text}\0`).join('')}`)
  let next = 1
  const offsets = texts.map((text) => {
    const offset = next
    next += text.length + 1
    return offset
  })
  return { bytes, offsets }
}

/** Little-endian numbers: `h` of 2 bytes, `w` of 4, `d` of 8. */
function packed(layout: string, ...values: readonly (number | bigint)[]): Uint8Array {
  const sizes = Array.from(layout, (letter) => ({ h: 2, w: 4, d: 8 })[letter]!)
  const view = new DataView(new ArrayBuffer(sizes.reduce((sum, size) => sum + size, 0)))
  let offset = 0
  for (const [index, size] of sizes.entries()) {
    if (size === 2) view.setUint16(offset, Number(values[index]!), true)
    else if (size === 4) view.setUint32(offset, Number(values[index]!), true)
    else view.setBigUint64(offset, BigInt(values[index]!), true)
    offset += size
  }
  return new Uint8Array(view.buffer)
}

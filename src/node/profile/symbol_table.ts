/** The names of code by its addresses. */
import type { ElfFile } from '../../board/elf.ts'
import { readKallsyms } from '../../board/kallsyms.ts'

/** Linux is loaded at the start of RAM, and is no larger. */
const KERNEL_BYTES_MAX = 64 * 1024 * 1024
/** The types of symbols that are code, as `nm` has them. */
const CODE_TYPES = 'tTwW'

interface PlacedName {
  readonly address: bigint
  readonly name: string
}

export class SymbolTable {
  readonly #names: readonly PlacedName[]
  readonly #end: bigint

  /** What is at `end` and behind it has no name. */
  constructor(names: readonly PlacedName[], end: bigint) {
    this.#names = names.toSorted((one, other) => (one.address < other.address ? -1 : 1))
    this.#end = end
  }

  get size(): number {
    return this.#names.length
  }

  /** `name+0x1c`, by the last name before; undefined if there is none. */
  at(address: bigint): string | undefined {
    const found = this.find(address)
    if (found === undefined) return undefined
    const offset = address - found.address
    return offset === 0n ? found.name : `${found.name}+0x${offset.toString(16)}`
  }

  /** The last name before. */
  find(address: bigint): PlacedName | undefined {
    let low = 0
    let high = this.#names.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#names[middle]!.address <= address) low = middle + 1
      else high = middle
    }
    return address < this.#end ? this.#names[low - 1] : undefined
  }
}

/** The names of the Linux kernel in this RAM; of its modules there are none. */
export function kernelSymbols(ram: Uint8Array): SymbolTable {
  const symbols = readKallsyms(ram.subarray(0, KERNEL_BYTES_MAX))
  const code = symbols.filter(({ type }) => CODE_TYPES.includes(type))
  return new SymbolTable(code, symbols.at(-1)?.address ?? 0n)
}

/** The names of functions of a program, or of all places in its code where it tells of no functions. */
export function programSymbols({ code, symbols }: ElfFile): SymbolTable {
  const ends = code.map(({ address, bytes }) => address + BigInt(bytes.length))
  const isCode = ({ address }: PlacedName): boolean =>
    code.some((section, index) => section.address <= address && address < ends[index]!)
  const placed = symbols.filter(isCode)
  const functions = placed.filter(({ isFunction }) => isFunction)
  const end = ends.reduce((latest, each) => (each > latest ? each : latest), 0n)
  return new SymbolTable(functions.length > 0 ? functions : placed, end)
}

/** Small bare-metal ELF files for whole-system tests, written in assembly. */
import { encodeAscii } from '../src/base/text.ts'
import { assemble } from '../src/isa/assemble.ts'

/** Where the program is loaded and starts. */
const BASE = 0x8000_0000n
const HEADER_BYTES = 64
const PROGRAM_HEADER_BYTES = 56
const SECTION_HEADER_BYTES = 64
const SYMBOL_BYTES = 24

/** An ELF executable of `source` (src/isa/assemble.ts) whose labels are global symbols. */
export function bareElf(source: string): Uint8Array {
  const { bytes, labels } = assemble(source, BASE)
  const names = [...labels.keys()]
  const strings = encodeAscii(`\0${[...names, '.text'].map((name) => `${name}\0`).join('')}`)
  const nameAt = (index: number): number => 1 + names.slice(0, index).join('').length + index
  const codeAt = HEADER_BYTES + PROGRAM_HEADER_BYTES
  const symbolsAt = Math.ceil((codeAt + bytes.length) / 8) * 8
  const symbolBytes = SYMBOL_BYTES * (names.length + 1)
  const stringsAt = symbolsAt + symbolBytes
  const sectionsAt = Math.ceil((stringsAt + strings.length) / 8) * 8
  const file = new Uint8Array(sectionsAt + 4 * SECTION_HEADER_BYTES)
  const put = (at: number, layout: string, ...values: (number | bigint)[]): void =>
    pack(file, at, layout, values)
  put(0, 'wbbb', 0x464c_457f, 2, 1, 1)
  put(16, 'hhwdddwhhhhhh', 2, 243, 1, BASE, HEADER_BYTES, sectionsAt, 0, 64, 56, 1, 64, 4, 3)
  put(HEADER_BYTES, 'wwdddddd', 1, 7, codeAt, BASE, BASE, bytes.length, bytes.length, 4096)
  file.set(bytes, codeAt)
  for (const [index, name] of names.entries()) {
    const at = symbolsAt + SYMBOL_BYTES * (index + 1)
    put(at, 'wbbhdd', nameAt(index), 0x10, 0, 1, labels.get(name)!, 0)
  }
  file.set(strings, stringsAt)
  const section = (index: number, ...values: (number | bigint)[]): void =>
    put(sectionsAt + index * SECTION_HEADER_BYTES, 'wwddddwwdd', ...values)
  section(1, nameAt(names.length), 1, 6, BASE, codeAt, bytes.length, 0, 0, 4, 0)
  section(2, 0, 2, 0, 0, symbolsAt, symbolBytes, 3, 1, 8, SYMBOL_BYTES)
  section(3, 0, 3, 0, 0, stringsAt, strings.length, 0, 0, 1, 0)
  return file
}

/** Little-endian numbers: `b` of 1 byte, `h` of 2, `w` of 4, `d` of 8. */
function pack(file: Uint8Array, at: number, layout: string, values: readonly (number | bigint)[]): void {
  let next = at
  for (const [index, letter] of [...layout].entries()) {
    const size = { b: 1, h: 2, w: 4, d: 8 }[letter]!
    for (let byte = 0; byte < size; byte++) {
      file[next++] = Number((BigInt(values[index]!) >> BigInt(8 * byte)) & 0xffn)
    }
  }
}

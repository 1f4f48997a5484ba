/**
 * Predecoded instructions: what the interpreter executes.
 *
 *     +0 handler u16 | +2 a u8 | +3 b u8 | +4 immediate i32
 *
 * a and b are register numbers times eight, ready to be added to a hart's address: rd and rs1; of stores and branches
 * rs2 and rs1. An instruction without an immediate keeps there
 *
 *     +4 rs2 times eight u8 | +5 rs3 times eight u8 | +6 rounding mode u8
 *
 * Branches and jumps have their distance in bytes of predecoded instructions (four times the bytes of code).
 * Handlers come in variants for two- and four-byte encodings, since the next pc depends on it. Pairs that often follow
 * each other have handlers of their own (fused_pairs.ts), which go on with the second without dispatching it: the
 * first one's entry names the pair, the second one's entry stays what it is.
 */

import { assert } from '../base/assert.ts'
import { compressedInstructions } from '../isa/compressed.ts'
import { type Decoded, decode, emptyDecoded } from '../isa/decode.ts'
import { type Instruction, instructions } from '../isa/instructions.ts'
import { fusedPairs } from './fused_pairs.ts'
import { CODE_ENTRY_BYTES, CODE_SLOT_BYTES, type Layout, PAGE_BYTES } from './layout.ts'

/** Handlers that are no instructions. */
export const HANDLER = { undecoded: 0, pageEnd: 1, straddle: 2, illegal: 3, nop4: 4, nop2: 5 } as const
const FIRST_INSTRUCTION = 6

/** An instruction as a handler executes it. */
export interface HandlerVariant {
  readonly instruction: Instruction
  readonly length: 2 | 4
}

function listVariants(): HandlerVariant[] {
  const compressed = new Set(compressedInstructions.map(({ expansion }) => expansion.op))
  return instructions.flatMap((instruction) => {
    const wide = { instruction, length: 4 as const }
    return compressed.has(instruction.op) ? [wide, { instruction, length: 2 as const }] : [wide]
  })
}

/** Variant i is handler FIRST_INSTRUCTION + i. */
export const handlerVariants: readonly HandlerVariant[] = listVariants()

/** Pair i is handler FIRST_INSTRUCTION + handlerVariants.length + i. */
export const handlerPairs: readonly (readonly [HandlerVariant, HandlerVariant])[] = fusedPairs.map(
  ([first, second]) => [findVariant(first), findVariant(second)],
)

/** The variant called `sd.c` (two bytes) or `sd` (four bytes). */
function findVariant(text: string): HandlerVariant {
  const length = text.endsWith('.c') ? 2 : 4
  const name = length === 2 ? text.slice(0, -2) : text
  const found = handlerVariants.find(
    (variant) => variant.length === length && variant.instruction.name === name,
  )
  assert(found !== undefined, `no handler for ${text}`)
  return found
}

/** The handler of a pair by the handlers of its parts: first x HANDLERS_MAX + second, or 0. */
const HANDLERS_MAX = 512
const pairOf = new Uint16Array(HANDLERS_MAX * HANDLERS_MAX)
for (const [i, [first, second]] of handlerPairs.entries()) {
  const number = (variant: HandlerVariant): number => FIRST_INSTRUCTION + handlerVariants.indexOf(variant)
  pairOf[number(first) * HANDLERS_MAX + number(second)] = FIRST_INSTRUCTION + handlerVariants.length + i
}

/** handlerOf[0] is for two-byte encodings, handlerOf[1] for four-byte ones. */
const handlerOf = [2, 4].map((length) => {
  const table = new Uint16Array(instructions.length)
  handlerVariants.forEach((variant, i) => {
    if (variant.length === length) table[variant.instruction.op] = FIRST_INSTRUCTION + i
  })
  return table
})

/** How the operands of an instruction are laid out in its entry. */
type Shape = 'immediate' | 'registers' | 'store' | 'branch' | 'jump'

function shapeOf({ format }: Instruction): Shape {
  if (format === 'S') return 'store'
  if (format === 'B') return 'branch'
  if (format === 'J') return 'jump'
  if (format === 'R' || format === 'R4') return 'registers'
  return 'immediate'
}

const shapes = instructions.map(shapeOf)

/**
 * Instructions whose only effect is on an integer register: with rd = x0 they do nothing at all.
 * Everything else that writes rd makes x0 zero again afterwards.
 */
export function isPure({ extension, format, name }: Instruction): boolean {
  const arithmetic = ['I', 'M', 'Zba', 'Zbb', 'Zbs'].includes(extension)
  const hasEffect = name.startsWith('l') && format === 'I' && name !== 'lui'
  return arithmetic && !hasEffect && !['B', 'J', 'S'].includes(format) && !EFFECTS.has(name)
}
const EFFECTS: ReadonlySet<string> = new Set(['jalr', 'fence', 'ecall', 'ebreak'])

const pure = instructions.map((instruction) => isPure(instruction))

/** Instructions after which decoding ahead is of no use. */
const endsRun = instructions.map(({ name }) =>
  ['jal', 'jalr', 'mret', 'sret', 'ecall', 'ebreak'].includes(name),
)

/** Instructions decoded at once when one is met that is not decoded yet. */
const RUN_MAX = 32

/** Fills predecoded entries in memory 0 from code in memory 1. */
export class Predecoder {
  readonly #layout: Layout
  readonly #entries: DataView
  readonly #ram: DataView
  readonly #decoded: Decoded = emptyDecoded()

  constructor(layout: Layout, tables: ArrayBufferLike, ram: ArrayBufferLike) {
    this.#layout = layout
    this.#entries = new DataView(tables)
    this.#ram = new DataView(ram)
  }

  /** Decodes a run of instructions from the entry at `address` on, which must lie in a code slot. */
  decodeRun(address: number): void {
    const relative = address - this.#layout.codeSlots
    const slot = Math.floor(relative / CODE_SLOT_BYTES)
    const page = this.#entries.getUint32(this.#layout.codeSlotPage + slot * 4, true)
    let inPage = ((relative - slot * CODE_SLOT_BYTES) / CODE_ENTRY_BYTES) * 2
    this.#entries.setUint32(this.#layout.codeSlotStores + slot * 4, 0, true)
    let previous = 0
    let previousHandler = 0
    for (let count = 0, entry = address; count < RUN_MAX && inPage < PAGE_BYTES; count++) {
      const offset = page * PAGE_BYTES + inPage
      const low = this.#ram.getUint16(offset, true)
      if ((low & 3) === 3 && inPage === PAGE_BYTES - 2) {
        this.#entries.setUint16(entry, HANDLER.straddle, true)
        return
      }
      const word = (low & 3) === 3 ? this.#ram.getUint32(offset, true) : low
      if (!this.decodeInto(entry, word)) return
      const handler = this.#entries.getUint16(entry, true)
      const pair = pairOf[previousHandler * HANDLERS_MAX + handler]!
      if (pair !== 0) this.#entries.setUint16(previous, pair, true)
      previous = entry
      previousHandler = handler
      if (endsRun[this.#decoded.op]) return
      entry += (this.#decoded.length / 2) * CODE_ENTRY_BYTES
      inPage += this.#decoded.length
    }
  }

  /** Decodes one instruction word into the entry at `address`; false if it is illegal. */
  decodeInto(address: number, word: number): boolean {
    const decoded = this.#decoded
    const entries = this.#entries
    if (!decode(word, decoded)) {
      entries.setUint16(address, HANDLER.illegal, true)
      return false
    }
    const { op, rd, rs1, rs2, imm } = decoded
    const shape = shapes[op]!
    const isNop = pure[op]! && rd === 0
    const handler = isNop ? (decoded.length === 2 ? HANDLER.nop2 : HANDLER.nop4) : this.#handler()
    entries.setUint16(address, handler, true)
    entries.setUint8(address + 2, (shape === 'store' || shape === 'branch' ? rs2 : rd) * 8)
    entries.setUint8(address + 3, rs1 * 8)
    if (shape === 'registers') {
      entries.setUint32(address + 4, (rs2 * 8) | ((decoded.rs3 * 8) << 8) | (decoded.rm << 16), true)
    } else {
      entries.setInt32(address + 4, shape === 'branch' || shape === 'jump' ? imm * 4 : imm, true)
    }
    return true
  }

  #handler(): number {
    const { op, length } = this.#decoded
    return handlerOf[length === 2 ? 0 : 1]![op]!
  }
}

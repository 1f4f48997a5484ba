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
 * Handlers come in variants for two- and four-byte encodings, since the next pc depends on it. Sequences that are often
 * met have handlers of their own (fused_sequences.ts), which go through all their instructions without dispatching the
 * later ones: the first one's entry names the sequence, the others' entries stay what they are.
 */

import { type Decoded, decode, emptyDecoded } from '../isa/decode.ts'
import { type Instruction, instructions } from '../isa/instructions.ts'
import { fusedSequences, SEQUENCE_MAX } from './fused_sequences.ts'
import { HANDLER, HANDLERS, handlerNumber, variantNumber } from './handlers.ts'
import { CODE_ENTRY_BYTES, CODE_SLOT_BYTES, type Layout, PAGE_BYTES } from './layout.ts'

/** handlerOf[0] is for two-byte encodings, handlerOf[1] for four-byte ones. */
const handlerOf = ([2, 4] as const).map((length) =>
  Uint16Array.from(instructions, (instruction) => variantNumber(instruction, length)),
)

/** The handler of a sequence by those of all but its last instruction and of the last: first x HANDLERS + last, or 0. */
const extended = new Uint16Array(HANDLERS * HANDLERS)
for (const name of fusedSequences) {
  const end = name.lastIndexOf(' ')
  const [first, last] = [name.slice(0, end), name.slice(end + 1)].map(handlerNumber) as [number, number]
  extended[first * HANDLERS + last] = handlerNumber(name)
}

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
  readonly #sequences: Sequences

  constructor(layout: Layout, tables: ArrayBufferLike, ram: ArrayBufferLike) {
    this.#layout = layout
    this.#entries = new DataView(tables)
    this.#sequences = new Sequences(this.#entries)
    this.#ram = new DataView(ram)
  }

  /** Decodes a run of instructions from the entry at `address` on, which must lie in a code slot. */
  decodeRun(address: number): void {
    const relative = address - this.#layout.codeSlots
    const slot = Math.floor(relative / CODE_SLOT_BYTES)
    const page = this.#entries.getUint32(this.#layout.codeSlotPage + slot * 4, true)
    let inPage = ((relative - slot * CODE_SLOT_BYTES) / CODE_ENTRY_BYTES) * 2
    this.#entries.setUint32(this.#layout.codeSlotStores + slot * 4, 0, true)
    this.#sequences.clear()
    for (let count = 0, entry = address; count < RUN_MAX && inPage < PAGE_BYTES; count++) {
      // A region's entry stays, and no sequence may include it: it would read operands there.
      if (this.#entries.getUint16(entry, true) === HANDLER.region) return
      const offset = page * PAGE_BYTES + inPage
      const low = this.#ram.getUint16(offset, true)
      if ((low & 3) === 3 && inPage === PAGE_BYTES - 2) {
        this.#entries.setUint16(entry, HANDLER.straddle, true)
        return
      }
      const word = (low & 3) === 3 ? this.#ram.getUint32(offset, true) : low
      if (!this.decodeInto(entry, word)) return
      this.#sequences.add(entry, this.#entries.getUint16(entry, true))
      if (endsRun[this.#decoded.op]) return
      entry += (this.#decoded.length / 2) * CODE_ENTRY_BYTES
      inPage += this.#decoded.length
    }
  }

  /**
   * Has every sequence forgotten that may begin before the entry at `address` and include it, `inPage` bytes into its
   * page: what stands there will not be the operands of its instruction.
   */
  endSequencesBefore(address: number, inPage: number): void {
    const entries = Math.min(SEQUENCE_MAX * 2 - 1, inPage / 2)
    for (let back = 1; back <= entries; back++) {
      const at = address - back * CODE_ENTRY_BYTES
      if (this.#entries.getUint16(at, true) !== HANDLER.region)
        this.#entries.setUint16(at, HANDLER.undecoded, true)
    }
  }

  /** Decodes the instruction at an offset of a page, which must be whole there, into the entry at `address`. */
  decodeAt(address: number, page: number, inPage: number): void {
    const offset = page * PAGE_BYTES + inPage
    const low = this.#ram.getUint16(offset, true)
    this.decodeInto(address, (low & 3) === 3 ? this.#ram.getUint32(offset, true) : low)
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

/** The sequences that a run of instructions, decoded one after another, may still be extending. */
class Sequences {
  readonly #entries: DataView
  /** Where the open sequences begin, and their handlers so far; the oldest first. */
  readonly #starts = new Uint32Array(SEQUENCE_MAX)
  readonly #handlers = new Uint16Array(SEQUENCE_MAX)
  #count = 0

  constructor(entries: DataView) {
    this.#entries = entries
  }

  clear(): void {
    this.#count = 0
  }

  /** The next instruction has been decoded into `entry`: every open sequence has it as its next part, or ends. */
  add(entry: number, handler: number): void {
    let kept = 0
    for (let i = 0; i < this.#count; i++) {
      const longer = extended[this.#handlers[i]! * HANDLERS + handler]!
      if (longer === 0) continue
      const start = this.#starts[i]!
      this.#entries.setUint16(start, longer, true)
      this.#starts[kept] = start
      this.#handlers[kept++] = longer
    }
    this.#starts[kept] = entry
    this.#handlers[kept] = handler
    this.#count = kept + 1
  }
}

/**
 * Whether an instruction of a page has been met since its code is predecoded: it has been executed, or stands behind one
 * that has. True of all of them if the page has no predecoded code.
 */
export function wasMet(tables: DataView, layout: Layout, page: number, inPage: number): boolean {
  const slot = tables.getUint16(layout.pageCodeSlot + page * 2, true)
  if (slot === 0) return true
  const entry = layout.codeSlots + (slot - 1) * CODE_SLOT_BYTES + (inPage / 2) * CODE_ENTRY_BYTES
  // What is forgotten keeps its operands.
  return tables.getBigUint64(entry, true) !== 0n
}

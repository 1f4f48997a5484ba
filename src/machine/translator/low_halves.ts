/**
 * Where 32 bits do. Results of a block of which only the low half is ever looked at need not be sign-extended, as the instructions for
 * words demand it, each of which would cost one of the host's. At the end of the block, and wherever the region may be left, all of a
 * register counts.
 */
import { instructions } from '../../isa/instructions.ts'
import type { PlacedInstruction } from './block_end.ts'
import { mayLeave } from './register_flow.ts'

/** These look at nothing but the low halves of their operands. */
const looksAtLow = instructions.map(({ name }) =>
  /^((add|sub|sll|srl|sra|mul|div|divu|rem|remu|rol|ror)w|(add|sll|srl|sra|ror)iw|(clz|ctz|cpop)w)$/.test(
    name,
  ),
)
/** The low half of what these give depends on nothing but the low halves of their operands. */
const keepsLow = instructions.map(({ name }) => /^((add|xor|or|and)i?|sub|mul)$/.test(name))

/** Bit by bit, so that of two words they make a word. */
const isBitwise = instructions.map(({ name }) => /^(xor|or|and)i?$/.test(name))
/** The result is a word: the sign-extension of its low half. */
const givesWord = instructions.map(
  ({ name }, op) => looksAtLow[op]! || /^(l[bhw]|l[bh]u|lui|slti?u?)$/.test(name),
)

const ALL = -1

/** How the results of a block's instructions are made, by the places of these in it. */
export interface ResultForms {
  /** The low half is enough. */
  readonly low: readonly boolean[]
  /**
   * Of two words of which one was computed with 32 bits, as the halves of a rotation are: it is made with 32 bits as well. So the operands need not be
   * sign-extended, and V8 sees the rotation.
   */
  readonly word: readonly boolean[]
}

export function findResultForms(list: readonly PlacedInstruction[]): ResultForms {
  const word = findWords(list)
  return { low: findLowHalves(list, word), word }
}

function findLowHalves(list: readonly PlacedInstruction[], word: readonly boolean[]): readonly boolean[] {
  /** The registers whose upper halves count behind the instruction, a bit for each. */
  let upper = ALL
  const low = list.map(() => false)
  for (let index = list.length - 1; index >= 0; index--) {
    const { op, rd, rs1, rs2 } = list[index]!
    if (mayLeave[op]!) {
      upper = ALL
      continue
    }
    const { registers } = instructions[op]!
    const isLow = registers.rd === 'x' && ((upper >>> rd) & 1) === 0
    low[index] = isLow
    if (registers.rd === 'x') upper &= ~(1 << rd)
    if (looksAtLow[op]! || word[index]! || (isLow && keepsLow[op]!)) continue
    if (registers.rs1 === 'x') upper |= 1 << rs1
    if (registers.rs2 === 'x') upper |= 1 << rs2
  }
  return low
}

function findWords(list: readonly PlacedInstruction[]): readonly boolean[] {
  /** The registers that have words, and those of them that were computed with 32 bits: a bit for each. */
  let words = 1
  let computed = 0
  return list.map(({ op, rd, rs1, rs2 }) => {
    const { registers } = instructions[op]!
    const read = (1 << rs1) | (registers.rs2 === 'x' ? 1 << rs2 : 0)
    const isOfWords = isBitwise[op]! && (read & ~words) === 0
    const isWord = isOfWords && (read & computed) !== 0
    if (registers.rd === 'x' && rd !== 0) {
      const bit = 1 << rd
      words = isOfWords || givesWord[op]! ? words | bit : words & ~bit
      computed = isWord || looksAtLow[op]! ? computed | bit : computed & ~bit
    }
    return isWord
  })
}

/**
 * Results of a block of which only the low 32 bits are ever looked at: they need not be sign-extended, as the instructions for
 * words demand it, each of which would cost one of the host's.
 *
 * A block is read from its end to its start. At the end, and wherever the region may be left, all of a register counts.
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

const ALL = -1

/** For the instructions of a block, by their places in it, whether the low half of the result is enough. */
export function findLowHalves(list: readonly PlacedInstruction[]): readonly boolean[] {
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
    if (looksAtLow[op]! || (isLow && keepsLow[op]!)) continue
    if (registers.rs1 === 'x') upper |= 1 << rs1
    if (registers.rs2 === 'x') upper |= 1 << rs2
  }
  return low
}

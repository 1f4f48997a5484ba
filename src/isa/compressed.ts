/**
 * The compressed instructions (RV64C) as one table: name, bit pattern (see pattern.ts), operands in assembly
 * order (as in instructions.ts), and the 32-bit instruction that it stands for, written with the fields of
 * the pattern and registers x0..x31. Hints have no lines of their own: they expand to instructions that
 * write x0. Reserved encodings match no line.
 */
import { assert } from '../base/assert.ts'
import { findInstruction, type Instruction } from './instructions.ts'
import { assertDisjoint, type Field, type FieldName, matches, type Pattern, parsePattern } from './pattern.ts'

const table = `
# Quadrant 0
c.addi4spn  000   nzuimm[5:4|9:6|2|3]             rd'   00 | rd, sp, imm      | addi rd, x2, imm
c.fld       001   uimm[5:3]    rs1'   uimm[7:6]   rd'   00 | fd, imm(rs1)     | fld fd, imm(rs1)
c.lw        010   uimm[5:3]    rs1'   uimm[2|6]   rd'   00 | rd, imm(rs1)     | lw rd, imm(rs1)
c.ld        011   uimm[5:3]    rs1'   uimm[7:6]   rd'   00 | rd, imm(rs1)     | ld rd, imm(rs1)
c.fsd       101   uimm[5:3]    rs1'   uimm[7:6]   rs2'  00 | fs2, imm(rs1)    | fsd fs2, imm(rs1)
c.sw        110   uimm[5:3]    rs1'   uimm[2|6]   rs2'  00 | rs2, imm(rs1)    | sw rs2, imm(rs1)
c.sd        111   uimm[5:3]    rs1'   uimm[7:6]   rs2'  00 | rs2, imm(rs1)    | sd rs2, imm(rs1)

# Quadrant 1
c.nop       000   0            00000        00000       01 |                  | addi x0, x0, 0
c.addi      000   imm[5]       rd           imm[4:0]    01 | rd, imm          | addi rd, rd, imm
c.addiw     001   imm[5]       rd!=0        imm[4:0]    01 | rd, imm          | addiw rd, rd, imm
c.li        010   imm[5]       rd           imm[4:0]    01 | rd, imm          | addi rd, x0, imm
c.addi16sp  011   nzimm[9]     00010  nzimm[4|6|8:7|5]  01 | sp, imm          | addi x2, x2, imm
c.lui       011   nzimm[17]    rd!=2        nzimm[16:12] 01 | rd, hi          | lui rd, imm
c.srli      100   uimm[5] 00   rd'          uimm[4:0]   01 | rd, shamt        | srli rd, rd, imm
c.srai      100   uimm[5] 01   rd'          uimm[4:0]   01 | rd, shamt        | srai rd, rd, imm
c.andi      100   imm[5]  10   rd'          imm[4:0]    01 | rd, imm          | andi rd, rd, imm
c.sub       100   0       11   rd'    00    rs2'        01 | rd, rs2          | sub rd, rd, rs2
c.xor       100   0       11   rd'    01    rs2'        01 | rd, rs2          | xor rd, rd, rs2
c.or        100   0       11   rd'    10    rs2'        01 | rd, rs2          | or rd, rd, rs2
c.and       100   0       11   rd'    11    rs2'        01 | rd, rs2          | and rd, rd, rs2
c.subw      100   1       11   rd'    00    rs2'        01 | rd, rs2          | subw rd, rd, rs2
c.addw      100   1       11   rd'    01    rs2'        01 | rd, rs2          | addw rd, rd, rs2
c.j         101   imm[11|4|9:8|10|6|7|3:1|5]            01 | target           | jal x0, imm
c.beqz      110   imm[8|4:3]   rs1'   imm[7:6|2:1|5]    01 | rs1, target      | beq rs1, x0, imm
c.bnez      111   imm[8|4:3]   rs1'   imm[7:6|2:1|5]    01 | rs1, target      | bne rs1, x0, imm

# Quadrant 2
c.slli      000   uimm[5]      rd           uimm[4:0]   10 | rd, shamt        | slli rd, rd, imm
c.fldsp     001   uimm[5]      rd       uimm[4:3|8:6]   10 | fd, imm(sp)      | fld fd, imm(x2)
c.lwsp      010   uimm[5]      rd!=0    uimm[4:2|7:6]   10 | rd, imm(sp)      | lw rd, imm(x2)
c.ldsp      011   uimm[5]      rd!=0    uimm[4:3|8:6]   10 | rd, imm(sp)      | ld rd, imm(x2)
c.jr        100   0            rs1!=0       00000       10 | rs1              | jalr x0, 0(rs1)
c.mv        100   0            rd           rs2!=0      10 | rd, rs2          | add rd, x0, rs2
c.ebreak    100   1            00000        00000       10 |                  | ebreak
c.jalr      100   1            rs1!=0       00000       10 | rs1              | jalr x1, 0(rs1)
c.add       100   1            rd           rs2!=0      10 | rd, rs2          | add rd, rd, rs2
c.fsdsp     101   uimm[5:3|8:6]             rs2         10 | fs2, imm(sp)     | fsd fs2, imm(x2)
c.swsp      110   uimm[5:2|7:6]             rs2         10 | rs2, imm(sp)     | sw rs2, imm(x2)
c.sdsp      111   uimm[5:3|8:6]             rs2         10 | rs2, imm(sp)     | sd rs2, imm(x2)
`

/** Pairs whose first line wins: C.NOP is the one C.ADDI of x0 that is not a hint. */
const overlaps: ReadonlySet<string> = new Set(['c.nop c.addi'])

/** Where an operand of the expansion comes from. */
export type Source = { readonly field: Field } | { readonly value: number }

export interface CompressedInstruction {
  /** As in the manual: `c.addi`. */
  readonly name: string
  readonly pattern: Pattern
  /** Operand names in assembly order, such as `rd, imm(rs1)`. */
  readonly operands: string
  /** The 32-bit instruction of the same meaning; fields that are not in `sources` are zero. */
  readonly expansion: Instruction
  readonly sources: { readonly [name in 'rd' | 'rs1' | 'rs2' | 'imm']?: Source }
}

/** Every compressed instruction, in the order of the manual's opcode map. */
export const compressedInstructions: readonly CompressedInstruction[] = parseTable()

/** The compressed instruction of this name, or undefined. */
export function findCompressed(name: string): CompressedInstruction | undefined {
  return compressedInstructions.find((instruction) => instruction.name === name)
}

/**
 * The compressed instruction that the 16 bits of `halfword` encode, or undefined if they are illegal or
 * reserved.
 */
export function matchCompressed(halfword: number): CompressedInstruction | undefined {
  return compressedInstructions.find(({ pattern }) => matches(pattern, halfword))
}

function parseTable(): CompressedInstruction[] {
  const lines = table.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#'))
  const parsed = lines.map(parseLine)
  assertDisjoint(parsed, overlaps)
  return parsed
}

function parseLine(line: string): CompressedInstruction {
  const [encoding = '', operands = '', meaning = ''] = line.split(/\s\|/).map((column) => column.trim())
  const [name = '', ...tokens] = encoding.split(/\s+/)
  const pattern = parsePattern(tokens.join(' '))
  assert(pattern.size === 16 && (pattern.match & 3) !== 3, `${name} is not a 16-bit instruction`)
  const [expandedName = '', ...given] = meaning.split(/[ ,()]+/).filter((word) => word !== '')
  const expansion = findInstruction(expandedName)
  assert(expansion !== undefined, `${name} expands to the unknown instruction ${expandedName}`)
  const wanted = expansion.operands.split(/[ ,()]+/).filter((word) => word !== '')
  assert(
    given.length === wanted.length,
    `${name} expands to ${expandedName} with too few or too many operands`,
  )
  const sources = wanted.map((operand, index) => [fieldOf(operand), sourceOf(pattern, given[index]!)])
  return { name, pattern, operands, expansion, sources: Object.fromEntries(sources) }
}

/** The field of an encoding that holds an operand. */
function fieldOf(operand: string): FieldName {
  if (/^(hi|shamt|target)$/.test(operand)) return 'imm'
  return operand.replace(/^f/, 'r') as FieldName
}

function sourceOf(pattern: Pattern, text: string): Source {
  const number = /^x?(\d+)$/.exec(text)
  if (number) return { value: Number(number[1]) }
  const field = pattern.fields.find((candidate) => candidate.name === fieldOf(text))
  assert(field !== undefined, `a compressed instruction has no field ${text}`)
  return { field }
}

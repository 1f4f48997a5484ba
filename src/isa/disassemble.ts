/**
 * From instruction words to text, in the syntax of the GNU tools without pseudo-instructions: `addi
 * a0,sp,16`. Whatever comes out can be assembled again (assemble.ts) to the same word, but for ignored bits
 * of fences.
 */
import { matchCompressed } from './compressed.ts'
import { csrName } from './csr.ts'
import { decode, emptyDecoded } from './decode.ts'
import { instructions, registerOperand } from './instructions.ts'
import { extractField, type FieldName, type FieldValues, type Pattern } from './pattern.ts'
import { fenceSetName, registerName, roundingModes } from './registers.ts'

/**
 * The instruction at the start of `word` (see `decode`) as text. Branch targets are absolute addresses for
 * an instruction at `pc`. What is not an instruction becomes `.2byte` or `.4byte`.
 */
export function disassemble(word: number, pc: bigint = 0n): string {
  if ((word & 3) !== 3) {
    const halfword = word & 0xffff
    const found = matchCompressed(halfword)
    if (!found) return `.2byte 0x${halfword.toString(16)}`
    return format(found.name, found.operands, fieldValues(found.pattern, halfword), pc)
  }
  const decoded = emptyDecoded()
  if (!decode(word, decoded)) return `.4byte 0x${(word >>> 0).toString(16)}`
  const { name, operands, pattern } = instructions[decoded.op]!
  const values = fieldValues(pattern, word)
  return format(name + orderingSuffix(values), operands, values, pc)
}

function fieldValues(pattern: Pattern, word: number): FieldValues {
  return Object.fromEntries(pattern.fields.map((field) => [field.name, extractField(field, word)]))
}

function orderingSuffix({ aq, rl }: FieldValues): string {
  return aq || rl ? `.${aq ? 'aq' : ''}${rl ? 'rl' : ''}` : ''
}

function format(name: string, operands: string, values: FieldValues, pc: bigint): string {
  if (operands === '') return name
  const texts = operands.split(', ').flatMap((operand) => {
    if (operand === 'rm' && values.rm === 7) return []
    if (operand === 'exact' && values.rm === 0) return []
    return [operand.replace(/\w+/g, (part) => operandText(part, values, pc))]
  })
  return `${name} ${texts.join(',')}`
}

function operandText(operand: string, values: FieldValues, pc: bigint): string {
  const register = registerOperand(operand)
  if (register) return registerName(register[1], values[register[0] as FieldName] ?? 0)
  const imm = values.imm ?? 0
  switch (operand) {
    case 'imm':
      return String(imm)
    case 'hi':
      return `0x${(imm >>> 12).toString(16)}`
    case 'shamt':
      return `0x${imm.toString(16)}`
    case 'target':
      return `0x${BigInt.asUintN(64, pc + BigInt(imm)).toString(16)}`
    case 'csr':
      return csrName(imm) ?? `0x${imm.toString(16)}`
    case 'zimm':
      return String(values.rs1)
    case 'pred':
      return fenceSetName((imm >>> 4) & 15)
    case 'succ':
      return fenceSetName(imm & 15)
    case 'rm':
    case 'exact':
      return roundingModes[values.rm ?? 0]!
    default:
      return operand
  }
}

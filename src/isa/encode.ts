/** From operands to instruction words. */
import { UserError } from '../base/errors.ts'
import { type CompressedInstruction, findCompressed } from './compressed.ts'
import { findInstruction, type Instruction } from './instructions.ts'
import { encodePattern, type FieldValues } from './pattern.ts'

/** The instruction of this name, of 32 or 16 bits. Throws UserError if there is none. */
export function instructionNamed(name: string): Instruction | CompressedInstruction {
  const found = findInstruction(name) ?? findCompressed(name)
  if (!found) throw new UserError(`there is no instruction '${name}'`)
  return found
}

/**
 * The word of an instruction, with operands as `decode` returns them (and `aq`, `rl`); for a compressed one
 * (`c.addi`) the fields of its own encoding. What is not given is zero. Throws UserError for a value that
 * does not fit.
 */
export function encode(name: string, values: FieldValues): number {
  return encodePattern(instructionNamed(name).pattern, name, values)
}

/** Generators for floating-point instructions, in all rounding modes. */
import { type Instruction, instructions } from '../../src/isa/instructions.ts'
import type { FieldName } from '../../src/isa/pattern.ts'
import type { Body } from './body.ts'
import { compute } from './integer.ts'

const DYNAMIC = 7

const arithmetic = (extension: 'F' | 'D'): readonly Instruction[] =>
  instructions.filter(
    (instruction) => instruction.extension === extension && !instruction.operands.includes('('),
  )

const byExtension = { F: arithmetic('F'), D: arithmetic('D') }

/** Appends a floating-point computation; its flags are often read into a register of their own. */
export function computeFloat(body: Body, extension: 'F' | 'D'): void {
  const { random } = body
  if (random.chance(0.03)) {
    changeRounding(body)
    return
  }
  if (random.chance(0.05)) {
    compute(body)
    return
  }
  const instruction = random.pick(byExtension[extension])
  emitFloat(body, instruction)
  if (random.chance(0.5)) body.emit('csrrw', { rd: body.variable(), imm: 1, rs1: 0 })
}

function emitFloat(body: Body, { name, operands, registers, pattern }: Instruction): void {
  const { random } = body
  const values: { [name in FieldName]?: number } = {}
  for (const [field, file] of Object.entries(registers)) {
    const isTarget = field === 'rd'
    if (file === 'f') values[field as FieldName] = random.below(32)
    else values[field as FieldName] = isTarget ? body.destination() : body.source()
  }
  if (pattern.fields.some((field) => field.name === 'rm')) values.rm = roundingMode(body, operands)
  body.emit(name, values)
}

/** Static modes and the dynamic one; rarely a reserved mode, which must trap. */
function roundingMode({ random }: Body, operands: string): number {
  // What a reserved mode does in a conversion that never rounds is not specified.
  if (operands.includes('exact')) return random.below(5)
  if (random.chance(0.02)) return random.pick([5, 6])
  return random.chance(0.5) ? DYNAMIC : random.below(5)
}

/** Sets the dynamic rounding mode, one time in eight to a reserved one. */
function changeRounding(body: Body): void {
  body.emit('csrrwi', { rd: body.destination(), imm: 2, rs1: body.random.below(8) })
}

/** Generators for register instructions: integer computation, its extensions, and compressed and illegal encodings. */
import { compressedInstructions } from '../../src/isa/compressed.ts'
import { decode, emptyDecoded } from '../../src/isa/decode.ts'
import { type Extension, type Instruction, instructions } from '../../src/isa/instructions.ts'
import { type FieldName, type FieldValues, matches } from '../../src/isa/pattern.ts'
import type { Body } from './body.ts'

/** Operands that make an instruction a plain computation on registers. */
const computing = /^(rd|rs1|rs2|imm|shamt|hi)(, (rd|rs1|rs2|imm|shamt|hi))*$/

const computations = Map.groupBy(
  instructions.filter(({ operands, extension }) => computing.test(operands) && extension !== 'Priv'),
  ({ extension }) => extension,
)
const allComputations = [...computations.values()].flat()

/**
 * Of a word that is zero QEMU 7.2 counts on into the upper half (mended in 8.0), so the word gets a bit that is one.
 */
const COUNT_WORD = 'ctzw'

/** Appends a computation of the extension, or of any. */
export function compute(body: Body, extension?: Extension): void {
  const choices = extension === undefined ? allComputations : computations.get(extension)!
  const instruction = body.random.pick(choices)
  const values = computationValues(body, instruction)
  if (instruction.name !== COUNT_WORD) body.emit(instruction.name, values)
  else
    body.keeping((rs1) => {
      body.emit('bseti', { rd: rs1, rs1: body.source(), imm: body.random.below(32) })
      body.emit(COUNT_WORD, { rd: body.destination(), rs1 })
    })
}

function computationValues(body: Body, { operands, pattern }: Instruction): FieldValues {
  const { random } = body
  const values: { [name in FieldName]?: number } = {}
  for (const operand of operands.split(', ')) {
    if (operand === 'rd') values.rd = body.destination()
    else if (operand === 'rs1') values.rs1 = body.source()
    else if (operand === 'rs2') values.rs2 = random.chance(0.1) ? values.rs1! : body.source()
    else if (operand === 'hi') values.imm = random.u32() & ~0xfff
    else if (operand === 'imm') {
      values.imm = random.pick([0, 1, -1, 2047, -2048, random.between(-2048, 2047)])
    } else {
      const width = pattern.fields.find(({ name }) => name === 'imm')!.pieces[0]!.width
      values.imm = random.below(1 << width)
    }
  }
  return values
}

const compressedComputations = compressedInstructions.filter(({ expansion }) =>
  computing.test(expansion.operands),
)

/** Appends a compressed computation, hints among them. */
export function computeCompressed(body: Body): void {
  for (;;) {
    const { pattern } = body.random.pick(compressedComputations)
    const halfword = (pattern.match | (body.random.u32() & ~pattern.mask)) & 0xffff
    if (!matches(pattern, halfword) || !isHarmless(body, halfword)) continue
    body.append(halfword, 2)
    return
  }
}

/** Instructions that change nothing but registers. */
const harmless = new Set(
  instructions
    .filter(
      ({ operands, extension }) => !/[(]|target|csr/.test(operands) && 'IMFDZbaZbbZbs'.includes(extension),
    )
    .filter(({ name }) => name !== 'ecall' && name !== 'ebreak' && name !== COUNT_WORD)
    .map(({ op }) => op),
)

/** Whether a word does no more than trap, or write a register that may be written. */
function isHarmless(body: Body, word: number): boolean {
  const decoded = emptyDecoded()
  if (!decode(word, decoded)) return true
  if (!harmless.has(decoded.op)) return false
  return instructions[decoded.op]!.registers.rd !== 'x' || body.isFree(decoded.rd)
}

/**
 * Appends a word that is likely to be illegal: a random one, or an instruction with one bit flipped. What turns out
 * legal is kept if it is harmless, so that encodings which only we refuse are met as well.
 */
export function encodeAnything(body: Body): void {
  const { random } = body
  for (;;) {
    const compressed = random.chance(0.4)
    let word = random.u32()
    if (compressed) {
      word &= 0xffff
      if (random.chance(0.3))
        word = (word & 0x1f83) | random.pick([0, 0x4000, 0x6001, 0x8000, 0x9c41, 0x4002])
    } else if (random.chance(0.7)) {
      const { match, mask } = random.pick(instructions).pattern
      word = (match | (word & ~mask)) ^ (1 << random.below(32))
    } else word |= 3
    if (((word & 3) === 3) === compressed || !isHarmless(body, word)) continue
    body.append(word, compressed ? 2 : 4)
    return
  }
}

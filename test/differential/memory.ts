/** Generators for loads, stores and atomics on the data pages, aligned and not, within pages and over their borders. */
import { compressedInstructions } from '../../src/isa/compressed.ts'
import { type Instruction, instructions } from '../../src/isa/instructions.ts'
import type { FieldName } from '../../src/isa/pattern.ts'
import type { Body } from './body.ts'
import { compute } from './integer.ts'

const accesses = instructions.filter(({ operands }) => operands.includes('imm(rs1)'))
const loadsAndStores = accesses.filter(({ name }) => name !== 'jalr')
const compressedAccesses = compressedInstructions.filter(
  ({ expansion }) => expansion.operands.includes('imm(rs1)') && expansion.name !== 'jalr',
)
const atomics = instructions.filter(({ name }) => name.startsWith('amo'))
const naturalAccesses = [...loadsAndStores, ...atomics]

/** Appends an address and a few accesses around it. */
export function accessMemory(body: Body): void {
  body.keeping((base) => {
    body.pointTo(base, body.hotDistance())
    for (let count = body.random.between(1, 6); count > 0; count--) {
      if (body.random.chance(0.15)) compute(body)
      else access(body, base)
    }
  })
}

/** Appends one load or store at -32..24 from `base`. */
export function access(body: Body, base: number): void {
  const instruction = body.random.pick(loadsAndStores)
  body.emit(instruction.name, {
    ...accessRegisters(body, instruction),
    rs1: base,
    imm: body.random.between(-32, 24),
  })
}

function accessRegisters(body: Body, { registers }: Instruction): { [name in FieldName]?: number } {
  if (registers.rd === undefined) return { rs2: body.source() }
  return { rd: registers.rd === 'x' ? body.destination() : body.random.below(32) }
}

/** Appends a load, store or, unless told otherwise, AMO at the address in `base`, which is aligned for all sizes. */
export function accessExactly(body: Body, base: number, withAtomics = true): void {
  const { name, operands, registers } = body.random.pick(withAtomics ? naturalAccesses : loadsAndStores)
  const values = { rs1: base, ...(operands.includes('rs2') ? { rs2: body.source() } : {}) }
  if (registers.rd === undefined) body.emit(name, { ...values, rs2: body.source() })
  else body.emit(name, { ...values, rd: registers.rd === 'x' ? body.destination() : body.random.below(32) })
}

/** Appends an address and a few compressed accesses, whose offsets are positive, so it points lower. */
export function accessCompressed(body: Body): void {
  const base = body.random.chance(0.4) ? 2 : body.variable(true)
  body.keeping((register) => {
    body.pointTo(register, 0x1000 * body.random.between(1, 3) - body.random.pick([48, 56, 47, 52, 8, 40]))
    for (let count = body.random.between(1, 5); count > 0; count--) accessOnce(body, register)
  }, base)
}

/** Tries encodings until one uses `base`, stays in the hot bytes, and overwrites nothing that is needed. */
function accessOnce(body: Body, base: number): void {
  for (;;) {
    const { pattern, expansion, sources } = body.random.pick(compressedAccesses)
    const usesStack = sources.rs1 !== undefined && 'value' in sources.rs1
    if (usesStack !== (base === 2)) continue
    const values: { [name in FieldName]?: number } = {}
    for (const { name, bias } of pattern.fields) {
      if (name === 'imm') values.imm = 8 * body.random.below(7)
      else if (name === 'rs1') values.rs1 = base
      else values[name] = bias > 0 ? body.random.between(8, 15) : body.random.below(32)
    }
    if (expansion.registers.rd === 'x' && (values.rd === 0 || !body.isFree(values.rd!))) continue
    const name = compressedInstructions.find((candidate) => candidate.pattern === pattern)!.name
    body.emit(name, values)
    return
  }
}

/** Appends an address and atomics on it: AMOs, and LR/SC pairs that succeed, fail, or miss each other. */
export function accessAtomically(body: Body): void {
  const { random } = body
  body.keeping((base) => {
    body.pointTo(base, (body.hotDistance() & ~7) + random.pick([0, 0, 0, 0, 4, 2, 1]))
    for (let count = random.between(1, 4); count > 0; count--) {
      if (random.chance(0.4)) reserve(body)
      else atomic(body, base)
    }
  })
}

function atomic(body: Body, base: number): void {
  const { random } = body
  const { name } = random.pick(atomics)
  body.emit(name, {
    rd: body.destination(),
    rs2: body.source(),
    rs1: base,
    aq: random.below(2),
    rl: random.below(2),
  })
}

/**
 * Appends LR and SC. Between them stands nothing that may end a reservation or not, as an implementation likes
 * (traps, stores), and they have one size and one address: whether other pairs succeed is not specified either.
 */
function reserve(body: Body): void {
  const { random } = body
  body.keeping((base) => {
    body.pointTo(base, body.hotDistance() & ~7)
    const size = random.pick(['w', 'd'])
    if (random.chance(0.8)) {
      body.emit(`lr.${size}`, { rd: body.destination(), rs1: base, aq: random.below(2), rl: random.below(2) })
      for (let count = random.below(3); count > 0; count--) compute(body, 'I')
      body.emit(`sc.${size}`, { rd: body.destination(), rs1: base, rs2: body.source() })
    }
    // No reservation is left: this one fails.
    if (random.chance(0.3)) body.emit(`sc.${size}`, { rd: body.destination(), rs1: base, rs2: body.source() })
  })
}

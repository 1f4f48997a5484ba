/** Generators for control transfer: branches and jumps over some instructions, bounded loops, calls. */
import type { Body } from './body.ts'
import { compute, computeCompressed } from './integer.ts'

const branches = ['beq', 'bne', 'blt', 'bge', 'bltu', 'bgeu']

/** Appends a piece of control flow around computations. */
export function transferControl(body: Body): void {
  body.random.pick([skipByBranch, skipByJump, skipByCompressed, loop, jumpThroughRegister, callAndReturn])(
    body,
  )
}

function filling(body: Body, most = 4): void {
  for (let count = body.random.between(0, most); count > 0; count--) {
    if (body.random.chance(0.4)) computeCompressed(body)
    else compute(body)
  }
}

/** Appends a transfer of which the distance is known when what it may skip is written. */
function skip(body: Body, name: string, values: { rd?: number; rs1?: number; rs2?: number }): void {
  const from = body.here
  body.emit(name, { ...values, imm: 8 })
  filling(body)
  body.patch(from, name, { ...values, imm: body.here - from })
}

function skipByBranch(body: Body): void {
  const rs1 = body.source()
  skip(body, body.random.pick(branches), { rs1, rs2: body.random.chance(0.2) ? rs1 : body.source() })
}

function skipByJump(body: Body): void {
  skip(body, 'jal', { rd: body.destination() })
}

function skipByCompressed(body: Body): void {
  const name = body.random.pick(['c.j', 'c.beqz', 'c.bnez'])
  skip(body, name, name === 'c.j' ? {} : { rs1: body.random.between(8, 15) })
}

/** A loop of a few turns, with a branch at its end or in its middle. */
function loop(body: Body): void {
  const turns = body.random.between(1, 5)
  body.keeping((counter) => {
    body.emit('addi', { rd: counter, rs1: 0, imm: turns })
    const top = body.here
    filling(body, 3)
    body.emit('addi', { rd: counter, rs1: counter, imm: -1 })
    if (body.random.chance(0.3)) {
      body.emit('beq', { rs1: counter, rs2: 0, imm: 8 })
      body.emit('jal', { rd: body.destination(), imm: top - body.here })
    } else body.emit('bne', { rs1: counter, rs2: 0, imm: top - body.here })
  })
}

/** auipc and jalr over a few instructions; bit 0 of the sum is ignored. */
function jumpThroughRegister(body: Body): void {
  const { random } = body
  body.keeping((base) => {
    const from = body.here
    body.emit('auipc', { rd: base, imm: 0 })
    const at = body.here
    const compressed = random.chance(0.3)
    const link = random.chance(0.2) ? base : body.destination()
    if (compressed) {
      const low = body.here
      body.emit('addi', { rd: base, rs1: base, imm: 0 })
      const name = random.pick(body.isFree(1) ? ['c.jr', 'c.jalr'] : ['c.jr'])
      body.emit(name, { rs1: base })
      filling(body)
      body.patch(low, 'addi', { rd: base, rs1: base, imm: body.here - from })
      return
    }
    body.emit('jalr', { rd: link, rs1: base, imm: 0 })
    filling(body)
    body.patch(at, 'jalr', { rd: link, rs1: base, imm: (body.here - from) | random.below(2) })
  })
}

/** A call of one of the return instructions beside the data pages. */
function callAndReturn(body: Body): void {
  if (!body.isFree(1)) return
  body.keeping((base) => {
    body.pointTo(base, body.returnDistance())
    body.emit('jalr', { rd: 1, rs1: base, imm: 0 })
  })
}

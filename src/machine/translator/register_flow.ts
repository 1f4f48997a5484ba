/**
 * Which registers of the guest are in the local variables of a region, and which of these must be stored when it is left.
 *
 * A register is *valid* where its local variable holds its value, and *dirty* where memory may not. A visit of a region is
 * often short: what is loaded and stored is what lies on the way that is taken. What a loop uses is loaded before the loop.
 *
 *   - Valid stays valid. Where paths meet, valid is what is valid on all of them, and what is dirty on any: an edge loads what
 *     is missing (`Edge.loads`).
 *   - A block loads at its start what it reads and is not valid, and what it writes behind an instruction at which the region may
 *     be left: then all that is dirty at its end can be stored anywhere in it.
 */
import { type Instruction, instructions } from '../../isa/instructions.ts'
import { isPure } from '../predecode.ts'
import type { Block, PlacedInstruction } from './control_flow.ts'
import type { FlowGraph } from './structure.ts'

/** A set of registers: a bit for each of x1 to x31, and of f0 to f31; x0, which is in none, stands for FLOAT_STATE. */
export interface Registers {
  readonly x: number
  readonly f: number
}

export const NO_REGISTERS: Registers = { x: 0, f: 0 }
/** What floating-point instructions look at (float_state.ts): it is loaded like a register. */
export const FLOAT_STATE: Registers = { x: 1, f: 0 }

export const union = (one: Registers, other: Registers): Registers => ({
  x: one.x | other.x,
  f: one.f | other.f,
})
const both = (one: Registers, other: Registers): Registers => ({ x: one.x & other.x, f: one.f & other.f })
export const without = (one: Registers, other: Registers): Registers => ({
  x: one.x & ~other.x,
  f: one.f & ~other.f,
})

/** The registers of a region at the start of a block, or at its end. */
export interface RegistersAt {
  readonly valid: Registers
  readonly dirty: Registers
}

export interface BlockRegisters {
  readonly start: RegistersAt
  /** What is loaded at the start of the block. */
  readonly loads: Registers
  readonly end: RegistersAt
}

export interface RegisterFlow {
  /** All that the region uses. */
  readonly used: Registers
  at(start: number): BlockRegisters
}

/** Whether a region may be left in the middle of an instruction, by a trap or because translations were dropped. */
export const mayLeave: readonly boolean[] = instructions.map(
  (instruction: Instruction) => !isPure(instruction) && !['B', 'J'].includes(instruction.format),
)

export function findRegisterFlow(graph: FlowGraph, blocks: ReadonlyMap<number, Block>): RegisterFlow {
  const uses = new Map(graph.nodes.map((start) => [start, useOf(blocks.get(start)!.instructions)]))
  const loops = usedInLoops(graph, uses)
  const found = new Map<number, BlockRegisters>()
  const incoming = new Map<number, RegistersAt[]>(graph.nodes.map((start) => [start, []]))
  for (const [index, start] of graph.nodes.entries()) {
    const before = index === 0 ? [{ valid: NO_REGISTERS, dirty: NO_REGISTERS }] : incoming.get(start)!
    const registers = through(before, uses.get(start)!, loops.get(start))
    found.set(start, registers)
    for (const { head } of graph.headsUnder(start)) incoming.get(head)!.push(registers.start)
    for (const to of graph.nextOf(start)) if (!graph.isBack(start, to)) incoming.get(to)!.push(registers.end)
  }
  const used = [...uses.values()].map((use) => use.all).reduce(union, NO_REGISTERS)
  return { used, at: (start) => found.get(start)! }
}

/** What instructions do with registers, one after the other. */
interface Use {
  /** Must be valid at the start. */
  readonly needed: Registers
  readonly written: Registers
  readonly all: Registers
}

function useOf(list: readonly PlacedInstruction[]): Use {
  let needed = NO_REGISTERS
  let written = NO_REGISTERS
  let mayHaveLeft = false
  for (const instruction of list) {
    needed = union(needed, without(readBy(instruction), written))
    mayHaveLeft ||= mayLeave[instruction.op]!
    const target = writtenBy(instruction)
    if (mayHaveLeft) needed = union(needed, without(target, written))
    written = union(written, target)
  }
  return { needed, written, all: union(needed, written) }
}

function readBy(instruction: PlacedInstruction): Registers {
  const { registers, extension } = instructions[instruction.op]!
  let read = extension === 'F' || extension === 'D' ? FLOAT_STATE : NO_REGISTERS
  for (const field of ['rs1', 'rs2', 'rs3'] as const)
    read = union(read, one(registers[field], instruction[field]))
  return read
}

function writtenBy(instruction: PlacedInstruction): Registers {
  return one(instructions[instruction.op]!.registers.rd, instruction.rd)
}

function one(file: 'x' | 'f' | undefined, number: number): Registers {
  if (file === undefined || (file === 'x' && number === 0)) return NO_REGISTERS
  return file === 'x' ? { x: 1 << number, f: 0 } : { x: 0, f: 1 << number }
}

/** What loops use and write, by their heads. */
interface LoopUse {
  readonly all: Registers
  readonly written: Registers
}

function usedInLoops(graph: FlowGraph, uses: ReadonlyMap<number, Use>): Map<number, LoopUse> {
  const loops = new Map<number, LoopUse>()
  const before = new Map<number, number[]>(graph.nodes.map((start) => [start, []]))
  for (const from of graph.nodes) for (const to of graph.nextOf(from)) before.get(to)!.push(from)
  for (const head of graph.nodes) {
    if (!graph.isLoopHead(head)) continue
    // The natural loop: what comes to its back edges without passing its head.
    const body = new Set([head])
    for (const from of before.get(head)!) if (graph.isBack(from, head)) body.add(from)
    for (const node of body) if (node !== head) for (const from of before.get(node)!) body.add(from)
    const inside = [...body].map((node) => uses.get(node)!)
    loops.set(head, {
      all: inside.map((use) => use.all).reduce(union),
      written: inside.map((use) => use.written).reduce(union),
    })
  }
  return loops
}

function through(before: readonly RegistersAt[], use: Use, loop: LoopUse | undefined): BlockRegisters {
  let dirty = before.map((at) => at.dirty).reduce(union)
  let valid = before.map((at) => at.valid).reduce(both)
  if (loop !== undefined) {
    dirty = union(dirty, loop.written)
    valid = union(valid, loop.all)
  }
  valid = union(valid, dirty)
  const loads = without(use.needed, valid)
  const end = { valid: union(union(valid, loads), use.written), dirty: union(dirty, use.written) }
  return { start: { valid, dirty }, loads, end }
}

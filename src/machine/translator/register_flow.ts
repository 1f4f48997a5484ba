/**
 * Which registers of the guest are in the local variables of a region, and which of these must be stored when it is left.
 *
 * A register is *valid* where its local variable holds its value, and *dirty* where memory may not. A visit of a region is
 * often short: what is loaded and stored is what lies on the way that is taken. What a loop uses is loaded before the loop.
 *
 *   - Valid stays valid. Where paths meet, valid is what is valid on all of them, and what is dirty on any: an edge loads what
 *     is missing.
 *   - A call of what is elsewhere stores all that is dirty; nothing is valid behind it. What is dirty before a loop with
 *     such a call is stored by the edges that enter the loop.
 *   - A block loads at its start what it reads and is not valid, and what it writes behind an instruction at which the region may
 *     be left: then all that is dirty at its end can be stored anywhere in it.
 */
import { type Instruction, instructions } from '../../isa/instructions.ts'
import { isPure } from '../predecode.ts'
import type { PlacedInstruction } from './block_end.ts'
import type { Block } from './control_flow.ts'
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
  /** Behind all its instructions, and behind the call if the last of them is one. */
  readonly inside: RegistersAt
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

/** Nothing is valid: where a region begins, and behind a call of what is elsewhere. */
export const NOTHING_VALID: RegistersAt = { valid: NO_REGISTERS, dirty: NO_REGISTERS }

export function findRegisterFlow(graph: FlowGraph, blocks: ReadonlyMap<number, Block>): RegisterFlow {
  const uses = new Map(graph.nodes.map((start) => [start, useOf(blocks.get(start)!.instructions)]))
  const isCall = (start: number): boolean => {
    const { end } = blocks.get(start)!
    return end.kind === 'call' && end.into === undefined
  }
  const before = edgesBefore(graph)
  const { wanted, withCalls } = lookAtLoops(graph, before, uses, isCall)
  const found = new Map<number, BlockRegisters>()
  for (let isChanged = true; isChanged; ) {
    isChanged = false
    for (const [index, start] of graph.nodes.entries()) {
      const states = index === 0 ? [NOTHING_VALID] : []
      for (const { from, isWayIn } of likelyEdges(start, before.get(start)!, graph, blocks)) {
        const known = found.get(from)
        if (known === undefined) continue
        const state = isWayIn ? known.start : isUnlikely(from, start, blocks) ? NOTHING_VALID : known.end
        const isEntering = withCalls.has(start) && !graph.isBack(from, start)
        states.push(isEntering ? { ...state, dirty: NO_REGISTERS } : state)
      }
      const registers = through(states, uses.get(start)!, wanted.get(start) ?? NO_REGISTERS, isCall(start))
      isChanged ||= !isSame(registers, found.get(start))
      found.set(start, registers)
    }
  }
  const used = [...uses.values()].map((use) => use.all).reduce(union, NO_REGISTERS)
  return { used, at: (start) => found.get(start)! }
}

/** An edge to a node; by the way into a loop, or at the end of the node that it comes from. */
interface EdgeBefore {
  readonly from: number
  readonly isWayIn: boolean
}

function edgesBefore(graph: FlowGraph): Map<number, EdgeBefore[]> {
  const before = new Map<number, EdgeBefore[]>(graph.nodes.map((start) => [start, []]))
  for (const from of graph.nodes) {
    for (const to of graph.nextOf(from)) before.get(to)!.push({ from, isWayIn: false })
    for (const { node } of graph.waysInUnder(from)) before.get(node)!.push({ from, isWayIn: true })
  }
  return before
}

/** Whether an edge is that of a call of a function that is taken in, and yet something else was called. */
function isUnlikely(from: number, to: number, blocks: ReadonlyMap<number, Block>): boolean {
  const { end } = blocks.get(from)!
  return end.kind === 'call' && end.into !== undefined && to !== end.into
}

/**
 * The edges by which it depends what is valid at a node. Behind a function that is taken in those are the ones that come from it, if any;
 * the others load what is missing.
 */
function likelyEdges(
  to: number,
  edges: readonly EdgeBefore[],
  graph: FlowGraph,
  blocks: ReadonlyMap<number, Block>,
): readonly EdgeBefore[] {
  if (!edges.some(({ from }) => isUnlikely(from, to, blocks))) return edges
  const likely = edges.filter(({ from, isWayIn }) => !isWayIn && !isUnlikely(from, to, blocks))
  // Nothing may come back from the function; a loop that begins here is entered by the others then.
  return likely.some(({ from }) => !graph.isBack(from, to)) ? likely : edges
}

function isSame(one: BlockRegisters, other: BlockRegisters | undefined): boolean {
  if (other === undefined) return false
  const equal = (left: Registers, right: Registers): boolean => left.x === right.x && left.f === right.f
  return (
    equal(one.start.valid, other.start.valid) &&
    equal(one.start.dirty, other.start.dirty) &&
    equal(one.end.valid, other.end.valid) &&
    equal(one.end.dirty, other.end.dirty)
  )
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

interface Loops {
  /** What is loaded before loops, by their heads: all that they use, unless a call in them makes it invalid each time. */
  readonly wanted: ReadonlyMap<number, Registers>
  /** The heads of loops with calls: what is dirty before them is stored there, and not in front of the calls each time. */
  readonly withCalls: ReadonlySet<number>
}

function lookAtLoops(
  graph: FlowGraph,
  before: ReadonlyMap<number, readonly EdgeBefore[]>,
  uses: ReadonlyMap<number, Use>,
  isCall: (start: number) => boolean,
): Loops {
  const wanted = new Map<number, Registers>()
  const withCalls = new Set<number>()
  for (const head of graph.nodes) {
    if (!graph.isLoopHead(head)) continue
    // The natural loop: what comes to its back edges without passing its head.
    const body = new Set([head])
    for (const { from } of before.get(head)!) if (graph.isBack(from, head)) body.add(from)
    for (const node of body) if (node !== head) for (const { from } of before.get(node)!) body.add(from)
    const inside = [...body]
    if (inside.some(isCall)) withCalls.add(head)
    else wanted.set(head, inside.map((node) => uses.get(node)!.all).reduce(union))
  }
  return { wanted, withCalls }
}

function through(
  states: readonly RegistersAt[],
  use: Use,
  wanted: Registers,
  isCall: boolean,
): BlockRegisters {
  const dirty = states.map((at) => at.dirty).reduce(union)
  const valid = union(union(states.map((at) => at.valid).reduce(both), wanted), dirty)
  const loads = without(use.needed, valid)
  const inside = { valid: union(union(valid, loads), use.written), dirty: union(dirty, use.written) }
  return { start: { valid, dirty }, loads, inside, end: isCall ? NOTHING_VALID : inside }
}

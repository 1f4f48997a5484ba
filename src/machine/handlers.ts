/**
 * The interpreter's handlers: what they execute, and their numbers, which predecoded instructions carry.
 *
 * A handler is one instruction in one of its two lengths, or a sequence of them that is often met (fused_sequences.ts),
 * or no instruction at all (HANDLER). Numbers follow the dispatch tree (dispatch_tree.ts): first the cold handlers, the
 * ones in HANDLER foremost; then the hot ones in the order of the tree's leaves.
 */
import { assert } from '../base/assert.ts'
import { compressedInstructions } from '../isa/compressed.ts'
import { type Instruction, instructions } from '../isa/instructions.ts'
import { buildDispatchTree, type DispatchTree, leavesOf } from './dispatch_tree.ts'
import { fusedSequences } from './fused_sequences.ts'
import { handlerShares, SHARES_TOTAL } from './handler_shares.ts'

/** Handlers that are no instructions. Memory of zeros is not decoded yet. */
export const HANDLER = {
  undecoded: 0,
  pageEnd: 1,
  straddle: 2,
  illegal: 3,
  nop4: 4,
  nop2: 5,
  region: 6,
} as const

/** An instruction as a handler executes it. */
export interface HandlerVariant {
  readonly instruction: Instruction
  readonly length: 2 | 4
  /** `sd.c` (two bytes) or `sd` (four bytes). */
  readonly name: string
}

/** A handler of one instruction or of several that follow each other. */
export interface InstructionHandler {
  /** The names of its parts, joined by spaces. */
  readonly name: string
  readonly parts: readonly HandlerVariant[]
}

function listVariants(): HandlerVariant[] {
  const compressed = new Set(compressedInstructions.map(({ expansion }) => expansion.op))
  return instructions.flatMap((instruction) => {
    const wide = { instruction, length: 4 as const, name: instruction.name }
    const short = { instruction, length: 2 as const, name: `${instruction.name}.c` }
    return compressed.has(instruction.op) ? [wide, short] : [wide]
  })
}

const variants = listVariants()
const variantOf = new Map(variants.map((variant) => [variant.name, variant]))

function handlerOf(name: string): InstructionHandler {
  const parts = name.split(' ').map((part) => {
    const variant = variantOf.get(part)
    assert(variant !== undefined, `no handler for ${part}`)
    return variant
  })
  return { name, parts }
}

/** The tree by which `run` finds the handler of a number. Its leaves are handlers' names; the cold ones share a leaf. */
export const dispatchTree: DispatchTree = buildDispatchTree(handlerShares, SHARES_TOTAL)

const hotNames = leavesOf(dispatchTree)

/** All names in the order of numbers: the cold ones, which are dispatched through a table, and the hot ones. */
const names = orderedNames()

function orderedNames(): string[] {
  const named = [...Object.keys(HANDLER), ...variantOf.keys(), ...fusedSequences]
  const known = new Set(named)
  assert(known.size === named.length, 'a sequence is there twice')
  for (const name of hotNames)
    assert(known.has(name), `a share of the steps for ${name}, which has no handler`)
  return [...named.filter((name) => !handlerShares.has(name)), ...hotNames]
}

/** How many handlers there are. */
export const HANDLERS = names.length

/** The names of the cold handlers in the order of their numbers, from 0 on. */
export const coldHandlers: readonly string[] = names.slice(0, HANDLERS - hotNames.length)

/** The handlers that are instructions. */
export const instructionHandlers: readonly InstructionHandler[] = names
  .filter((name) => !(name in HANDLER))
  .map(handlerOf)

const numbers = new Map(names.map((name, number) => [name, number]))

/** The number of the handler with this name (InstructionHandler, HANDLER). */
export function handlerNumber(name: string): number {
  const number = numbers.get(name)
  assert(number !== undefined, `no handler is called ${name}`)
  return number
}

/** The number of the handler of one instruction, or of the illegal one where there is none of this length. */
export function variantNumber({ name }: Instruction, length: 2 | 4): number {
  return numbers.get(length === 2 ? `${name}.c` : name) ?? HANDLER.illegal
}

/**
 * The control flow of a piece of a page of code: blocks of instructions that can be reached from an entry without leaving
 * the page, but for small functions that are called, and where each goes on. Places are offsets in the page.
 *
 * A call of what is in the page is followed, and a return is taken to go to behind one of the calls, if it does when the
 * time comes. Other calls are expected to come back. Of other jumps to an address in a register some targets may be known. They
 * end the region otherwise, as does an instruction that only the
 * interpreter executes, and what lies beyond the region's size.
 *
 * A small function of another page can be *taken in* at a call of it (small_functions.ts), anew for each call. Places in it are
 * offsets in its own page, far from all others. The region is never entered there: such a function goes forward only, and all of it is behind
 * its call.
 */
import {
  type BlockEnd,
  decodeIn,
  endOf,
  isInPage,
  offsetOf,
  type PlacedInstruction,
  RA,
  TAKEN_IN,
  takenInOf,
} from './block_end.ts'
import { INSTRUCTIONS_MAX as FUNCTION_MAX, findSmallFunction, type OtherCode } from './small_functions.ts'

export interface Block {
  readonly start: number
  readonly instructions: readonly PlacedInstruction[]
  readonly end: BlockEnd
}

export interface Flow {
  /** By their starts. */
  readonly blocks: ReadonlyMap<number, Block>
  /** Where returns may go: behind the calls that are followed. */
  readonly returns: readonly number[]
  /** Where it would go on if that had been executed. */
  readonly leftOut: ReadonlySet<number>
  readonly takenIn: readonly TakenIn[]
}

/** A small function of another page at a call of it. */
export interface TakenIn {
  readonly code: OtherCode
  /** The offsets at which its blocks begin: what else is executed meanwhile is not in it. */
  readonly starts: ReadonlySet<number>
  /** Behind the call. */
  readonly next: number
}

/** More than so many places to return to are not looked at. */
const RETURNS_MAX = 6
/** The most instructions that a region may have. */
const INSTRUCTIONS_MAX = 400
/** The most functions that it may take in. */
const TAKEN_IN_MAX = 16

/** What is known of a page's code beside its bytes. */
export interface FlowHints {
  /** Whether a place has been executed, so that it is worth its code. */
  isMet(offset: number): boolean
  /** Whether a place has been translated already, so that it is left to that. */
  isElsewhere(offset: number): boolean
  /** Where a jump to an address in a register has been seen to go within the page. */
  targetsOf(offset: number): readonly number[]
  /** What is called: at a distance from the page's start, or, where that is unknown, by the call at an offset of the page. */
  codeAt(distance: number): OtherCode | undefined
  calledFrom(offset: number): OtherCode | undefined
}

const NO_HINTS: FlowHints = {
  isMet: () => true,
  isElsewhere: () => false,
  targetsOf: () => [],
  codeAt: () => undefined,
  calledFrom: () => undefined,
}

/** What can be reached from `entry` in a page. There is no block if there is nothing to translate. */
export function findFlow(page: DataView, entry: number, hints: FlowHints = NO_HINTS): Flow {
  const code = new CodeReader(page, hints)
  const starts = code.explore(entry)
  const blocks = new Map<number, Block>()
  for (const start of starts) {
    const block = code.blockAt(start, starts)
    if (block.instructions.length > 0) blocks.set(start, block)
  }
  const returns = [...code.returns].filter((start) => blocks.has(start)).slice(0, RETURNS_MAX)
  return { blocks, returns, leftOut: code.leftOut, takenIn: code.takenIn }
}

class CodeReader {
  readonly #page: DataView
  readonly #hints: FlowHints
  readonly #found = new Map<number, PlacedInstruction>()
  /** Behind the calls that have been followed. */
  readonly returns = new Set<number>()
  readonly leftOut = new Set<number>()
  readonly takenIn: TakenIn[] = []
  /** Where what is called at a place begins, if it is taken in. */
  readonly #into = new Map<number, number>()

  constructor(page: DataView, hints: FlowHints) {
    this.#page = page
    this.#hints = hints
  }

  /** Decodes all that can be reached; returns where blocks begin. */
  explore(entry: number): Set<number> {
    const starts = new Set([entry])
    // Breadth first, so that what is nearest to the entry is in the region if not all can be.
    for (const start of starts) {
      for (const next of this.#follow(start))
        if (this.#found.size < INSTRUCTIONS_MAX && this.#isWanted(next)) starts.add(next)
    }
    return starts
  }

  #isWanted(place: number): boolean {
    const taken = this.#takenInAt(place)
    if (taken !== undefined) return taken.starts.has(offsetOf(place))
    const isMet = this.#hints.isMet(place)
    if (!isMet) this.leftOut.add(place)
    return isMet && !this.#hints.isElsewhere(place)
  }

  #takenInAt(place: number): TakenIn | undefined {
    return this.takenIn[takenInOf(place) - 1]
  }

  blockAt(start: number, starts: ReadonlySet<number>): Block {
    const list: PlacedInstruction[] = []
    for (let at = start; ; ) {
      if (at !== start && starts.has(at))
        return { start, instructions: list, end: { kind: 'fall', next: at } }
      const instruction = this.#found.get(at)
      if (instruction === undefined) return { start, instructions: list, end: { kind: 'leave', at } }
      const end = this.#endOf(instruction, list.at(-1))
      list.push(instruction)
      if (end !== undefined) return { start, instructions: list, end }
      at += instruction.length
    }
  }

  /** Decodes from `start` to where the flow divides or ends; returns where it goes on. */
  #follow(start: number): readonly number[] {
    let previous: PlacedInstruction | undefined
    for (let at = start; !this.#found.has(at); ) {
      if (at !== start && this.#takenInAt(at) === undefined && this.#hints.isElsewhere(at)) return []
      const instruction = this.#found.size < INSTRUCTIONS_MAX ? this.#decode(at) : undefined
      if (instruction === undefined) return []
      this.#found.set(at, instruction)
      const end = this.#endOf(instruction, previous)
      previous = instruction
      if (end === undefined) at += instruction.length
      else if (end.kind === 'branch') return [end.next, end.taken].filter(isInPage)
      else if (end.kind === 'call') return [...this.#takeIn(instruction.offset, end), end.next]
      else if (end.kind === 'indirect') return end.targets
      else if (end.kind === 'jump') return this.#jump(instruction, end.target)
      else return []
    }
    return []
  }

  #endOf(instruction: PlacedInstruction, previous: PlacedInstruction | undefined): BlockEnd | undefined {
    const end = endOf(instruction, previous)
    const { offset } = instruction
    const taken = this.#takenInAt(offset)
    if (taken !== undefined) return endInFunction(end, taken)
    const into = this.#into.get(offset)
    if (end?.kind === 'call' && into !== undefined) return { ...end, into }
    if (end?.kind !== 'indirect' || end.isReturn) return end
    return { ...end, targets: this.#hints.targetsOf(offset).filter(isInPage) }
  }

  /** Takes in what is called at a place of the page, if that is small; returns where it begins. */
  #takeIn(place: number, { target, next }: { target: number | undefined; next: number }): readonly number[] {
    const hasRoom = this.takenIn.length < TAKEN_IN_MAX && this.#found.size + FUNCTION_MAX <= INSTRUCTIONS_MAX
    if (!hasRoom || this.#takenInAt(place) !== undefined) return []
    const code = target === undefined ? this.#hints.calledFrom(place) : this.#hints.codeAt(target)
    const starts = code === undefined ? undefined : findSmallFunction(code)
    if (code === undefined || starts === undefined) return []
    this.takenIn.push({ code, starts, next })
    const into = this.takenIn.length * TAKEN_IN + code.offset
    this.#into.set(place, into)
    return [into]
  }

  #jump({ rd, offset, length }: PlacedInstruction, target: number): readonly number[] {
    if (!isInPage(target)) return []
    if (rd !== RA) return rd === 0 ? [target] : []
    this.returns.add(offset + length)
    return [target, offset + length].filter(isInPage)
  }

  /** Undefined where there is nothing that can be translated. */
  #decode(place: number): PlacedInstruction | undefined {
    const page = this.#takenInAt(place)?.code.bytes ?? this.#page
    const decoded = decodeIn(page, offsetOf(place))
    return decoded === undefined ? undefined : { ...decoded, offset: place }
  }
}

/** Where a block of a function goes that is taken in: it returns behind its call, and so does what it ends by jumping to. */
function endInFunction(end: BlockEnd | undefined, { next }: TakenIn): BlockEnd | undefined {
  if (end?.kind === 'indirect') {
    return end.isReturn ? { ...end, targets: [next] } : { kind: 'call', target: undefined, next }
  }
  if (end?.kind === 'jump' && !isInPage(end.target)) return { kind: 'call', target: end.target, next }
  return end
}

/** Where a block may go on within the region. */
export function successors({ end }: Block, { returns }: Pick<Flow, 'returns'>): readonly number[] {
  if (end.kind === 'fall') return [end.next]
  if (end.kind === 'call') return end.into === undefined ? [end.next] : [end.into, end.next]
  if (end.kind === 'branch') return [end.next, end.taken]
  if (end.kind === 'jump') return [end.target]
  if (end.kind === 'indirect') return end.isReturn && end.targets.length === 0 ? returns : end.targets
  return []
}

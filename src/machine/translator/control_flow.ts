/**
 * The control flow of a piece of a page of code: blocks of instructions that can be reached from an entry without leaving
 * the page, and where each goes on. All addresses are offsets in the page.
 *
 * A call of what is in the page is followed, and a return is taken to go to behind one of the calls, if it does when the
 * time comes. Other calls are expected to come back. Of other jumps to an address in a register some targets may be known. They
 * end the region otherwise, as does an instruction that only the
 * interpreter executes, and what lies beyond the region's size.
 */
import { type Decoded, decode, emptyDecoded } from '../../isa/decode.ts'
import { instructions } from '../../isa/instructions.ts'
import { PAGE_BYTES } from '../layout.ts'

/** An instruction with the offset at which it stands. */
export interface PlacedInstruction extends Readonly<Decoded> {
  readonly offset: number
}

/** Where a block goes at its end. */
export type BlockEnd =
  /** Goes on there, without an instruction of its own. */
  | { readonly kind: 'fall'; readonly next: number }
  /** By the last instruction: a branch, a jump, a jump to an address in a register. */
  | { readonly kind: 'branch'; readonly taken: number; readonly next: number }
  | { readonly kind: 'jump'; readonly target: number }
  | { readonly kind: 'indirect'; readonly isReturn: boolean; readonly targets: readonly number[] }
  /** By the last instruction, a call of what is elsewhere; goes on at `next` if it comes back there. */
  | { readonly kind: 'call'; readonly target: number | undefined; readonly next: number }
  /** The region has no more of this path: the page ends, or what stands there is not translated, or it is too large already. */
  | { readonly kind: 'leave'; readonly at: number }

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
}

/** Return register of calls (RISC-V ABI). */
const RA = 1
/** More than so many places to return to are not looked at. */
const RETURNS_MAX = 6
/** The most instructions that a region may have. */
const INSTRUCTIONS_MAX = 400

/** What only the interpreter executes: it changes what the course of things depends on, beyond registers and memory. */
const untranslated = instructions.map(
  ({ name, extension }) =>
    (extension === 'Priv' && name !== 'sfence.vma') || ['ecall', 'ebreak', 'pause'].includes(name),
)
const isCsr = instructions.map(({ name }) => name.startsWith('csr'))
/** fflags, frm and fcsr: a region keeps what it knows of them. */
const FLOAT_CSR_MAX = 3
const isBranch = instructions.map(({ format }) => format === 'B')
const isJump = instructions.map(({ name }) => name === 'jal')
const isAuipc = instructions.map(({ name }) => name === 'auipc')
const isIndirect = instructions.map(({ name }) => name === 'jalr')

const isInPage = (offset: number): boolean => offset >= 0 && offset < PAGE_BYTES

/** What is known of a page's code beside its bytes. */
export interface FlowHints {
  /** Whether a place has been executed, so that it is worth its code. */
  isMet(offset: number): boolean
  /** Whether a place has been translated already, so that it is left to that. */
  isElsewhere(offset: number): boolean
  /** Where a jump to an address in a register has been seen to go within the page. */
  targetsOf(offset: number): readonly number[]
}

const NO_HINTS: FlowHints = { isMet: () => true, isElsewhere: () => false, targetsOf: () => [] }

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
  return { blocks, returns, leftOut: code.leftOut }
}

class CodeReader {
  readonly #page: DataView
  readonly #hints: FlowHints
  readonly #found = new Map<number, PlacedInstruction>()
  /** Behind the calls that have been followed. */
  readonly returns = new Set<number>()
  readonly leftOut = new Set<number>()

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

  #isWanted(offset: number): boolean {
    const isMet = this.#hints.isMet(offset)
    if (!isMet) this.leftOut.add(offset)
    return isMet && !this.#hints.isElsewhere(offset)
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
      if (at !== start && this.#hints.isElsewhere(at)) return []
      const instruction = this.#found.size < INSTRUCTIONS_MAX ? this.#decode(at) : undefined
      if (instruction === undefined) return []
      this.#found.set(at, instruction)
      const end = this.#endOf(instruction, previous)
      previous = instruction
      if (end === undefined) at += instruction.length
      else if (end.kind === 'branch') return [end.next, end.taken].filter(isInPage)
      else if (end.kind === 'call') return [end.next]
      else if (end.kind === 'indirect') return end.targets
      else if (end.kind === 'jump') return this.#jump(instruction, end.target)
      else return []
    }
    return []
  }

  #endOf(instruction: PlacedInstruction, previous: PlacedInstruction | undefined): BlockEnd | undefined {
    const end = endOf(instruction, previous)
    if (end?.kind !== 'indirect' || end.isReturn) return end
    return { ...end, targets: this.#hints.targetsOf(instruction.offset).filter(isInPage) }
  }

  #jump({ rd, offset, length }: PlacedInstruction, target: number): readonly number[] {
    if (!isInPage(target)) return []
    if (rd !== RA) return rd === 0 ? [target] : []
    this.returns.add(offset + length)
    return [target, offset + length].filter(isInPage)
  }

  /** Undefined where there is nothing that can be translated. */
  #decode(offset: number): PlacedInstruction | undefined {
    if (!isInPage(offset + 1)) return undefined
    const low = this.#page.getUint16(offset, true)
    const isLong = (low & 3) === 3
    if (isLong && !isInPage(offset + 3)) return undefined
    const decoded = emptyDecoded()
    const isKnown = decode(isLong ? this.#page.getUint32(offset, true) : low, decoded)
    return isKnown && isTranslated(decoded) ? { ...decoded, offset } : undefined
  }
}

function isTranslated({ op, imm }: Decoded): boolean {
  return !untranslated[op] && !(isCsr[op] && imm <= FLOAT_CSR_MAX)
}

/** How an instruction ends its block, given the one before it there; undefined if it does not. */
function endOf(
  instruction: PlacedInstruction,
  previous: PlacedInstruction | undefined,
): BlockEnd | undefined {
  const { op, offset, length, imm, rd, rs1 } = instruction
  if (isBranch[op]) return { kind: 'branch', taken: offset + imm, next: offset + length }
  const next = offset + length
  const jump = (target: number): BlockEnd =>
    rd === RA && !isInPage(target) && isInPage(next)
      ? { kind: 'call', target, next }
      : { kind: 'jump', target }
  if (isJump[op]) return jump(offset + imm)
  // The two halves of a far call or jump.
  if (isIndirect[op] && rs1 !== 0 && previous?.rd === rs1 && isAuipc[previous.op]) {
    const target = previous.offset + previous.imm + imm
    return jump(target - Math.abs(target % 2))
  }
  if (isIndirect[op] && rd === RA && isInPage(next)) return { kind: 'call', target: undefined, next }
  if (!isIndirect[op]) return undefined
  return { kind: 'indirect', isReturn: rd === 0 && rs1 === RA && imm === 0, targets: [] }
}

/** Where a block may go on within the region. */
export function successors({ end }: Block, { returns }: Flow): readonly number[] {
  if (end.kind === 'fall' || end.kind === 'call') return [end.next]
  if (end.kind === 'branch') return [end.next, end.taken]
  if (end.kind === 'jump') return [end.target]
  if (end.kind === 'indirect') return end.isReturn ? returns : end.targets
  return []
}

/**
 * Functions of other pages that are small enough to be part of the regions that call them: the stubs by which programs call
 * libraries, comparisons for sorting, accessors.
 *
 * Where the call is, the region looks whether the address that is called is that of the function now: it finds the page in
 * the hart's fetch bank, as `chain` does. If not it calls by that.
 */
import { instructions } from '../../isa/instructions.ts'
import { decodeIn, endOf, isInPage, type PlacedInstruction, RA } from './block_end.ts'

/** Code of another page, at the beginning of what is called there. */
export interface OtherCode {
  /** In RAM. */
  readonly page: number
  readonly offset: number
  /** The page. */
  readonly bytes: DataView<ArrayBuffer>
  /** Whether an offset of the page has been executed. */
  isMet(offset: number): boolean
}

const isAtomic = instructions.map(({ extension }) => extension === 'A')

/** The most instructions that such a function has. */
export const INSTRUCTIONS_MAX = 24

/**
 * Where the blocks of a function begin if it is small: straight or branching forward only, to some `ret`, or to a jump elsewhere. Then it
 * has no loop for which it would have to be entered by itself. It has no atomics, which go on though they have dropped
 * translations: the caller's might be among those. Undefined if it is not. Only what has been executed counts, and is in it.
 */
export function findSmallFunction(code: OtherCode): ReadonlySet<number> | undefined {
  const { bytes, offset } = code
  if (!code.isMet(offset)) return undefined
  const starts = new Set([offset])
  let count = 0
  for (const start of starts) {
    let previous: PlacedInstruction | undefined
    for (let at = start; ; ) {
      const decoded = decodeIn(bytes, at)
      if (decoded === undefined || isAtomic[decoded.op]! || ++count > INSTRUCTIONS_MAX) return undefined
      const instruction = { ...decoded, offset: at }
      const end = endOf(instruction, previous)
      previous = instruction
      at += decoded.length
      if (end === undefined) continue
      // By whatever register: what is called so is no part of it.
      if (end.kind === 'call' || decoded.rd === RA || (end.kind === 'jump' && decoded.rd !== 0))
        return undefined
      const next = end.kind === 'branch' ? [end.next, end.taken] : end.kind === 'jump' ? [end.target] : []
      const inside = next.filter(isInPage)
      if (inside.some((to) => to < at)) return undefined
      for (const to of inside) if (code.isMet(to)) starts.add(to)
      break
    }
  }
  return starts
}

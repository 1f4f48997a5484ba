/**
 * Instructions of a page as the translator sees them: which are translated, and where each that ends a block goes on.
 *
 * Places are offsets in the region's page. Those in a function that is taken in from another page (small_functions.ts) are offsets in that,
 * and far from all others, anew for each call of it.
 */
import { type Decoded, decode, emptyDecoded } from '../../isa/decode.ts'
import { instructions } from '../../isa/instructions.ts'
import { PAGE_BYTES } from '../layout.ts'

/** Between the places of what is taken in: farther than any instruction can name. */
export const TAKEN_IN = 2 ** 34

/** Of what is taken in, which one a place belongs to, counted from 1; 0 for the region's own page. */
export const takenInOf = (place: number): number => Math.round(place / TAKEN_IN)
/** Where in its page a place is; or relative to it, if it is none. */
export const offsetOf = (place: number): number => place - takenInOf(place) * TAKEN_IN

export function isInPage(place: number): boolean {
  const offset = offsetOf(place)
  return offset >= 0 && offset < PAGE_BYTES
}

/** An instruction with the place at which it stands. */
export interface PlacedInstruction extends Readonly<Decoded> {
  readonly offset: number
}

/** Where a block goes at its end. */
export type BlockEnd =
  /** Goes on there, without an instruction of its own. */
  | { readonly kind: 'fall'; readonly next: number }
  /** By the last instruction: a branch, a jump, a jump to an address in a register (a return without targets: to any place behind a call). */
  | { readonly kind: 'branch'; readonly taken: number; readonly next: number }
  | { readonly kind: 'jump'; readonly target: number }
  | { readonly kind: 'indirect'; readonly isReturn: boolean; readonly targets: readonly number[] }
  /**
   * By the last instruction, a call of what is elsewhere; goes on at `next` if it comes back there. What is most likely called is at
   * `into`, if that is taken in.
   */
  | {
      readonly kind: 'call'
      readonly target: number | undefined
      readonly next: number
      readonly into?: number
    }
  /** The region has no more of this path: the page ends, or what stands there is not translated, or it is too large already. */
  | { readonly kind: 'leave'; readonly at: number }

/** Return register of calls (RISC-V ABI). */
export const RA = 1

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

/** The instruction at an offset of a page; undefined if it is not translated, or is not all there. */
export function decodeIn(page: DataView, offset: number): Decoded | undefined {
  if (offset < 0 || offset + 2 > PAGE_BYTES) return undefined
  const low = page.getUint16(offset, true)
  const isLong = (low & 3) === 3
  if (isLong && offset + 4 > PAGE_BYTES) return undefined
  const decoded = emptyDecoded()
  const isKnown = decode(isLong ? page.getUint32(offset, true) : low, decoded)
  return isKnown && isTranslated(decoded) ? decoded : undefined
}

function isTranslated({ op, imm }: Decoded): boolean {
  return !untranslated[op] && !(isCsr[op] && imm <= FLOAT_CSR_MAX)
}

/** How an instruction ends its block, given the one before it there; undefined if it does not. */
export function endOf(
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

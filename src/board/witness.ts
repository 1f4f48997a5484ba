/**
 * Witnesses: what a machine was at a recorded digest, kept so that a difference gets a name.
 *
 * A digest says that two machines differ, not where. So whoever records digests keeps, for each of them, the state and
 * the hashes of all pages: a witness. `compareWithWitness` holds another machine against it, field by field and page by
 * page. A witness proves itself: state and hashes together give the digest that was recorded.
 */
import { hash64 } from '../base/hash64.ts'
import { firstDifference } from '../base/state.ts'
import { PAGE_BYTES, RAM_BASE } from '../machine/layout.ts'
import type { Computer } from './computer.ts'

/** A machine at one moment. */
export interface Witness {
  /** What `Computer.saveState` gave. */
  readonly state: Uint8Array
  /** The hash of each page of RAM. */
  readonly hashes: BigUint64Array
}

/** Something that differs, with both values in hexadecimal. */
export interface NamedDifference {
  readonly recorded: string
  readonly replayed: string
}

/** What a machine has other than its witness. */
export interface MachineDifference {
  /** The first register or device field, by its path, `computer.hart0.x10`. */
  readonly field: (NamedDifference & { readonly path: string }) | undefined
  /** The first page of RAM, by its guest physical address; the values are hashes. */
  readonly page: (NamedDifference & { readonly address: number }) | undefined
  /** How many pages differ. */
  readonly pages: number
}

/** The digest of the machine that was witnessed. */
export function witnessedDigest({ state, hashes }: Witness): bigint {
  return BigInt.asUintN(
    64,
    hashes.reduce((sum, hash) => sum + hash, hash64(state)),
  )
}

/** Names what `computer` has other than the witness. The witness must be of a computer with as much RAM. */
export function compareWithWitness(computer: Computer, { state, hashes }: Witness): MachineDifference {
  const { ram } = computer.machine
  const field = firstDifference(state, computer.saveState())
  const pages = ram.pagesUnlike(hashes)
  const page = pages[0]
  return {
    field: field && { path: field.path, recorded: field.left, replayed: field.right },
    page:
      page === undefined
        ? undefined
        : {
            address: RAM_BASE + page * PAGE_BYTES,
            ...{ recorded: hex(hashes[page]!), replayed: hex(ram.pageHash(page)) },
          },
    pages: pages.length,
  }
}

const hex = (hash: bigint): string => hash.toString(16).padStart(16, '0')

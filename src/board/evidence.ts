/**
 * What a copy of a machine had at a digest that differs from the other copy's, small enough to be sent to it: all state
 * but RAM, and the hashes of the pages that have changed since the copies were last known to be equal. The difference
 * must be among them, unless there are more pages than travel.
 *
 *     evidence := index u64 | changed pages u32 | state length u32 | state | pages here u32 | (page u32 | hash u64)...
 */
import { ByteReader, ByteWriter } from '../base/bytes.ts'
import { FormatError } from '../base/errors.ts'
import { firstDifference } from '../base/state.ts'
import { PAGE_BYTES, RAM_BASE } from '../machine/layout.ts'
import type { Computer } from './computer.ts'
import type { Witness } from './witness.ts'

/** 256 MiB that have changed between two digests: 768 KiB of evidence. */
const PAGES_MAX = 65_536
/** A page that the guest has copied since is not alone. */
const PAGES_NAMED = 4
const PAGE_ENTRY_BYTES = 12
const STATE_BYTES_MAX = 128 * 1024
/** The most that evidence can be. */
export const EVIDENCE_BYTES_MAX = 1 << 20

export interface Evidence {
  /** Of the digest's record. */
  readonly index: bigint
  /** Empty if it is too long to travel. */
  readonly state: Uint8Array
  readonly pages: readonly (readonly [page: number, hash: bigint])[]
  /** How many pages have changed; more than are in `pages` if there are too many. */
  readonly changed: number
}

/** What a computer has now, where `equal` are the page hashes of the last digest that was equal. */
export function gatherEvidence(computer: Computer, index: bigint, equal: BigUint64Array): Evidence {
  const { ram } = computer.machine
  const changed = ram.pagesUnlike(equal)
  const pages = changed.slice(0, PAGES_MAX).map((page) => [page, ram.pageHash(page)] as const)
  const state = computer.saveState()
  return {
    index,
    state: state.length > STATE_BYTES_MAX ? new Uint8Array() : state,
    pages,
    changed: changed.length,
  }
}

export function encodeEvidence({ index, state, pages, changed }: Evidence): Uint8Array {
  const writer = new ByteWriter(64 + state.length + 12 * pages.length)
  writer.u64(index)
  writer.u32(changed)
  writer.u32(state.length)
  writer.bytes(state)
  writer.u32(pages.length)
  for (const [page, hash] of pages) {
    writer.u32(page)
    writer.u64(hash)
  }
  return writer.finish()
}

/** @throws FormatError for what is none */
export function decodeEvidence(bytes: Uint8Array): Evidence {
  const reader = new ByteReader(bytes, 'evidence of a divergence')
  const index = reader.u64()
  const changed = reader.u32()
  const state = new Uint8Array(reader.bytes(reader.u32()))
  const count = reader.u32()
  if (reader.remaining !== count * PAGE_ENTRY_BYTES)
    throw new FormatError(`evidence of a divergence: ${reader.remaining} bytes for ${count} pages`)
  const pages = Array.from({ length: count }, () => [reader.u32(), reader.u64()] as const)
  return { index, state, changed, pages }
}

/** A page that differs, and its hash in either copy. */
interface UnlikePage {
  readonly page: number
  readonly here: bigint
  readonly there: bigint
}

/**
 * Names in a line what differs between what this copy had (`own`) and what the other one has. `equal` are this copy's page
 * hashes of the digest before, if they are known: at that one the copies were equal.
 */
export function compareEvidence(own: Witness, theirs: Evidence, equal?: BigUint64Array): string {
  const field = theirs.state.length === 0 ? undefined : firstDifference(own.state, theirs.state)
  const unlike = [
    ...unlikeThere(own, theirs),
    ...(equal === undefined ? [] : changedHere(own, theirs, equal)),
  ]
  const parts: string[] = []
  if (field !== undefined) parts.push(`${field.path} is ${field.left} here and ${field.right} there`)
  for (const { page, here, there } of unlike.slice(0, PAGES_NAMED)) {
    const address = (RAM_BASE + page * PAGE_BYTES).toString(16)
    parts.push(`page 0x${address} has hash ${here.toString(16)} here and ${there.toString(16)} there`)
  }
  if (unlike.length > PAGES_NAMED) parts.push(`and ${unlike.length - PAGES_NAMED} more pages`)
  if (parts.length > 0) return parts.join('; ')
  const more = theirs.changed - theirs.pages.length
  return more > 0
    ? `none of the first ${theirs.pages.length} changed pages differs: it is one of ${more} others`
    : `${theirs.state.length === 0 ? 'no' : 'neither registers, devices nor'} changed pages differ: the difference is in a page that nothing has written`
}

/** Pages that have changed there and are otherwise here. */
function unlikeThere(own: Witness, { pages }: Evidence): UnlikePage[] {
  return pages
    .map(([page, there]) => ({ page, here: own.hashes[page] ?? 0n, there }))
    .filter(({ here, there }) => here !== there)
}

/** Pages that have changed here and not there: what was written there is what they held before, or nothing was. */
function changedHere(own: Witness, { pages, changed }: Evidence, equal: BigUint64Array): UnlikePage[] {
  if (changed > pages.length) return []
  const known = new Set(pages.map(([page]) => page))
  return Array.from(own.hashes.entries())
    .filter(([page, hash]) => hash !== equal[page] && !known.has(page))
    .map(([page, here]) => ({ page, here, there: equal[page]! }))
}

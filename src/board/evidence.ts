/**
 * What a copy of a machine had at a digest that differs from the other copy's, small enough to be sent to it: all state
 * but RAM, and the hashes of the pages that have changed since the copies were last known to be equal. The difference
 * must be among them, unless there are more pages than travel.
 */
import { decodeJson, encodeJson, type JsonObject } from '../base/canonical_json.ts'
import { FormatError } from '../base/errors.ts'
import { firstDifference } from '../base/state.ts'
import { decodeAscii, encodeAscii } from '../base/text.ts'
import { PAGE_BYTES, RAM_BASE } from '../machine/layout.ts'
import type { Computer } from './computer.ts'
import type { Witness } from './witness.ts'

/** So that a text has at most 60,000 characters with a state of usual length. */
const PAGES_MAX = 1000
const STATE_BYTES_MAX = 15_000

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

/** As one line of ASCII. */
export function encodeEvidence({ index, state, pages, changed }: Evidence): string {
  const json = {
    ...{ index: `${index}`, state: toHex(state), changed },
    pages: pages.map(([page, hash]) => `${page.toString(16)}:${hash.toString(16)}`).join(' '),
  }
  return decodeAscii(encodeJson(json))
}

/** Throws a FormatError for what is none. */
export function decodeEvidence(text: string): Evidence {
  const what = 'evidence of a divergence'
  const json: JsonObject = decodeJson(encodeAscii(text), what)
  const { index, state, changed, pages } = json
  const isWhole =
    /^\d{1,20}$/.test(String(index)) && /^([0-9a-f]{2})*$/.test(String(state)) && typeof changed === 'number'
  if (!isWhole || typeof pages !== 'string' || !/^([0-9a-f]+:[0-9a-f]{1,16}( |$))*$/.test(pages))
    throw new FormatError(`${what}: not what another copy sends`)
  const entries = pages === '' ? [] : pages.split(' ')
  return {
    index: BigInt(String(index)),
    state: fromHex(String(state)),
    changed,
    pages: entries.map((entry) => {
      const [page, hash] = entry.split(':')
      return [Number.parseInt(page!, 16), BigInt(`0x${hash}`)] as const
    }),
  }
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
  const [first] = unlike
  if (first !== undefined) {
    const address = (RAM_BASE + first.page * PAGE_BYTES).toString(16)
    const hashes = `hash ${first.here.toString(16)} here and ${first.there.toString(16)} there`
    const others = unlike.length === 1 ? '' : `, and ${unlike.length - 1} more`
    parts.push(`page 0x${address} has ${hashes}${others}`)
  }
  if (parts.length > 0) return parts.join('; ')
  const more = theirs.changed - theirs.pages.length
  return more > 0
    ? `none of the first ${theirs.pages.length} changed pages differs: it is one of ${more} others`
    : 'neither registers, devices nor changed pages differ: the difference is in a page that nothing has written'
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

const toHex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')

function fromHex(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length / 2)
  for (let at = 0; at < bytes.length; at++) bytes[at] = Number.parseInt(text.slice(at * 2, at * 2 + 2), 16)
  return bytes
}

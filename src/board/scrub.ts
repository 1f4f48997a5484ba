/**
 * Reading all RAM again, a slice at a time: what finds a page that has changed without having been written.
 *
 * The machine's digest is kept up to date from the pages that were written, so it goes on saying what a page held, even if
 * the host's memory no longer does. Whoever records digests therefore reads some pages again for each, in rotation. A
 * page that nothing has written and that hashes differently convicts the copy that has it, whatever the other one holds.
 */
import { CorruptionError } from '../base/errors.ts'
import type { DigestSlice } from '../log/record.ts'
import { PAGE_BYTES, RAM_BASE } from '../machine/layout.ts'
import type { Machine } from '../machine/machine.ts'
import type { Ram } from '../machine/ram.ts'

/**
 * How many digests it takes to read all RAM once: some four minutes at a digest every two seconds. With 3 GiB a slice is
 * 24 MiB, which takes about 10 ms, half a percent of the time; pages that were never touched cost nothing.
 */
export const SCRUB_DIGESTS = 128

/** A page that has changed though nothing has written it. */
export interface ChangedPage {
  /** Guest physical. */
  readonly address: number
  /** Its hash when it was last written. */
  readonly written: bigint
  /** Its hash now. */
  readonly found: bigint
}

/** What reading a slice again has found. */
export interface ScrubbedSlice {
  readonly slice: DigestSlice
  /** The first page that has changed. */
  readonly changed: ChangedPage | undefined
}

/** Takes the slices in turn. */
export class Scrubber {
  readonly #ram: Ram
  readonly #pages: number
  #next = 0

  constructor(ram: Ram, pages: number) {
    this.#ram = ram
    this.#pages = pages
  }

  /** Reads the next slice again. */
  next(): ScrubbedSlice {
    const firstPage = this.#next
    const pages = Math.min(Math.ceil(this.#pages / SCRUB_DIGESTS), this.#pages - firstPage)
    this.#next = (firstPage + pages) % this.#pages
    return scrub(this.#ram, firstPage, pages)
  }
}

/** Reads `pages` pages from `firstPage` on again, all of which there must be. */
export function scrub(ram: Ram, firstPage: number, pages: number): ScrubbedSlice {
  const { digest, changed } = ram.readAgain(firstPage, pages)
  const slice = { firstPage, pages, digest }
  if (changed === undefined) return { slice, changed }
  const address = RAM_BASE + changed * PAGE_BYTES
  return { slice, changed: { address, written: ram.pageHash(changed), found: ram.contentHash(changed) } }
}

/**
 * Reads all RAM of a machine again, which is at `position`.
 * @throws CorruptionError if a page has changed without having been written
 */
export function requireSoundRam({ ram, layout }: Machine, position: bigint): void {
  const { changed } = scrub(ram, 0, layout.ramPages)
  if (changed !== undefined) throw corruption(changed, position)
}

/** The error for a page that has changed without having been written, found at `position`. */
export function corruption({ address, written, found }: ChangedPage, position: bigint): CorruptionError {
  const [before, now] = [written, found].map((hash) => hash.toString(16).padStart(16, '0'))
  return new CorruptionError(
    `page 0x${address.toString(16)} of the guest's RAM has changed without having been written, by position ${position} ` +
      `(hash ${before}, now ${now}): test the memory of this host, and go on from an earlier snapshot`,
  )
}

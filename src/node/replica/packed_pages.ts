/**
 * Pages of RAM packed for the way from one machine to another: count u32, that many page numbers u32, then the pages.
 */
import { FormatError } from '../../base/errors.ts'
import { PAGE_BYTES } from '../../machine/layout.ts'

/** Pages in one pack: just under a megabyte. */
export const PACK_PAGES = 255

interface Page {
  readonly page: number
  readonly bytes: Uint8Array
}

/** Copies pages into packs, each a buffer of its own. */
export function packPages(pages: Iterable<Page>): Uint8Array[] {
  const packs: Uint8Array[] = []
  let group: Page[] = []
  for (const page of pages) {
    group.push(page)
    if (group.length < PACK_PAGES) continue
    packs.push(pack(group))
    group = []
  }
  if (group.length > 0) packs.push(pack(group))
  return packs
}

function pack(pages: readonly Page[]): Uint8Array {
  const start = 4 + pages.length * 4
  const bytes = new Uint8Array(start + pages.length * PAGE_BYTES)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, pages.length, true)
  for (const [at, { page, bytes: content }] of pages.entries()) {
    view.setUint32(4 + at * 4, page, true)
    bytes.set(content, start + at * PAGE_BYTES)
  }
  return bytes
}

/** The pages of packs that were made here, in order. */
export function* pagesOf(packs: readonly Uint8Array[]): Generator<Page> {
  for (const pack of packs) {
    const view = new DataView(pack.buffer, pack.byteOffset, pack.length)
    const count = view.getUint32(0, true)
    for (let at = 0; at < count; at++) {
      const start = 4 + count * 4 + at * PAGE_BYTES
      yield { page: view.getUint32(4 + at * 4, true), bytes: pack.subarray(start, start + PAGE_BYTES) }
    }
  }
}

/** Hands out the pages of a pack. Throws a FormatError if it is none, or has a page beyond `pageCount`. */
export function unpackPages(
  pack: Uint8Array,
  pageCount: number,
  onPage: (page: number, bytes: Uint8Array) => void,
): void {
  const view = new DataView(pack.buffer, pack.byteOffset, pack.length)
  const count = pack.length < 4 ? 0 : view.getUint32(0, true)
  const start = 4 + count * 4
  if (count === 0 || count > PACK_PAGES || pack.length !== start + count * PAGE_BYTES)
    throw new FormatError(`a pack of ${count} pages in ${pack.length} bytes`)
  for (let at = 0; at < count; at++) {
    const page = view.getUint32(4 + at * 4, true)
    if (page >= pageCount) throw new FormatError(`page ${page} of a machine with ${pageCount}`)
    onPage(page, pack.subarray(start + at * PAGE_BYTES, start + (at + 1) * PAGE_BYTES))
  }
}

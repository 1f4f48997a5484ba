import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { FormatError } from '../../base/errors.ts'
import { PAGE_BYTES } from '../../machine/layout.ts'
import { PACK_PAGES, packPages, pagesOf, unpackPages } from './packed_pages.ts'

const page = (number: number): { page: number; bytes: Uint8Array } => ({
  page: number,
  bytes: new Uint8Array(PAGE_BYTES).fill(number % 251),
})

test('pages come out of their packs as they went in', () => {
  const pages = Array.from({ length: PACK_PAGES * 2 + 3 }, (_, i) => page(i * 3))
  const packs = packPages(pages)
  assert.equal(packs.length, 3)
  assert.deepEqual([...pagesOf(packs)], pages)
  const found: ReturnType<typeof page>[] = []
  for (const pack of packs) unpackPages(pack, 10_000, (number, bytes) => found.push({ page: number, bytes }))
  assert.deepEqual(found, pages)
})

test('a pack with a page that the machine does not have is refused', () => {
  const [pack] = packPages([page(8)])
  assert.throws(() => unpackPages(pack!, 8, () => {}), FormatError)
})

test('bytes that are no pack are refused, whatever they are', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      assert.throws(() => unpackPages(bytes, 100, () => {}), FormatError)
    }),
  )
  const [pack] = packPages([page(1), page(2)])
  assert.throws(() => unpackPages(pack!.subarray(0, -1), 100, () => {}), FormatError)
})

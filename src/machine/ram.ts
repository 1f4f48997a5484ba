/**
 * Guest RAM from outside: the devices' way in, dirty pages, and the part of the digest that RAM makes.
 *
 * A page is marked dirty for all consumers when a hart gets a write entry to it, when a slow store or a device writes
 * to it. Taking a consumer's dirty pages drops all write entries, so that the next store marks again: stores
 * themselves pay nothing. Dirty sets may over-report.
 */
import { assert } from '../base/assert.ts'
import type { CoreExports } from './core.ts'
import type { GuestMemory } from './device.ts'
import { DIRTY_CONSUMERS_MAX, type Layout, PAGE_BYTES, PAGE_WATCHED, RAM_BASE } from './layout.ts'

/** The consumer of dirty pages that maintains the digest; the others are free for use. */
const DIGEST_CONSUMER = 0

export class Ram implements GuestMemory {
  readonly bytes: Uint8Array
  readonly #view: DataView
  readonly #layout: Layout
  readonly #core: CoreExports
  readonly #flags: Uint8Array
  readonly #dirty: Uint8Array
  readonly #dirtyWords: BigUint64Array
  readonly #hashes: BigUint64Array
  /** 1 for each page that has ever been hashed; all others are zeros, which hash to 0. */
  readonly #touched: Uint8Array
  readonly #onWrite: (offset: number, length: number) => void
  #hashSum = 0n

  constructor(
    layout: Layout,
    core: CoreExports,
    tables: ArrayBufferLike,
    ram: ArrayBufferLike,
    onWrite: (offset: number, length: number) => void,
  ) {
    this.#layout = layout
    this.#core = core
    this.bytes = new Uint8Array(ram, 0, layout.ramBytes)
    this.#view = new DataView(ram, 0, layout.ramBytes)
    this.#flags = new Uint8Array(tables, layout.pageFlags, layout.ramPages)
    this.#dirty = new Uint8Array(tables, layout.pageDirty, layout.ramPages)
    this.#dirtyWords = new BigUint64Array(tables, layout.pageDirty, layout.ramPages / 8)
    this.#hashes = new BigUint64Array(layout.ramPages)
    this.#touched = new Uint8Array(layout.ramPages)
    this.#onWrite = onWrite
  }

  contains(address: number, length: number): boolean {
    return address >= RAM_BASE && length >= 0 && address + length <= RAM_BASE + this.#layout.ramBytes
  }

  read(address: number, length: number): Uint8Array {
    const offset = this.#offset(address, length)
    return this.bytes.slice(offset, offset + length)
  }

  write(address: number, bytes: Uint8Array): void {
    const offset = this.#offset(address, bytes.length)
    this.bytes.set(bytes, offset)
    this.#written(offset, bytes.length)
  }

  load16(address: number): number {
    return this.#view.getUint16(this.#offset(address, 2), true)
  }

  load32(address: number): number {
    return this.#view.getUint32(this.#offset(address, 4), true)
  }

  load64(address: number): bigint {
    return this.#view.getBigUint64(this.#offset(address, 8), true)
  }

  store16(address: number, value: number): void {
    const offset = this.#offset(address, 2)
    this.#view.setUint16(offset, value, true)
    this.#written(offset, 2)
  }

  store32(address: number, value: number): void {
    const offset = this.#offset(address, 4)
    this.#view.setUint32(offset, value, true)
    this.#written(offset, 4)
  }

  /** Takes the pages that may have changed since this consumer last asked, in ascending order. */
  takeDirty(consumer: number): number[] {
    assert(consumer >= 0 && consumer < DIRTY_CONSUMERS_MAX, `no such consumer of dirty pages: ${consumer}`)
    const bit = 1 << consumer
    const pages: number[] = []
    for (let word = 0; word < this.#dirtyWords.length; word++) {
      if (this.#dirtyWords[word] === 0n) continue
      for (let page = word * 8; page < word * 8 + 8; page++) {
        const marks = this.#dirty[page]!
        if ((marks & bit) === 0) continue
        this.#dirty[page] = marks & ~bit
        pages.push(page)
      }
    }
    this.#core.flushWrites()
    return pages
  }

  /** The sum of the hashes of all pages, brought up to date from the dirty ones. */
  hash(): bigint {
    for (const page of this.takeDirty(DIGEST_CONSUMER)) {
      const hash = this.contentHash(page)
      this.#touched[page] = 1
      this.#hashSum = BigInt.asUintN(64, this.#hashSum - this.#hashes[page]! + hash)
      this.#hashes[page] = hash
    }
    return this.#hashSum
  }

  /** The hash that `hash` last knew for one page. */
  pageHash(page: number): bigint {
    return this.#hashes[page]!
  }

  /** The pages that may have changed since `hash` was last asked, in ascending order. */
  writtenPages(): number[] {
    const bit = 1 << DIGEST_CONSUMER
    const pages: number[] = []
    for (let page = 0; page < this.#dirty.length; page++)
      if ((this.#dirty[page]! & bit) !== 0) pages.push(page)
    return pages
  }

  /** Copies the hashes that `hash` last knew, one for each page. */
  copyHashes(into: BigUint64Array): void {
    into.set(this.#hashes)
  }

  /** The hash of what one page holds now. */
  contentHash(page: number): bigint {
    return BigInt.asUintN(64, this.#core.hashPage(page))
  }

  /**
   * Reads `count` pages from `first` on again: the sum of their hashes modulo 2^64, and the first of them that has changed
   * since `hash` without having been marked dirty, which no store does. Pages that were never touched are not read.
   */
  readAgain(first: number, count: number): { readonly digest: bigint; readonly changed: number | undefined } {
    assert(first >= 0 && count > 0 && first + count <= this.#hashes.length, `no ${count} pages at ${first}`)
    let digest = 0n
    let changed: number | undefined
    for (let page = first; page < first + count; page++) {
      const isDirty = (this.#dirty[page]! & (1 << DIGEST_CONSUMER)) !== 0
      if (this.#touched[page] === 0 && !isDirty) continue
      const hash = this.contentHash(page)
      digest = BigInt.asUintN(64, digest + hash)
      if (!isDirty && hash !== this.#hashes[page]) changed ??= page
    }
    return { digest, changed }
  }

  /** The pages whose hash now is another than in `known`, which has one for each page; in ascending order. */
  pagesUnlike(known: BigUint64Array): number[] {
    assert(known.length === this.#hashes.length, `hashes of ${known.length} pages`)
    this.hash()
    // Halves, since a BigInt for each of many pages would take ten times as long.
    const left = new Int32Array(this.#hashes.buffer)
    const right = new Int32Array(known.buffer, known.byteOffset, known.length * 2)
    const pages: number[] = []
    for (let page = 0; page < known.length; page++) {
      const low = page * 2
      if (left[low] !== right[low] || left[low + 1] !== right[low + 1]) pages.push(page)
    }
    return pages
  }

  /** Puts a page of a snapshot in place, in RAM that has not been used; `Machine.loadState` then drops all caches. */
  restorePage(page: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, page * PAGE_BYTES)
    this.#dirty[page] = 0xff
  }

  /** Pages that are not all zeros, as views. */
  *pages(): Generator<{ page: number; bytes: Uint8Array }> {
    this.hash()
    for (let page = 0; page < this.#layout.ramPages; page++) {
      if (this.#hashes[page] === 0n) continue
      yield { page, bytes: this.bytes.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES) }
    }
  }

  #offset(address: number, length: number): number {
    assert(this.contains(address, length), () => `no RAM at 0x${address.toString(16)}, ${length} bytes`)
    return address - RAM_BASE
  }

  /** Marks pages dirty and keeps translations coherent, page by page. */
  #written(offset: number, length: number): void {
    if (length === 0) return
    this.#onWrite(offset, length)
    for (let at = offset; at < offset + length; ) {
      const page = Math.floor(at / PAGE_BYTES)
      const end = Math.min((page + 1) * PAGE_BYTES, offset + length)
      this.#dirty[page] = 0xff
      if ((this.#flags[page]! & PAGE_WATCHED) !== 0) this.#core.afterStore(at, end - at)
      at = end
    }
  }
}

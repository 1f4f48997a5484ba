/**
 * Regions that are kept for another machine, or for the next start of the same: what has been emitted for code is right wherever that code
 * is, since a region depends on nothing but the bytes that it was made from.
 *
 * They are kept by a hash of the page in which they are entered. When a machine begins to execute code of a page, it gets what is kept for
 * it. The hash only finds: the bytes are kept as well, and compared before a region is entered (region_map.ts).
 */
import { hash64 } from '../../base/hash64.ts'
import type { FunctionBody } from '../../wasm/function.ts'
import type { Span } from './region_map.ts'

/** Bytes of a page with this hash. */
export interface KeptBytes {
  readonly hash: bigint
  readonly spans: readonly Span[]
  readonly bytes: Uint8Array
}

/** A region, without the places where its code was in RAM. */
export interface KeptRegion {
  readonly body: FunctionBody
  readonly source: KeptBytes
  /** Functions that it has taken in, in the order of their numbers. */
  readonly others: readonly KeptBytes[]
  readonly leftOut: readonly number[]
  readonly entries: readonly number[]
  readonly joins: readonly number[]
  readonly instructions: number
}

/** What is kept for a page, by the first entry of each region. */
export interface KeptPage {
  readonly regions: Map<number, KeptRegion>
  /** The last machine for which it was of use, counted from 1. */
  lastUsed: number
}

/** What was of no use for so many machines is not kept any longer. */
const UNUSED_MACHINES_MAX = 20
/** Nor what was used longest ago, if all has more bytes of WebAssembly. */
const WASM_BYTES_MAX = 12_000_000

export const hashOfPage = (bytes: DataView<ArrayBuffer>): bigint => hash64(new Uint8Array(bytes.buffer))

export class KeptRegions {
  /** What was used longest ago is the first. */
  readonly #pages: Map<bigint, KeptPage>
  /** Which machine this is. */
  readonly machine: number
  /** Whether there is something that was not there before. */
  isChanged = false
  #wasmBytes = 0

  constructor(pages: Iterable<readonly [bigint, KeptPage]> = [], machine = 1) {
    this.#pages = new Map(pages)
    this.machine = machine
    for (const page of this.#pages.values()) this.#wasmBytes += wasmBytesOf(page)
  }

  /** Keeps a region. It takes the place of those that begin in what it has replaced. */
  keep(region: KeptRegion, replaced: (inPage: number) => boolean): void {
    const { source, entries } = region
    const page = this.#use(source.hash) ?? { regions: new Map<number, KeptRegion>(), lastUsed: this.machine }
    this.#pages.set(source.hash, page)
    this.#wasmBytes -= wasmBytesOf(page)
    for (const entry of page.regions.keys()) if (replaced(entry)) page.regions.delete(entry)
    page.regions.set(entries[0]!, region)
    this.#wasmBytes += wasmBytesOf(page)
    this.#makeRoom()
    this.isChanged = true
  }

  /** What is kept for a page with this hash. */
  of(hash: bigint): Iterable<KeptRegion> {
    return this.#use(hash)?.regions.values() ?? []
  }

  /** All that is worth to be kept on. */
  pages(): (readonly [bigint, KeptPage])[] {
    return [...this.#pages].filter(([, { lastUsed }]) => this.machine - lastUsed <= UNUSED_MACHINES_MAX)
  }

  #use(hash: bigint): KeptPage | undefined {
    const page = this.#pages.get(hash)
    if (page === undefined) return undefined
    page.lastUsed = this.machine
    this.#pages.delete(hash)
    this.#pages.set(hash, page)
    return page
  }

  #makeRoom(): void {
    for (const [hash, page] of this.#pages) {
      if (this.#wasmBytes <= WASM_BYTES_MAX) return
      this.#pages.delete(hash)
      this.#wasmBytes -= wasmBytesOf(page)
    }
  }
}

function wasmBytesOf({ regions }: KeptPage): number {
  let sum = 0
  for (const { body } of regions.values()) sum += body.code.length
  return sum
}

/** A region that is kept, and the pages of RAM that have its code now. */
export interface FoundRegion {
  readonly region: KeptRegion
  readonly page: number
  /** Of the functions that it has taken in. */
  readonly others: readonly number[]
}

/** Finds what is kept for the pages of a machine. */
export class KeptRegionFinder {
  readonly #kept: KeptRegions
  /** The pages that the machine has met, with the hashes that they had, and the other way round. */
  readonly #hashes = new Map<number, bigint>()
  readonly #pages = new Map<bigint, number>()
  /** Pages with regions that have taken in code of pages that have not been met, by the hashes of those. */
  readonly #waiting = new Map<bigint, Set<number>>()

  constructor(kept: KeptRegions) {
    this.#kept = kept
  }

  /** The machine begins to execute code of a page with this hash; returns what there is for it, and for what it completes. */
  meet(page: number, hash: bigint): FoundRegion[] {
    if (this.#hashes.get(page) === hash) return []
    this.note(page, hash)
    const found = [...this.#kept.of(hash)].flatMap((region) => this.#complete(region, page))
    const waiting = this.#waiting.get(hash) ?? []
    this.#waiting.delete(hash)
    return [...found, ...[...waiting].flatMap((one) => this.#completeWith(hash, one))]
  }

  /** The machine has met a page before, and had what there was. */
  note(page: number, hash: bigint): void {
    const former = this.#hashes.get(page)
    if (former !== undefined && this.#pages.get(former) === page) this.#pages.delete(former)
    this.#hashes.set(page, hash)
    this.#pages.set(hash, page)
  }

  /** The regions of a page that have taken in what is met now, if they lack nothing else. */
  #completeWith(hash: bigint, page: number): FoundRegion[] {
    const regions = [...this.#kept.of(this.#hashes.get(page)!)]
    const completed = regions.filter(({ others }) => others.some((other) => other.hash === hash))
    return completed.flatMap((region) => this.#complete(region, page))
  }

  #complete(region: KeptRegion, page: number): FoundRegion[] {
    const others: number[] = []
    for (const { hash } of region.others) {
      const other = this.#pages.get(hash)
      if (other === undefined) {
        this.#waiting.set(hash, (this.#waiting.get(hash) ?? new Set()).add(page))
        return []
      }
      others.push(other)
    }
    return [{ region, page, others }]
  }
}

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
  /** The last start of a machine at which it was of use, counted from 1. */
  lastUsed: number
}

/** What is not used for so many starts is not kept any longer. */
const UNUSED_STARTS_MAX = 20
/** Nor what was used longest ago, if all has more bytes of WebAssembly. */
const WASM_BYTES_MAX = 20_000_000

export const hashOfPage = (bytes: DataView<ArrayBuffer>): bigint => hash64(new Uint8Array(bytes.buffer))

export class KeptRegions {
  readonly #pages: Map<bigint, KeptPage>
  /** Which start of a machine this is. */
  readonly start: number
  /** Whether there is something that was not there before. */
  isChanged = false

  constructor(pages: Iterable<readonly [bigint, KeptPage]> = [], start = 1) {
    this.#pages = new Map(pages)
    this.start = start
  }

  /** Keeps a region. It takes the place of those that begin in what it has replaced. */
  keep(region: KeptRegion, replaced: (inPage: number) => boolean): void {
    const { source, entries } = region
    const page = this.#pages.get(source.hash) ?? { regions: new Map<number, KeptRegion>(), lastUsed: 0 }
    for (const entry of page.regions.keys()) if (replaced(entry)) page.regions.delete(entry)
    page.regions.set(entries[0]!, region)
    page.lastUsed = this.start
    this.#pages.set(source.hash, page)
    this.isChanged = true
  }

  /** What is kept for a page with this hash. */
  of(hash: bigint): Iterable<KeptRegion> {
    const page = this.#pages.get(hash)
    if (page === undefined) return []
    page.lastUsed = this.start
    return page.regions.values()
  }

  /** All that is worth to be kept on. */
  *pages(): Generator<readonly [bigint, KeptPage]> {
    let wasmBytes = 0
    const latest = [...this.#pages].sort(([, one], [, other]) => other.lastUsed - one.lastUsed)
    for (const [hash, page] of latest) {
      for (const { body } of page.regions.values()) wasmBytes += body.code.length
      if (wasmBytes > WASM_BYTES_MAX || this.start - page.lastUsed > UNUSED_STARTS_MAX) return
      yield [hash, page]
    }
  }
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
  /** Regions that have taken in code of pages that have not been met, by the hashes of those. */
  readonly #waiting = new Map<bigint, Set<FoundSource>>()

  constructor(kept: KeptRegions) {
    this.#kept = kept
  }

  /** The machine begins to execute code of a page with this hash; returns what there is for it, and for what it completes. */
  meet(page: number, hash: bigint): FoundRegion[] {
    if (this.#hashes.get(page) === hash) return []
    this.#hashes.set(page, hash)
    this.#pages.set(hash, page)
    const found = [...this.#kept.of(hash)].map((region) => ({ region, page }))
    const completed = this.#waiting.get(hash) ?? []
    this.#waiting.delete(hash)
    return [...found, ...completed].flatMap((one) => this.#complete(one))
  }

  #complete({ region, page }: FoundSource): FoundRegion[] {
    const others: number[] = []
    for (const { hash } of region.others) {
      const other = this.#pages.get(hash)
      if (other === undefined) {
        this.#waitFor(hash, { region, page })
        return []
      }
      others.push(other)
    }
    return [{ region, page, others }]
  }

  #waitFor(hash: bigint, source: FoundSource): void {
    const waiting = this.#waiting.get(hash) ?? new Set()
    this.#waiting.set(hash, waiting.add(source))
  }
}

type FoundSource = Pick<FoundRegion, 'region' | 'page'>

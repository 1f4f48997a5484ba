/**
 * Page tables with entries of all kinds, made once for each program, and the addresses that meet them.
 *
 *     0x0_8000_0000   the first gigabyte of RAM, for S-mode       0x0_c000_0000   the same, for U-mode
 *     0x1_0000_0000   512 small pages (the last 32 without memory behind them), then superpages, then broken
 *                     pointers to the table of the small pages
 *     0x1_4000_0000   gigapages of all kinds
 *
 * A is always set, and D wherever W is: QEMU 7.2 sets them by itself and cannot be told to fault instead.
 */

import type { Random } from '../../src/base/prng.ts'
import type { Body } from './body.ts'
import { DATA, DATA_PAGES, PAGED, RAM, RETURN_PAGE, TABLES, USER_ALIAS } from './layout.ts'

const V = 1n
const R = 2n
const W = 4n
const X = 8n
const U = 16n
const G = 32n
const A = 64n
const D = 128n

const ROOT = 0
const ROOT48 = 1
const MIDDLE = 2
const SMALL = 3
const SMALL_PAGES = 512
const UNMAPPED_PAGES = 32
const SUPERPAGES_END = 32
const POINTERS_END = 48
const GIGAPAGES = 8
/** Where neither QEMU's board nor ours has anything. */
const NOWHERE = 0x1800_0000

/** Physical address of the table of the small pages, for PMP to hide. */
export const SMALL_TABLE = RAM + TABLES + SMALL * 0x1000

const pointerTo = (table: number): bigint => pte(RAM + TABLES + table * 0x1000, V)
const pte = (address: number, flags: bigint): bigint => (BigInt(address) >> 2n) | flags

/** The page tables, to be placed at TABLES. */
export function pageTables(random: Random): Uint8Array {
  const tables = new BigUint64Array(4 * 512)
  const set = (table: number, index: number, value: bigint): void => {
    tables[table * 512 + index] = value
  }
  set(ROOT48, 0, pointerTo(ROOT))
  set(ROOT, 2, pte(RAM, V | R | W | X | A | D | G))
  set(ROOT, 3, pte(RAM, V | R | W | X | U | A | D))
  set(ROOT, 4, pointerTo(MIDDLE))
  for (let index = 0; index < GIGAPAGES; index++) set(ROOT, 5 + index, superpage(random, 30))
  set(MIDDLE, 0, pointerTo(SMALL))
  for (let index = 1; index < POINTERS_END; index++) {
    set(MIDDLE, index, index < SUPERPAGES_END ? superpage(random, 21) : brokenPointer(random))
  }
  for (let index = 0; index < SMALL_PAGES; index++) {
    set(SMALL, index, index < SMALL_PAGES - UNMAPPED_PAGES ? smallPage(random) : pte(NOWHERE, leaf(random)))
  }
  return new Uint8Array(tables.buffer)
}

/** Flags of a leaf that permits something. */
function leaf(random: Random): bigint {
  const access = random.pick([R, R, R | W, R | W, R | X, R | W | X, X])
  const dirty = (access & W) !== 0n || random.chance(0.5) ? D : 0n
  const software = BigInt(random.below(4)) << 8n
  return V | A | dirty | access | random.pick([0n, U]) | random.pick([0n, G]) | software
}

/** A leaf that may be invalid in one of many ways. */
function spoiled(random: Random, flags: bigint): bigint {
  switch (random.below(20)) {
    case 0:
      return flags & ~V
    case 1:
      return (flags & ~(R | X)) | W
    case 2:
      return (flags & ~R) | W | X
    case 3:
      return flags | (1n << BigInt(random.between(54, 63)))
    default:
      return flags
  }
}

/** A random entry for one of the small pages with memory behind them. */
function smallPage(random: Random): bigint {
  if (random.chance(0.03)) return pointerTo(SMALL)
  const flags = spoiled(random, leaf(random))
  const page = random.below(DATA_PAGES + 1)
  // The page of return instructions is never writable.
  if (page === DATA_PAGES) return pte(RAM + RETURN_PAGE, (flags & ~(W | D)) | ((flags & W) !== 0n ? R : 0n))
  return pte(RAM + DATA + page * 0x1000, flags)
}

/** A superpage of 2^bits bytes; some are misaligned. Never writable outside the data pages' use. */
function superpage(random: Random, bits: number): bigint {
  const address = random.chance(0.15) ? RAM + 2 ** random.between(12, bits - 1) : RAM
  return pte(address, spoiled(random, leaf(random)))
}

/** A pointer with bits that must be zero, or not. */
function brokenPointer(random: Random): bigint {
  const pointer = pointerTo(SMALL)
  return random.pick([pointer, pointer | G, pointer & ~V, pointer | (1n << BigInt(random.between(54, 63)))])
}

/** A small page to be changed: its entry's address, its own, and a new entry. */
export interface PageChange {
  readonly entryAddress: bigint
  readonly address: bigint
  readonly entry: bigint
}

export function pageChange(random: Random): PageChange {
  const index = random.between(1, SMALL_PAGES - UNMAPPED_PAGES - 1)
  return {
    entryAddress: BigInt(SMALL_TABLE + 8 * index),
    address: BigInt(PAGED + 0x1000 * index),
    entry: smallPage(random),
  }
}

/** A satp of Sv39 or Sv48 with these tables. */
export function satpFor(random: Random): bigint {
  const mode = random.pick([8n, 8n, 8n, 9n])
  const root = RAM + TABLES + (mode === 8n ? ROOT : ROOT48) * 0x1000
  return (mode << 60n) | (BigInt(random.below(16)) << 44n) | BigInt(root >>> 12)
}

/** A virtual address, and what may be done with it. */
export interface PagedAddress {
  readonly address: bigint
  /**
   * `around`: loads and stores at -32..24; `aligned`: accesses just there; `plain`: the same without AMOs, since
   * QEMU reports an AMO of what is no memory as a load.
   */
  readonly use: 'around' | 'aligned' | 'plain'
}

/**
 * A virtual address. Accesses that cross from a page into one with no memory behind it are left out, since how much
 * of them happens before the fault is not specified.
 */
export function pagedAddress(body: Body): PagedAddress {
  const { random } = body
  const near = (address: number): PagedAddress => ({ address: BigInt(address), use: 'around' })
  const small = PAGED + 0x1000 * random.between(1, SMALL_PAGES - UNMAPPED_PAGES - 1)
  switch (random.below(10)) {
    case 0:
      return near(RAM + DATA + body.hotDistance())
    case 1:
      return near(RAM + USER_ALIAS + DATA + body.hotDistance())
    case 2:
      return near(PAGED + 0x20_0000 * random.between(1, SUPERPAGES_END - 1) + DATA + body.hotDistance())
    case 3:
      return near(PAGED + 0x4000_0000 * random.between(1, GIGAPAGES) + DATA + body.hotDistance())
    case 4: {
      const index = random.between(SMALL_PAGES - UNMAPPED_PAGES, SMALL_PAGES - 1)
      return { address: BigInt(PAGED + index * 0x1000 + 0x800), use: 'plain' }
    }
    case 5: {
      const wild = random.pick([1n << 38n, 1n << 39n, 1n << 47n, 1n << 50n, 1n << 63n, 0x3f_ffff_f000n])
      return { address: BigInt.asIntN(64, wild + BigInt(PAGED)), use: 'aligned' }
    }
    case 6:
      return near(small + 0x20_0000 * random.between(SUPERPAGES_END, POINTERS_END - 1))
    default:
      return near(small + random.between(-24, 24))
  }
}

/** An address whose instruction, where it can be fetched, is a return. */
export function pagedFunction(body: Body): bigint {
  const { random } = body
  const middle = 0x100 + 2 * random.below(0x700)
  const page = 0x1000 * random.below(SMALL_PAGES)
  switch (random.below(4)) {
    case 0:
      return BigInt(PAGED + 0x20_0000 * random.between(1, SUPERPAGES_END - 1) + RETURN_PAGE + middle)
    case 1:
      return BigInt(random.pick([RAM, RAM + USER_ALIAS]) + RETURN_PAGE + middle)
    default:
      return BigInt(PAGED + page + middle)
  }
}

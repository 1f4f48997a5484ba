/**
 * Physical memory protection (privileged spec, "Physical Memory Protection"): 16 entries, granularity 4 bytes.
 *
 * Writes happen at boot and checks are cached with translations, so this is plain TypeScript. The answer to a check
 * says whether the whole page may be cached, or only this access is allowed.
 */
import type { HartField } from './fields.ts'
import type { Hart } from './hart.ts'
import { PRIVILEGE } from './layout.ts'
import { ACCESS, PMP_ANSWER } from './translate.ts'

const ENTRIES = 16
const R = 1
const W = 2
const X = 4
const LOCKED = 0x80
const MODE = { off: 0, tor: 1, na4: 2, napot: 3 } as const
const ADDRESS_MASK = (1n << 54n) - 1n
const EVERYTHING = 1n << 56n

/** One active entry: the bytes from `start` up to `end`. */
interface Range {
  readonly start: bigint
  readonly end: bigint
  readonly config: number
}

const addressField = (entry: number): HartField => `pmpaddr${entry}` as HartField

export class Pmp {
  readonly #hart: Hart
  #ranges: readonly Range[] = []

  constructor(hart: Hart) {
    this.#hart = hart
    this.update()
  }

  /** Writes a PMP CSR; locked entries keep their value. */
  write(csr: number, value: bigint): void {
    if (csr === 0x3a0 || csr === 0x3a2) this.#writeConfig(csr === 0x3a0 ? 0 : 8, value)
    else this.#writeAddress(csr - 0x3b0, value)
    this.update()
  }

  /** Checks an access of `size` bytes. */
  check(address: bigint, size: number, access: number, privilege: number): number {
    const end = address + BigInt(size)
    const page = address & ~0xfffn
    const pageEnd = page + 4096n
    const wanted = access === ACCESS.load ? R : access === ACCESS.store ? W : X
    let wholePage = true
    for (const { start, end: rangeEnd, config } of this.#ranges) {
      if (rangeEnd <= page || start >= pageEnd) continue
      if (start > page || rangeEnd < pageEnd) wholePage = false
      if (rangeEnd <= address || start >= end) continue
      if (start > address || rangeEnd < end) return PMP_ANSWER.denied
      const binding = privilege !== PRIVILEGE.machine || (config & LOCKED) !== 0
      if (binding && (config & wanted) === 0) return PMP_ANSWER.denied
      return wholePage ? PMP_ANSWER.page : PMP_ANSWER.once
    }
    if (privilege !== PRIVILEGE.machine) return PMP_ANSWER.denied
    return wholePage ? PMP_ANSWER.page : PMP_ANSWER.once
  }

  /** Derives the ranges and the hart's short cut from its CSRs. */
  update(): void {
    const ranges: Range[] = []
    for (let entry = 0; entry < ENTRIES; entry++) {
      const range = this.#range(entry)
      if (range !== undefined && range.start < range.end) ranges.push(range)
    }
    this.#ranges = ranges
    // An access that an entry matches in part fails in any mode; entries of whole pages never match one in part.
    const wholePages = ({ start, end }: Range): boolean => ((start | end) & 0xfffn) === 0n
    const machineOpen = ranges.every((range) => (range.config & LOCKED) === 0 && wholePages(range))
    const first = ranges[0]
    const covers = first !== undefined && first.start === 0n && first.end >= EVERYTHING
    const othersOpen = covers && (first.config & (R | W | X)) === (R | W | X)
    this.#hart.set32('pmpOpen', (machineOpen ? 1 : 0) | (othersOpen ? 2 : 0))
  }

  #config(entry: number): number {
    const register = this.#hart.get64(entry < 8 ? 'pmpcfg0' : 'pmpcfg2')
    return Number((register >> BigInt((entry % 8) * 8)) & 0xffn)
  }

  #range(entry: number): Range | undefined {
    const config = this.#config(entry)
    const address = this.#hart.get64(addressField(entry))
    const mode = (config >> 3) & 3
    if (mode === MODE.off) return undefined
    if (mode === MODE.tor) {
      const start = entry === 0 ? 0n : this.#hart.get64(addressField(entry - 1)) << 2n
      return { start, end: address << 2n, config }
    }
    if (mode === MODE.na4) return { start: address << 2n, end: (address << 2n) + 4n, config }
    // NAPOT: n trailing ones stand for a range of 2^(n + 3) bytes.
    const size = ((address ^ (address + 1n)) + 1n) << 2n
    const start = (address << 2n) & ~(size - 1n)
    return { start, end: start + size, config }
  }

  #writeConfig(firstEntry: number, value: bigint): void {
    let register = 0n
    for (let i = 0; i < 8; i++) {
      const old = this.#config(firstEntry + i)
      const wanted = Number((value >> BigInt(i * 8)) & 0x9fn)
      // Writable but not readable is reserved. It permits nothing, as in the reference model; mode and lock are kept.
      const isReserved = (wanted & (R | W)) === W
      const legal = isReserved ? wanted & ~(R | W | X) : wanted
      register |= BigInt((old & LOCKED) !== 0 ? old : legal) << BigInt(i * 8)
    }
    this.#hart.set64(firstEntry === 0 ? 'pmpcfg0' : 'pmpcfg2', register)
  }

  #writeAddress(entry: number, value: bigint): void {
    const next = entry + 1 < ENTRIES ? this.#config(entry + 1) : 0
    const lockedByNext = (next & LOCKED) !== 0 && ((next >> 3) & 3) === MODE.tor
    if ((this.#config(entry) & LOCKED) !== 0 || lockedByNext) return
    this.#hart.set64(addressField(entry), value & ADDRESS_MASK)
  }
}

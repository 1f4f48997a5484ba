/** Page tables for tests, built from outside before the program runs. */
import { assert } from '../../base/assert.ts'
import { RAM_BASE } from '../layout.ts'
import type { Machine } from '../machine.ts'
import { TABLES } from './program.ts'

/** Bits of a PTE. */
export const PTE = { v: 1, r: 2, w: 4, x: 8, u: 16, g: 32, a: 64, d: 128 } as const
/** Valid, readable, writable, accessed and dirty: a page of data. */
export const RW = PTE.v | PTE.r | PTE.w | PTE.a | PTE.d
/** Valid, readable, executable and accessed: a page of code. */
export const RX = PTE.v | PTE.r | PTE.x | PTE.a

/** Loads satp so that the tables at TABLES are in use. */
export const useTables = (mode: keyof typeof SATP_MODE = 'sv39'): string =>
  `li t0, ${(SATP_MODE[mode] << 60n) | BigInt(TABLES >>> 12)}; csrw satp, t0`

const SATP_MODE = { sv39: 8n, sv48: 9n } as const

export class AddressSpace {
  readonly root: number
  readonly machine: Machine
  readonly #mode: keyof typeof SATP_MODE
  #next: number

  /** Tables are taken from `start` on, the root first. */
  constructor(machine: Machine, mode: keyof typeof SATP_MODE = 'sv39', start = TABLES) {
    this.machine = machine
    this.#mode = mode
    this.root = start
    this.#next = start + 4096
  }

  get satp(): bigint {
    return (SATP_MODE[this.#mode] << 60n) | BigInt(this.root >>> 12)
  }

  /** Maps a page of 4 KiB (`leaf` 0), 2 MiB (1), 1 GiB (2) or 512 GiB (3). Returns the address of its PTE. */
  map(va: bigint, pa: number, flags: number, leaf = 0): number {
    let table = this.root
    for (let level = this.#mode === 'sv39' ? 2 : 3; level > leaf; level--) {
      const at = pteAddress(table, va, level)
      const pte = this.machine.ram.load64(at)
      if (pte === 0n) {
        this.setPte(at, this.#next, PTE.v)
        table = this.#next
        this.#next += 4096
      } else {
        assert((pte & 0xen) === 0n, 'a larger page is mapped there')
        table = Number((pte >> 10n) << 12n)
      }
    }
    const at = pteAddress(table, va, leaf)
    this.setPte(at, pa, flags)
    return at
  }

  /** Maps the first 2 MiB of RAM where they are: code and data of a test in S-mode. */
  mapRam(flags = RW | PTE.x): number {
    return this.map(BigInt(RAM_BASE), RAM_BASE, flags, 1)
  }

  setPte(at: number, pa: number, flags: number): void {
    const bytes = new Uint8Array(8)
    new DataView(bytes.buffer).setBigUint64(0, pte(pa, flags), true)
    this.machine.ram.write(at, bytes)
  }
}

/** The PTE that points to physical address `pa`. */
export const pte = (pa: number, flags: number): bigint =>
  (BigInt(Math.floor(pa / 4096)) << 10n) | BigInt(flags)

/** Where the PTE of `va` is in a table of this level. */
export function pteAddress(table: number, va: bigint, level: number): number {
  return table + Number((va >> BigInt(12 + 9 * level)) & 511n) * 8
}

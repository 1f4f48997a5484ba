/** What the toy machine's software keeps in RAM: a row for each key, and how often each client was served. */
import { type HashedPages, PAGE_BYTES } from './hashed_pages.ts'
import { FLUSH_KEY, recoverRecord } from './toy_service.ts'

/** value u32 | version u32 | place u32 | highest version ever written u32 */
const ROW_BYTES = 16
const COUNTERS = PAGE_BYTES

/** The durable value of a key, with version and place; `attempt` is the highest version that a write has had. */
export interface Row {
  readonly value: number
  readonly version: number
  readonly place: 0 | 1
  readonly attempt: number
}

export class KeyTable {
  readonly #ram: HashedPages

  constructor(ram: HashedPages) {
    this.#ram = ram
  }

  /** Fills the table from a disk. */
  recover(disk: Uint8Array): void {
    for (let key = 0; key <= FLUSH_KEY; key++) {
      const { value, version, place } = recoverRecord(disk, key)
      this.set(key, value, version, place)
    }
  }

  row(key: number): Row {
    const at = key * ROW_BYTES
    return {
      value: this.#ram.u32(at),
      version: this.#ram.u32(at + 4),
      place: (this.#ram.u32(at + 8) & 1) as 0 | 1,
      attempt: this.#ram.u32(at + 12),
    }
  }

  /** A value is durable. */
  set(key: number, value: number, version: number, place: 0 | 1): void {
    const at = key * ROW_BYTES
    this.#ram.setU32(at, value)
    this.#ram.setU32(at + 4, version)
    this.#ram.setU32(at + 8, place)
    if (this.#ram.u32(at + 12) < version) this.#ram.setU32(at + 12, version)
  }

  /** A write begins: its version, higher than any before. */
  begin(key: number): number {
    const at = key * ROW_BYTES + 12
    const version = (this.#ram.u32(at) + 1) >>> 0
    this.#ram.setU32(at, version)
    return version
  }

  /** Counts a request of a client: how many there have been since boot. */
  count(client: number): number {
    const at = COUNTERS + client * 8
    const served = (this.#ram.u32(at) + 1) >>> 0
    this.#ram.setU32(at, served)
    return served
  }
}

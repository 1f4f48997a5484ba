/** Which device answers at which physical address. */
import { assert } from '../base/assert.ts'
import type { AccessSize, Device } from './device.ts'

export interface Mapping {
  readonly base: number
  readonly size: number
  readonly device: Device
}

export class Bus {
  readonly #mappings: readonly Mapping[]
  /** The device that answered last: accesses come in runs. */
  #last: Mapping | undefined

  constructor(mappings: readonly Mapping[]) {
    const sorted = [...mappings].sort((a, b) => a.base - b.base)
    sorted.forEach((mapping, i) => {
      const next = sorted[i + 1]
      assert(
        next === undefined || mapping.base + mapping.size <= next.base,
        `${mapping.device.name} overlaps`,
      )
    })
    this.#mappings = sorted
  }

  get devices(): readonly Device[] {
    return this.#mappings.map((mapping) => mapping.device)
  }

  /** Reads `size` bytes (1 to 8), or undefined where no device is. */
  load(address: number, size: number): bigint | undefined {
    const mapping = this.#find(address, size)
    if (mapping === undefined) return undefined
    const offset = address - mapping.base
    if (size < 8) return BigInt(mapping.device.read(offset, size as AccessSize) >>> 0)
    const low = BigInt(mapping.device.read(offset, 4) >>> 0)
    return low | (BigInt(mapping.device.read(offset + 4, 4) >>> 0) << 32n)
  }

  /** Writes `size` bytes; false where no device is. */
  store(address: number, size: number, value: bigint): boolean {
    const mapping = this.#find(address, size)
    if (mapping === undefined) return false
    const offset = address - mapping.base
    if (size < 8) {
      mapping.device.write(offset, size as AccessSize, Number(BigInt.asUintN(size * 8, value)))
    } else {
      mapping.device.write(offset, 4, Number(BigInt.asUintN(32, value)))
      mapping.device.write(offset + 4, 4, Number(BigInt.asUintN(32, value >> 32n)))
    }
    return true
  }

  #find(address: number, size: number): Mapping | undefined {
    const inside = (m: Mapping): boolean => address >= m.base && address + size <= m.base + m.size
    if (this.#last !== undefined && inside(this.#last)) return this.#last
    this.#last = this.#mappings.find(inside)
    return this.#last
  }
}

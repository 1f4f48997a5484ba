/** Guest RAM for device tests: an array at a base address, which asserts that nobody leaves it. */
import { assert } from '../../base/assert.ts'
import type { GuestMemory } from '../../machine/device.ts'

export const RAM_BASE = 0x8000_0000

export class TestRam implements GuestMemory {
  readonly bytes: Uint8Array
  readonly #view: DataView
  /** How many bytes were read and written so far: the measure of a device's work. */
  bytesTouched = 0

  constructor(size: number) {
    this.bytes = new Uint8Array(size)
    this.#view = new DataView(this.bytes.buffer)
  }

  contains(address: number, length: number): boolean {
    return address >= RAM_BASE && address + length <= RAM_BASE + this.bytes.length
  }

  read(address: number, length: number): Uint8Array {
    const start = this.#at(address, length)
    return this.bytes.slice(start, start + length)
  }

  write(address: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, this.#at(address, bytes.length))
  }

  load16(address: number): number {
    return this.#view.getUint16(this.#at(address, 2), true)
  }

  load32(address: number): number {
    return this.#view.getUint32(this.#at(address, 4), true)
  }

  load64(address: number): bigint {
    return this.#view.getBigUint64(this.#at(address, 8), true)
  }

  store16(address: number, value: number): void {
    this.#view.setUint16(this.#at(address, 2), value, true)
  }

  store32(address: number, value: number): void {
    this.#view.setUint32(this.#at(address, 4), value, true)
  }

  store64(address: number, value: bigint): void {
    this.#view.setBigUint64(this.#at(address, 8), value, true)
  }

  #at(address: number, length: number): number {
    assert(this.contains(address, length), `access outside RAM: ${length} bytes at 0x${address.toString(16)}`)
    this.bytesTouched += length
    return address - RAM_BASE
  }
}

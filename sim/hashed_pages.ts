/** Memory with a digest: a sum over pages of a hash of number and content, kept up from the pages written since. */
import { hash64 } from '../src/base/hash64.ts'

export const PAGE_BYTES = 256

export class HashedPages {
  readonly bytes: Uint8Array
  readonly view: DataView
  readonly #hashes: bigint[] = []
  readonly #isDirty: Uint8Array
  readonly #dirty: number[] = []
  #sum = 0n
  #isCorrupt = false

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#isDirty = new Uint8Array(this.pages)
    for (let page = 0; page < this.pages; page++) {
      const hash = this.#hash(page)
      this.#hashes.push(hash)
      this.#sum += hash
    }
    this.#sum = BigInt.asUintN(64, this.#sum)
  }

  get pages(): number {
    return this.bytes.length / PAGE_BYTES
  }

  setU32(offset: number, value: number): void {
    this.view.setUint32(offset, value, true)
    this.#touch(Math.floor(offset / PAGE_BYTES))
  }

  u32(offset: number): number {
    return this.view.getUint32(offset, true)
  }

  write(offset: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, offset)
    const last = Math.floor((offset + bytes.length - 1) / PAGE_BYTES)
    for (let page = Math.floor(offset / PAGE_BYTES); page <= last; page++) this.#touch(page)
  }

  digest(): bigint {
    if (this.#dirty.length === 0) return this.#sum
    let sum = this.#sum
    for (const page of this.#dirty) {
      const hash = this.#hash(page)
      sum += hash - this.#hashes[page]!
      this.#hashes[page] = hash
      this.#isDirty[page] = 0
    }
    this.#dirty.length = 0
    this.#sum = BigInt.asUintN(64, sum)
    return this.#sum
  }

  /** Flips a bit without anybody taking note: a fault. */
  corrupt(bit: number): void {
    this.bytes[(bit >>> 3) % this.bytes.length]! ^= 1 << (bit & 7)
    this.#isCorrupt = true
  }

  /** The digest of what is really there, whether or not it was written. */
  trueDigest(): bigint {
    const sum = this.digest()
    if (!this.#isCorrupt) return sum
    let found = 0n
    for (let page = 0; page < this.pages; page++) found += this.#hash(page)
    return BigInt.asUintN(64, found)
  }

  /** Re-reads a page: undefined if it has changed without having been written, else its hash. */
  reread(page: number): bigint | undefined {
    this.digest()
    const hash = this.#hash(page)
    return hash === this.#hashes[page] ? hash : undefined
  }

  #hash(page: number): bigint {
    return hash64(this.bytes.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES), page)
  }

  #touch(page: number): void {
    if (this.#isDirty[page] === 1) return
    this.#isDirty[page] = 1
    this.#dirty.push(page)
  }
}

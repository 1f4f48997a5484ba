/** Reproducible randomness: sfc32 (small fast counter). Equal seeds and streams give equal numbers, for ever. */
export class Random {
  #a: number
  #b: number
  #c: number
  #counter = 1

  /** Generators of one seed that differ in `stream` know nothing of each other. Both are taken modulo 2^32. */
  constructor(seed: number, stream = 0) {
    this.#a = seed | 0
    this.#b = stream | 0
    this.#c = 0x5eed
    for (let round = 0; round < 16; round++) this.u32()
  }

  /** 32 bits, unsigned. */
  u32(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0
    return sum >>> 0
  }

  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32())
  }

  /** An integer from 0 up to and without `limit`. */
  below(limit: number): number {
    return this.u32() % limit
  }

  /** An integer from `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1)
  }

  /** A number from 0 up to and without 1, in steps of 2^-32. */
  fraction(): number {
    return this.u32() / 0x1_0000_0000
  }

  bytes(count: number): Uint8Array {
    const bytes = new Uint8Array(count)
    for (let i = 0; i < count; i++) bytes[i] = this.u32() >>> 24
    return bytes
  }

  /** True with this probability. */
  chance(probability: number): boolean {
    return this.u32() < probability * 0x1_0000_0000
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!
  }
}

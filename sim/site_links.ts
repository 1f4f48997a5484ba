/**
 * Who can reach whom: hosts, gateway and arbiter are *sites*, and a partition blocks the way from one site to another.
 * What is on a blocked way waits, as TCP lets it wait, until the way is open again.
 */
import type { Random } from '../src/base/prng.ts'

export interface NetworkShape {
  /** The shortest way from one site to another, in milliseconds. */
  readonly latencyMs: number
  /** Added to it, up to this much. */
  readonly jitterMs: number
  /** Bytes in a millisecond. */
  readonly bandwidth: number
  /** The most bytes that travel as one piece. */
  readonly pieceBytes: number
}

/** What waits behind a partition is tried again after this long. */
export const RETRANSMIT_MS = 120

export class SiteLinks {
  readonly shape: NetworkShape
  readonly #random: Random
  readonly #blocks = new Map<string, number>()

  constructor(shape: NetworkShape, random: Random) {
    this.shape = shape
    this.#random = random
  }

  /** How long a piece is on its way. */
  delayMs(): number {
    return this.shape.latencyMs + this.#random.fraction() * this.shape.jitterMs
  }

  isBlocked(from: string, to: string): boolean {
    return this.#blocks.size > 0 && (this.#blocks.get(`${from} ${to}`) ?? 0) > 0
  }

  /** Blocks the way in one direction; as often as it is blocked it has to be opened. */
  block(from: string, to: string): void {
    const key = `${from} ${to}`
    this.#blocks.set(key, (this.#blocks.get(key) ?? 0) + 1)
  }

  open(from: string, to: string): void {
    const key = `${from} ${to}`
    const blocks = (this.#blocks.get(key) ?? 0) - 1
    if (blocks > 0) this.#blocks.set(key, blocks)
    else this.#blocks.delete(key)
  }

  openAll(): void {
    this.#blocks.clear()
  }
}

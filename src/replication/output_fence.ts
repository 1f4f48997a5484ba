/**
 * The far end of the primary's link: which process may put out, and what has been put out already. Gateway and console
 * keep one for each machine, for as long as they live.
 *
 * Configurations fence: once a higher epoch has attached, lower ones are refused. Ordinals dedupe: within a life, what
 * has been taken once is not taken again, whoever sends it; a higher life starts anew. A primary that goes live re-emits
 * what it does not know to have left; so everything arrives once (P61, P62).
 */
import type { PortOrdinal } from './message.ts'
import type { Bug } from './planted.ts'

export class OutputFence {
  #epoch = 0
  #life = 0
  readonly #taken = new Map<number, bigint>()
  readonly #planted: ReadonlySet<Bug>

  constructor(planted: ReadonlySet<Bug> = new Set()) {
    this.#planted = planted
  }

  /** Epoch of the configuration that may put out. */
  get epoch(): number {
    return this.#epoch
  }

  /** The primary of `epoch` attaches: what has been taken in its life, or undefined if it comes too late. */
  attach(epoch: number, life: number): PortOrdinal[] | undefined {
    const isStale = epoch < this.#epoch || life < this.#life
    if (isStale && !this.#planted.has('stale epoch accepted')) return undefined
    const isAnew = epoch > this.#epoch && this.#planted.has('dedupe by epoch')
    if (life > this.#life || isAnew) this.#taken.clear()
    this.#epoch = epoch
    this.#life = life
    return [...this.#taken].map(([port, ordinal]) => ({ port, ordinal }))
  }

  /** Whether an output of the attached primary is new; it counts as taken from now on. */
  take(epoch: number, port: number, ordinal: bigint): boolean {
    if (epoch !== this.#epoch || ordinal <= (this.#taken.get(port) ?? 0n)) return false
    this.#taken.set(port, ordinal)
    return true
  }
}

/**
 * How many flushes each copy's guest has been told of, over all lives that lead to it: what its disk must still have,
 * whatever happens to its memory.
 */
import type { Observation, ProcessId } from '../observation.ts'
import type { Branch, Copies } from './copies.ts'
import { Decisions } from './decisions.ts'

type Flushed = Observation & { readonly kind: 'flushed' }

export class Flushes {
  readonly #copies: Copies
  readonly #decisions = new Decisions()
  /** For each branch its own, by rising index. */
  readonly #own = new Map<Branch, Flushed[]>()
  /** What was found at the cold start of each life, and what should have been at least. */
  readonly #found = new Map<number, bigint>()
  readonly #due = new Map<number, bigint>()

  constructor(copies: Copies) {
    this.#copies = copies
  }

  /** To be told after the copies have been. */
  onObservation(observation: Observation): void {
    if (observation.kind === 'decided' && observation.configuration.change === 'cold start') {
      const disk = this.#decisions.latest
      if (disk !== undefined) this.#due.set(observation.configuration.life, this.#on(disk.primary, disk.life))
    }
    this.#decisions.onObservation(observation)
    if (observation.kind === 'recovered') this.#found.set(observation.life, observation.flushes)
    if (observation.kind === 'flushed') this.#add(observation)
  }

  /** What the disk from which a life began must have had at least. */
  due(life: number): bigint {
    return this.#due.get(life) ?? 0n
  }

  /** The last flush on a branch before a record, if it has one in this life. */
  before(branch: Branch, index: bigint): Flushed | undefined {
    for (let part: Branch | undefined = branch, end = index; part !== undefined; part = part.parent) {
      const limit = end
      const last = this.#own.get(part)?.findLast((flushed) => flushed.index < limit)
      if (last !== undefined) return last
      if (part.from < end) end = part.from
    }
    return undefined
  }

  /** The first report of the flush that completed with this record. */
  at(branch: Branch, index: bigint): Flushed | undefined {
    return this.#own.get(branch.at(index))?.find((flushed) => flushed.index === index)
  }

  /** How many the disk of a copy must have; of one that never had a machine, what it was to begin with. */
  #on(who: ProcessId, life: number): bigint {
    const copy = this.#copies.of(who)
    if (copy === undefined || copy.life !== life) return this.due(life)
    return this.before(copy.branch, copy.next)?.flushes ?? this.#found.get(life) ?? this.due(life)
  }

  #add(flushed: Flushed): void {
    const copy = this.#copies.of(flushed.process)
    if (copy === undefined || this.at(copy.branch, flushed.index) !== undefined) return
    const branch = copy.branch.at(flushed.index)
    const own = this.#own.get(branch) ?? []
    own.push(flushed)
    this.#own.set(branch, own)
  }
}

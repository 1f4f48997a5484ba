/**
 * Which copies have had their memory or disk corrupted by an injected fault, or have got their state from one that had.
 * Copies with the same mark must still be equal; 0 is the mark of all that are sound.
 */
import type { Observation, ProcessId } from '../observation.ts'
import type { Copies } from './copies.ts'
import { isSameProcess, nameOf } from './wording.ts'

/** Faults that change a copy's memory or disk behind its back; `what` names its host. */
export const CORRUPTIONS: readonly string[] = [
  'memory corruption',
  'primary memory corruption',
  'disk corruption',
]

export class Corruption {
  readonly #copies: Copies
  readonly #marks = new Map<string, number>()
  #last = 0

  constructor(copies: Copies) {
    this.#copies = copies
  }

  /** To be told after the copies have been. */
  onObservation(observation: Observation): void {
    if (observation.kind === 'fault' && CORRUPTIONS.includes(observation.name))
      this.#corrupt(observation.what)
    if (observation.kind !== 'installed') return
    const branch = this.#copies.of(observation.process)?.branch
    if (branch === undefined) return
    this.#marks.set(nameOf(observation.process), this.markOf(branch.writer))
  }

  markOf(who: ProcessId): number {
    return this.#marks.get(nameOf(who)) ?? 0
  }

  /** Whether any copy of the life is, or has been, other than sound. */
  isIn(life: number): boolean {
    return [...this.#copies.all].some((copy) => copy.life === life && this.markOf(copy.process) !== 0)
  }

  #corrupt(what: string): void {
    for (const { process: who } of this.#copies.all) {
      if (what === nameOf(who) || what === who.host) this.#marks.set(nameOf(who), ++this.#last)
    }
  }
}

export function isSameMark(corruption: Corruption, a: ProcessId, b: ProcessId): boolean {
  return isSameProcess(a, b) || corruption.markOf(a) === corruption.markOf(b)
}

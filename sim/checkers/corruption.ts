/**
 * Which copies have had their memory or disk corrupted by an injected fault, or have got their state from one that had.
 *
 * A corrupted copy is like no other: its digest is kept up by what is written, and does not see the corruption. Whoever
 * gets its state digests what is really there, so that this one is like neither; but those that get *their* state from
 * it are like it again.
 */
import type { FaultName } from '../faults.ts'
import type { Observation, ProcessId } from '../observation.ts'
import type { Copies } from './copies.ts'
import { nameOf } from './wording.ts'

/** Faults that change a copy's memory behind its back; `what` names its host. */
export const CORRUPTIONS: readonly FaultName[] = ['RAM corruption']

interface Mark {
  /** Copies with the same number are alike. */
  readonly number: number
  readonly isCorrupted: boolean
}

const SOUND: Mark = { number: 0, isCorrupted: false }

/** Whether the fault of an observation is one of these. */
export function isOneOf(names: readonly FaultName[], name: string): boolean {
  return (names as readonly string[]).includes(name)
}

export class Corruption {
  readonly #copies: Copies
  readonly #marks = new Map<string, Mark>()
  #last = 0

  constructor(copies: Copies) {
    this.#copies = copies
  }

  /** To be told after the copies have been. */
  onObservation(observation: Observation): void {
    if (observation.kind === 'fault' && isOneOf(CORRUPTIONS, observation.name))
      this.#corrupt(observation.what)
    if (observation.kind !== 'installed') return
    const branch = this.#copies.of(observation.process)?.branch
    const given = branch && this.#marks.get(nameOf(branch.writer))
    if (given === undefined) return
    const own = given.isCorrupted ? { number: ++this.#last, isCorrupted: false } : given
    this.#marks.set(nameOf(observation.process), own)
  }

  /** What a copy must be alike: all sound copies have 0. */
  markOf(who: ProcessId): number {
    return (this.#marks.get(nameOf(who)) ?? SOUND).number
  }

  /** Whether any copy of the life is, or has been, other than sound. */
  isIn(life: number): boolean {
    return [...this.#copies.all].some((copy) => copy.life === life && this.markOf(copy.process) !== 0)
  }

  #corrupt(host: string): void {
    for (const { process: who } of this.#copies.all) {
      if (who.host === host) this.#marks.set(nameOf(who), { number: ++this.#last, isCorrupted: true })
    }
  }
}

/**
 * How processes have ended, and whether that has a cause that was put in. A member that a fault has killed excuses the
 * loss of its memory; one that has halted does so only for a reason of this list, and only if what must have caused it
 * has been injected or asked for. Whoever is not a member any more has nothing to lose: see lawful_halts.ts.
 */
import type { FaultName } from '../faults.ts'
import type { Observation, ProcessId } from '../observation.ts'
import { CORRUPTIONS } from './corruption.ts'
import { nameOf } from './wording.ts'

export interface LawfulHalt {
  /** How the reason begins, as the members word it. */
  readonly reason: string
  /** Faults of which one must have been put in before; empty if the halt is part of an orderly change. */
  readonly causes: readonly FaultName[]
}

const DISK_FAULTS: readonly FaultName[] = ['failing disk']
export const ARBITER_LOSSES: readonly FaultName[] = ['arbiter rollback', 'arbiter untrusted']

/** How the halt of a copy begins that its own memory or disk has convicted. */
export const CONVICTED = 'memory changed by itself'

const LAWFUL_HALTS: readonly LawfulHalt[] = [
  { reason: 'stopped', causes: [] },
  { reason: 'handed over', causes: [] },
  { reason: CONVICTED, causes: CORRUPTIONS },
  { reason: 'this copy diverged', causes: CORRUPTIONS },
  // A backup leaves when it diverged, was convicted, or its disk failed.
  { reason: 'this copy has left', causes: [...CORRUPTIONS, ...DISK_FAULTS] },
  { reason: 'this copy cannot go on', causes: [...CORRUPTIONS, ...DISK_FAULTS] },
  { reason: 'the disk failed', causes: DISK_FAULTS },
  { reason: 'the arbiter has gone back', causes: ARBITER_LOSSES },
  { reason: 'the arbiter cannot be trusted', causes: ARBITER_LOSSES },
]

export interface Ending {
  readonly process: ProcessId
  readonly atMs: number
  /** undefined: a fault has killed it. */
  readonly reason: string | undefined
}

export class Endings {
  readonly #alive = new Set<string>()
  readonly #endings = new Map<string, Ending>()
  readonly #faults = new Set<string>()

  onObservation(observation: Observation): void {
    switch (observation.kind) {
      case 'started':
        this.#alive.add(nameOf(observation.process))
        return
      case 'crashed':
      case 'halted': {
        const { process: who, atMs } = observation
        this.#alive.delete(nameOf(who))
        const reason = observation.kind === 'halted' ? observation.reason : undefined
        this.#endings.set(nameOf(who), { process: who, atMs, reason })
        return
      }
      case 'fault':
        this.#faults.add(observation.name)
    }
  }

  isAlive(who: ProcessId): boolean {
    return this.#alive.has(nameOf(who))
  }

  /** How it ended; undefined while it lives. */
  of(who: ProcessId): Ending | undefined {
    return this.isAlive(who) ? undefined : this.#endings.get(nameOf(who))
  }

  hasHad(fault: FaultName): boolean {
    return this.#faults.has(fault)
  }

  /** Why a halt for this reason is not lawful, or undefined if it is. */
  haltComplaint(reason: string): string | undefined {
    const lawful = LAWFUL_HALTS.find((halt) => reason.startsWith(halt.reason))
    if (lawful === undefined) return 'which is no lawful reason'
    if (lawful.causes.length === 0 || lawful.causes.some((cause) => this.#faults.has(cause))) return undefined
    return `but there has been no ${lawful.causes.join(' and no ')}`
  }

  /** Why the loss of this process's memory has no excuse, or undefined if it has one. */
  complaint(who: ProcessId): string | undefined {
    if (this.isAlive(who)) return `${nameOf(who)} is alive`
    const ending = this.#endings.get(nameOf(who))
    if (ending === undefined) return `${nameOf(who)} has never been started`
    if (ending.reason === undefined) return undefined
    const complaint = this.haltComplaint(ending.reason)
    return complaint && `${nameOf(who)} has halted at ${ending.atMs} ms (${ending.reason}), ${complaint}`
  }
}

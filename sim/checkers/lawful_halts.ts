/**
 * Nobody gives up without a reason.
 *
 *  1. A process halts because the latest decision does not name it any more or has stopped the machine, because its join
 *     came to nothing, or for a reason of endings.ts whose cause has been put in.
 *  2. Until the first fault nothing is decided but the first cold start and additions: nobody suspects anybody.
 */
import type { Checker } from '../checker.ts'
import type { Observation } from '../observation.ts'
import { Decisions, partIn } from './decisions.ts'
import { Endings } from './endings.ts'
import { FailureList } from './failure_list.ts'
import { describeConfiguration, nameOf } from './wording.ts'

/** How the reasons begin of those that have been replaced. */
const REPLACED = ['deposed', 'replaced', 'configuration']
/** And of a copy that cannot go on with its join, and comes back as another process. */
const JOIN_ENDED = ['the primary has begun another join']

export class LawfulHalts implements Checker {
  readonly name = 'lawful halts'
  readonly #failures = new FailureList()
  readonly #decisions = new Decisions()
  readonly #endings = new Endings()
  #hasFaults = false

  onObservation(observation: Observation): void {
    if (observation.kind === 'decided' && !this.#hasFaults) this.#checkCalm(observation)
    this.#decisions.onObservation(observation)
    this.#endings.onObservation(observation)
    if (observation.kind === 'fault') this.#hasFaults = true
    if (observation.kind === 'halted') this.#onHalted(observation)
  }

  finish(): readonly string[] {
    return this.#failures.lines
  }

  #onHalted({ process: who, reason, atMs }: Observation & { kind: 'halted' }): void {
    const complaint = this.#complaint(who, reason)
    if (complaint === undefined) return
    this.#failures.add(atMs, `${nameOf(who)} has halted (${reason}), ${complaint}`)
  }

  #complaint(who: Parameters<typeof nameOf>[0], reason: string): string | undefined {
    if (JOIN_ENDED.some((start) => reason.startsWith(start))) return undefined
    if (!REPLACED.some((start) => reason.startsWith(start))) return this.#endings.haltComplaint(reason)
    const { latest } = this.#decisions
    if (partIn(latest, who) === 'none' || latest?.phase === 'stopped') return undefined
    return `though it is in ${describeConfiguration(latest)}`
  }

  #checkCalm({ configuration, atMs }: Observation & { kind: 'decided' }): void {
    const { change, epoch } = configuration
    if (change === 'add' || (change === 'cold start' && epoch === 1)) return
    this.#failures.add(
      atMs,
      `${describeConfiguration(configuration)} was decided after ` +
        `${describeConfiguration(this.#decisions.latest)}, though there has been no fault`,
    )
  }
}

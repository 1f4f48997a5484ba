/** The arbiter's decisions as they were really taken, whoever knows of them. */
import type { Configuration } from '../../src/replication/configuration.ts'
import type { Observation, ProcessId } from '../observation.ts'
import { isSameProcess } from './wording.ts'

export class Decisions {
  /** In the order taken; those that were forgotten stay in it. */
  readonly #all: Configuration[] = []
  #latest: Configuration | undefined

  onObservation(observation: Observation): void {
    if (observation.kind === 'decided') {
      this.#all.push(observation.configuration)
      this.#latest = observation.configuration
    } else if (observation.kind === 'rolledBack') {
      this.#latest = this.at(observation.epoch)
    }
  }

  /** What the arbiter holds now. */
  get latest(): Configuration | undefined {
    return this.#latest
  }

  get all(): readonly Configuration[] {
    return this.#all
  }

  /** The last decision that was taken for an epoch. */
  at(epoch: number): Configuration | undefined {
    return this.#all.findLast((configuration) => configuration.epoch === epoch)
  }

  /** Whether any decision has ever named the process. */
  hasNamed(who: ProcessId): boolean {
    return this.#all.some((configuration) => partIn(configuration, who) !== 'none')
  }
}

export function partIn(
  configuration: Configuration | undefined,
  who: ProcessId,
): 'primary' | 'backup' | 'none' {
  if (isSameProcess(configuration?.primary, who)) return 'primary'
  return isSameProcess(configuration?.backup, who) ? 'backup' : 'none'
}

/**
 * The output rule, by what is really so and not by what the releaser believes.
 *
 *  1. An output leaves only after its record has been written: its process has applied it.
 *  2. While the arbiter's latest decision names a backup, dead or alive, an output of that life leaves another process
 *     only if the backup has acknowledged its record, or has it from its state transfer.
 *  3. A decision that names a new backup is taken only when that one has all records whose outputs have left, by
 *     whomever: outputs were gated on its acknowledgements before.
 *
 * Who has gone live since, and what a primary without a backup may release, is for the rules of lineage and of one
 * releaser.
 */
import type { Configuration } from '../../src/replication/configuration.ts'
import type { Checker } from '../checker.ts'
import type { Observation } from '../observation.ts'
import { Copies } from './copies.ts'
import { Decisions } from './decisions.ts'
import { FailureList } from './failure_list.ts'
import { describeConfiguration, isSameProcess, nameOf } from './wording.ts'

type Released = Observation & { readonly kind: 'released' }

export class OutputRule implements Checker {
  readonly name = 'output rule'
  readonly #failures = new FailureList()
  readonly #copies = new Copies()
  readonly #decisions = new Decisions()
  /** For each life the output with the highest index that has left. */
  readonly #last = new Map<number, Released>()

  onObservation(observation: Observation): void {
    this.#copies.onObservation(observation)
    this.#decisions.onObservation(observation)
    if (observation.kind === 'released') this.#onReleased(observation)
    else if (observation.kind === 'decided') this.#onDecided(observation.atMs, observation.configuration)
  }

  finish(): readonly string[] {
    return this.#failures.lines
  }

  #onReleased(released: Released): void {
    const { atMs, process: who, life, index } = released
    const last = this.#last.get(life)
    if (last === undefined || index > last.index) this.#last.set(life, released)
    const copy = this.#copies.of(who)
    if (copy === undefined || copy.life !== life || copy.next <= index) {
      const applied = copy === undefined ? 'it has no machine' : `it has applied those before ${copy.next}`
      this.#failures.add(
        atMs,
        `${describeOutput(released)} left before its record ${index} was written: ${applied}`,
      )
    }
    const latest = this.#decisions.latest
    const backup = latest?.backup
    if (latest?.life !== life || backup === undefined || isSameProcess(backup, who)) return
    const known = this.#copies.of(backup)?.known ?? 0n
    if (known > index) return
    this.#failures.add(
      atMs,
      `${describeOutput(released)} left though ${nameOf(backup)}, the backup of ` +
        `${describeConfiguration(latest)}, has only acknowledged the records before ${known}`,
    )
  }

  #onDecided(atMs: number, configuration: Configuration): void {
    const { backup, life } = configuration
    const last = this.#last.get(life)
    if (backup === undefined || last === undefined) return
    const known = this.#copies.of(backup)?.known ?? 0n
    if (known > last.index) return
    this.#failures.add(
      atMs,
      `${describeConfiguration(configuration)} was decided when its backup had only the records before ${known}, ` +
        `but ${describeOutput(last)} had left at ${last.atMs} ms`,
    )
  }
}

/** `output 7 of port 1 (life 1, record 12) of a/7f3c` */
export function describeOutput({ port, ordinal, life, index, process: who }: Omit<Released, 'kind'>): string {
  return `output ${ordinal} of port ${port} (life ${life}, record ${index}) of ${nameOf(who)}`
}

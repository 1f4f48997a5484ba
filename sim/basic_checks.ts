/** The simplest rules, checked while a run goes on. */
import type { Configuration } from '../src/replication/configuration.ts'
import type { Checker } from './checker.ts'
import type { Observation } from './observation.ts'

/** No output leaves before the backup that the configuration names has acknowledged its record. */
export class OutputRuleCheck implements Checker {
  readonly name = 'output rule'
  readonly #configurations = new Map<number, Configuration>()
  readonly #acknowledged = new Map<string, bigint>()
  readonly #failures: string[] = []
  #isVoid = false

  onObservation(observation: Observation): void {
    switch (observation.kind) {
      case 'decided':
        this.#configurations.set(observation.configuration.epoch, observation.configuration)
        return
      case 'rolledBack':
        this.#isVoid = true
        return
      case 'acknowledged':
        this.#acknowledge(observation.process.incarnation, observation.received)
        return
      case 'released':
        this.#onReleased(observation)
        return
    }
  }

  finish(): readonly string[] {
    return this.#failures
  }

  #acknowledge(incarnation: string, received: bigint): void {
    if (received > (this.#acknowledged.get(incarnation) ?? 0n)) this.#acknowledged.set(incarnation, received)
  }

  #onReleased({ process, life, index, port, ordinal, atMs }: Observation & { kind: 'released' }): void {
    if (this.#isVoid) return
    // The latest configuration in which this process is the primary.
    let named: Configuration | undefined
    for (const configuration of this.#configurations.values()) {
      if (configuration.primary.incarnation === process.incarnation) named = configuration
    }
    if (named === undefined) {
      this.#failures.push(`${atMs}: ${process.incarnation} releases and has never been a primary`)
      return
    }
    if (named.backup === undefined || named.life !== life) return
    if ((this.#acknowledged.get(named.backup.incarnation) ?? 0n) > index) return
    this.#failures.push(
      `${atMs}: ${process.incarnation} releases output ${ordinal} of port ${port}, record ${index}, ` +
        `which ${named.backup.incarnation} has not acknowledged`,
    )
  }
}

/** At equal life and index every copy that follows the log is in the same state, after the same record. */
export class OneLineageCheck implements Checker {
  readonly name = 'equal states'
  readonly #states = new Map<string, { readonly record: bigint; readonly state: bigint; readonly who: string }>()
  readonly #failures: string[] = []
  #isVoid = false

  onObservation(observation: Observation): void {
    if (observation.kind === 'rolledBack') this.#isVoid = true
    if (observation.kind === 'fault' && observation.name === 'memory corruption') this.#isVoid = true
    if (observation.kind !== 'applied' || this.#isVoid) return
    const { life, index, record, state, process, atMs } = observation
    const key = `${life} ${index}`
    const known = this.#states.get(key)
    if (known === undefined) {
      this.#states.set(key, { record, state, who: process.incarnation })
      return
    }
    if (known.record === record && known.state === state) return
    const what = known.record === record ? 'another state' : 'another record'
    if (this.#failures.length < 5) {
      this.#failures.push(`${atMs}: ${process.incarnation} has ${what} than ${known.who} at ${key}`)
    }
  }

  finish(): readonly string[] {
    return this.#failures
  }
}

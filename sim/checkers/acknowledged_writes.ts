/**
 * What the clients saw: their answers have an order (linearizability.ts), over failovers and cold starts, and no write
 * that was acknowledged is gone at the end (lost_writes.ts). A search that was given up before it knew is a failure too:
 * unknown is not right.
 *
 * A forced cold start may lose what clients were told, and says so: the history is not judged then, and that is counted.
 */
import type { Checker } from '../checker.ts'
import type { Observation } from '../observation.ts'
import { FailureList } from './failure_list.ts'
import { type KeyValueOperation, keyValueModel, type Value } from './key_value.ts'
import { checkLinearizable } from './linearizability.ts'
import { findLostWrites } from './lost_writes.ts'
import { nameOf } from './wording.ts'

/** The clients' side of the run; asked once it is over. */
export interface ClientHistory {
  history(): readonly KeyValueOperation[]
  /** What was read of each key after all answers had come; undefined if the run ended without service. */
  finalValues(): ReadonlyMap<string, Value> | undefined
}

const STEPS_MAX = 200_000

export class AcknowledgedWrites implements Checker {
  readonly name = 'acknowledged writes'
  readonly #failures = new FailureList()
  readonly #clients: ClientHistory
  readonly #stepsMax: number
  #nowMs = 0
  #forced: string | undefined

  constructor(clients: ClientHistory, stepsMax: number = STEPS_MAX) {
    this.#clients = clients
    this.#stepsMax = stepsMax
  }

  get failures(): readonly string[] {
    return this.#failures.lines
  }

  /** Why the history was not judged, if it was not. */
  get excuse(): string | undefined {
    return this.#forced
  }

  onObservation(observation: Observation): void {
    this.#nowMs = observation.atMs
    if (observation.kind !== 'booted' || !observation.isForced) return
    this.#forced ??= `${nameOf(observation.process)} was forced to start life ${observation.life}`
  }

  finish(): void {
    if (this.#forced !== undefined) return
    const history = this.#clients.history()
    const verdict = checkLinearizable(keyValueModel, history, { stepsMax: this.#stepsMax })
    if (verdict.kind !== 'linearizable') {
      this.#failures.add(this.#nowMs, `${verdict.kind}: ${verdict.explanation}`)
    }
    const finalValues = this.#clients.finalValues()
    if (finalValues === undefined) return
    for (const { explanation } of findLostWrites(history, finalValues)) {
      this.#failures.add(this.#nowMs, `an acknowledged write is lost: ${explanation}`)
    }
  }
}

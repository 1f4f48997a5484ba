/**
 * What the clients saw.
 *
 *  1. Their answers have an order (linearizability.ts), over failovers and cold starts. A search that was given up
 *     before it knew is a failure too: unknown is not right.
 *  2. No write that was acknowledged is gone at the end (lost_writes.ts).
 *  3. The memory of the service goes on: within one boot it counts a connection's requests on, and once a client has
 *     been answered by a later boot, none that calls afterwards is answered by an earlier one.
 *
 * A forced cold start may lose what clients were told, and says so: then 1 and 2 are not judged. A primary whose RAM was
 * corrupted, and that nothing convicts, goes on by default and answers with what it has: then nothing is judged.
 */
import type { Checker, RunOutcome } from '../checker.ts'
import type { ClientOperation } from '../history.ts'
import type { Observation } from '../observation.ts'
import { finalValues, keyValueHistory } from './client_history.ts'
import { Copies } from './copies.ts'
import { Corruption } from './corruption.ts'
import { FailureList } from './failure_list.ts'
import { keyValueModel } from './key_value.ts'
import { checkLinearizable } from './linearizability.ts'
import { findLostWrites } from './lost_writes.ts'

const STEPS_MAX = 200_000

export class AcknowledgedWrites implements Checker {
  readonly name = 'acknowledged writes'
  readonly #failures = new FailureList()
  readonly #stepsMax: number
  #nowMs = 0
  readonly #copies = new Copies()
  readonly #corruption = new Corruption(this.#copies)
  #isForced = false
  #isCorrupt = false

  constructor(stepsMax: number = STEPS_MAX) {
    this.#stepsMax = stepsMax
  }

  get excuses(): readonly string[] {
    if (this.#isCorrupt) return ['answers not judged: a copy with corrupted memory gave some']
    return !this.#isForced ? [] : ['answers not judged: a cold start was forced']
  }

  onObservation(observation: Observation): void {
    this.#nowMs = observation.atMs
    this.#copies.onObservation(observation)
    this.#corruption.onObservation(observation)
    if (observation.kind === 'booted' && observation.isForced) this.#isForced = true
    const isAnswer = observation.kind === 'released' || observation.kind === 'flushed'
    if (isAnswer && this.#corruption.markOf(observation.process) !== 0) this.#isCorrupt = true
  }

  finish({ operations }: RunOutcome): readonly string[] {
    if (this.#isCorrupt) return this.#failures.lines
    this.#checkMemory(operations)
    if (!this.#isForced) this.#checkHistory(operations)
    return this.#failures.lines
  }

  #checkHistory(operations: readonly ClientOperation[]): void {
    const history = keyValueHistory(operations)
    const verdict = checkLinearizable(keyValueModel, history, { stepsMax: this.#stepsMax })
    if (verdict.kind !== 'linearizable') {
      this.#failures.add(this.#nowMs, `${verdict.kind}: ${verdict.explanation}`)
    }
    const values = finalValues(history)
    const ended = history.filter(({ key }) => values.has(key))
    for (const { explanation } of findLostWrites(ended, values)) {
      this.#failures.add(this.#nowMs, `an acknowledged write is lost: ${explanation}`)
    }
  }

  #checkMemory(operations: readonly ClientOperation[]): void {
    const answered = operations.filter(({ answer }) => answer !== undefined)
    /** The last answer on each connection, and when each boot was last answered from. */
    const last = new Map<number, ClientOperation>()
    for (const operation of answered) {
      const before = last.get(operation.connection)
      last.set(operation.connection, operation)
      const [answer, earlier] = [operation.answer!, before?.answer]
      if (earlier?.boot !== answer.boot || answer.served > earlier.served) continue
      this.#failures.add(
        operation.returnMs!,
        `the service has forgotten requests: ${describe(operation)}, after ${describe(before!)}`,
      )
    }
    this.#checkBoots(answered)
  }

  #checkBoots(answered: readonly ClientOperation[]): void {
    /** The operation of each boot that was answered first. */
    const firsts = new Map<number, ClientOperation>()
    for (const operation of answered.toSorted((a, b) => a.returnMs! - b.returnMs!)) {
      const boot = operation.answer!.boot
      if (!firsts.has(boot)) firsts.set(boot, operation)
    }
    const boots = [...firsts.keys()]
    for (const operation of answered) {
      const rank = boots.indexOf(operation.answer!.boot)
      const later = boots.slice(rank + 1).map((boot) => firsts.get(boot)!)
      const newer = later.find(({ returnMs }) => returnMs! < operation.callMs)
      if (newer === undefined) continue
      this.#failures.add(
        operation.returnMs!,
        `an earlier boot of the service answers again: ${describe(operation)}, after ${describe(newer)}`,
      )
      return
    }
  }
}

function describe({ connection, request, answer, returnMs }: ClientOperation): string {
  return (
    `connection ${connection} was answered operation ${request.operation} at ${returnMs} ms ` +
    `as number ${answer?.served} of boot ${answer?.boot.toString(16)}`
  )
}

/** All checkers of a run, in the order in which their findings explain most. */
import type { Checker, RunOutcome } from '../checker.ts'
import { PORT } from '../machine_ports.ts'
import type { Observation } from '../observation.ts'
import { AcknowledgedWrites } from './acknowledged_writes.ts'
import { Epochs } from './epochs.ts'
import { EqualCopies } from './equal_copies.ts'
import { LawfulHalts } from './lawful_halts.ts'
import { Liveness } from './liveness.ts'
import { OneLineage } from './one_lineage.ts'
import { OneReleaser } from './one_releaser.ts'
import { OutputRule } from './output_rule.ts'
import { SameBytes } from './same_bytes.ts'

/** How long service and protection may take to come back when nothing is broken any more. */
const RECOVERY_MS = 25_000

/** New checkers for one run. */
export function allCheckers(): readonly Checker[] {
  return [
    new Epochs(),
    new OutputRule(),
    new OneReleaser(),
    new OneLineage(),
    new EqualCopies(),
    new SameBytes(),
    new LawfulHalts(),
    new AcknowledgedWrites(),
  ]
    .map((checker): Checker => new UntilRollback(checker))
    .concat(new Liveness({ serviceMs: RECOVERY_MS, protectionMs: RECOVERY_MS, port: PORT.net }))
}

/**
 * Safety rests on an arbiter that forgets nothing. Members halt where they notice that it has; where nobody can notice,
 * nothing is promised: so a run is judged only up to there.
 */
class UntilRollback implements Checker {
  readonly name: string
  readonly #checker: Checker
  #isVoid = false

  constructor(checker: Checker) {
    this.name = checker.name
    this.#checker = checker
  }

  get excuses(): readonly string[] {
    const own = this.#checker.excuses ?? []
    return this.#isVoid ? [...own, `${this.name}: not judged after the arbiter's rollback`] : own
  }

  onObservation(observation: Observation): void {
    if (observation.kind === 'rolledBack') this.#isVoid = true
    if (!this.#isVoid) this.#checker.onObservation(observation)
  }

  finish(outcome: RunOutcome): readonly string[] {
    return this.#checker.finish(this.#isVoid ? { ...outcome, operations: [] } : outcome)
  }
}

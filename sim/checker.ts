/** How a run is judged: checkers see everything that happens and say what is wrong. */
import type { ClientOperation } from './history.ts'
import type { Observation } from './observation.ts'
import type { Shape } from './shape.ts'

export interface Checker {
  readonly name: string
  onObservation(observation: Observation): void
  /** What was wrong, in lines for people; empty if nothing was. */
  finish(outcome: RunOutcome): readonly string[]
  /** What was found and is excused, by the name of the excuse: a campaign counts them. */
  readonly excuses?: readonly string[]
}

/** How a run ended. */
export interface RunOutcome {
  readonly shape: Shape
  readonly operations: readonly ClientOperation[]
  /** Whether, after all faults had ended, the service answered and the machine was protected again. */
  readonly isServing: boolean
  readonly isProtected: boolean
}

/** What every checker of a simulated run offers: it reads the observations in their order, and says what is wrong. */
import type { Observation } from './observation.ts'

export interface Checker {
  /** What it checks, in words: the heading of its failures. */
  readonly name: string
  onObservation(observation: Observation): void
  /** The run is over: what only the end shows is judged now. */
  finish(): void
  /** What is wrong, in the order in which it was found: each says what, who, when, and what contradicts it. */
  readonly failures: readonly string[]
}

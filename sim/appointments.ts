/**
 * Meetings of a fault with a state of the protocol that a run is to bring about: chance alone would need very many seeds
 * for states that last a few milliseconds.
 *
 * Every other seed has some. All pairs that should meet (checkers/coverage_goals.ts) get their turn as the seeds go on.
 */

import type { Pair } from './checkers/coverage.ts'
import { GOALS, INDUCED_BY } from './checkers/coverage_goals.ts'
import type { FaultName } from './faults.ts'

const APPOINTMENTS = 4

/** The meetings of a run. */
export function appointmentsOf(seed: number): Pair[] {
  if (seed % 2 === 1) return []
  const first = (seed / 2) * APPOINTMENTS
  return Array.from({ length: APPOINTMENTS }, (_, i) => GOALS[(first + i * STRIDE) % GOALS.length]!)
}

/** Neighbours in the list have the same fault: those of one run should not. Prime, so that all get their turn. */
const STRIDE = 97

/** The faults that bring the pair's state about, one after the other; none if it comes by itself. */
export function inducing({ state }: Pair): readonly FaultName[] {
  return INDUCED_BY[state as keyof typeof INDUCED_BY] ?? []
}

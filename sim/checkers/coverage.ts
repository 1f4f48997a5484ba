/**
 * Which faults have met which states of the protocol: what a campaign of seeds has tried, and what it has missed.
 *
 * A state is in the simulator's words, `primary/protected` or `backup/failing over`; an observation has it behind its
 * host. A fault that is put in while processes are in several states meets each of them.
 */
import type { Observation } from '../observation.ts'

/** Pairs that cannot meet, or whose meeting would say nothing; '*' stands for any. */
export interface Exclusion {
  readonly fault: string
  readonly state: string
  readonly reason: string
}

export interface Pair {
  readonly fault: string
  readonly state: string
}

export class Coverage {
  readonly #counts = new Map<string, Map<string, number>>()

  onObservation(observation: Observation): void {
    if (observation.kind !== 'fault') return
    const states = this.#counts.get(observation.name) ?? new Map<string, number>()
    this.#counts.set(observation.name, states)
    const met = new Set(observation.states.map((state) => state.slice(state.indexOf(':') + 1)))
    for (const state of met) states.set(state, (states.get(state) ?? 0) + 1)
  }

  /** Adds what another run has met. */
  add(other: Coverage): void {
    for (const [fault, states] of other.#counts) {
      const own = this.#counts.get(fault) ?? new Map<string, number>()
      this.#counts.set(fault, own)
      for (const [state, count] of states) own.set(state, (own.get(state) ?? 0) + count)
    }
  }

  count({ fault, state }: Pair): number {
    return this.#counts.get(fault)?.get(state) ?? 0
  }

  /** One line for each state, one column for each fault, zeros as dots. */
  table(): string {
    const faults = [...this.#counts.keys()].sort()
    const states = [...new Set([...this.#counts.values()].flatMap((counts) => [...counts.keys()]))].sort()
    const width = Math.max(0, ...states.map((state) => state.length))
    const heading = faults.map((fault, i) => `${' '.repeat(width)} ${'|'.repeat(0)}${i + 1}: ${fault}`)
    const columns = faults.map((_, i) => String(i + 1).padStart(5)).join('')
    const rows = states.map((state) => {
      const cells = faults.map((fault) => String(this.count({ fault, state }) || '.').padStart(5))
      return `${state.padEnd(width)} ${cells.join('')}`
    })
    return [...heading, `${' '.repeat(width)} ${columns}`, ...rows].join('\n')
  }

  /** The pairs of these faults and states that never met though nothing excludes them. */
  missing(
    faults: readonly string[],
    states: readonly string[],
    exclusions: readonly Exclusion[] = [],
  ): Pair[] {
    const isExcluded = (pair: Pair) =>
      exclusions.some(({ fault, state }) => matches(fault, pair.fault) && matches(state, pair.state))
    return faults
      .flatMap((fault) => states.map((state) => ({ fault, state })))
      .filter((pair) => this.count(pair) === 0 && !isExcluded(pair))
  }
}

function matches(pattern: string, word: string): boolean {
  return pattern === '*' || pattern === word
}

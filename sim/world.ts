/**
 * What all parts of a simulation share: time, chance, the trace, and whoever watches.
 *
 * Each part draws from a stream of random numbers of its own, so that one part's history depends on the others' only
 * through what they do to each other.
 */
import { Random } from '../src/base/prng.ts'
import { type Event, EventQueue } from './event_queue.ts'
import type { Observation } from './observation.ts'

type WithoutTime<O> = O extends Observation ? Omit<O, 'atMs'> : never
/** An observation; the world adds the time. */
export type NewObservation = WithoutTime<Observation>

export interface Watcher {
  onObservation(observation: Observation): void
}

export class World {
  readonly seed: number
  readonly #queue = new EventQueue()
  readonly #watchers: readonly Watcher[]
  readonly #onLine: ((line: string) => void) | undefined
  #streams = 0
  #failure: string | undefined

  constructor(seed: number, watchers: readonly Watcher[], onLine: ((line: string) => void) | undefined) {
    this.seed = seed
    this.#watchers = watchers
    this.#onLine = onLine
  }

  get nowMs(): number {
    return this.#queue.nowMs
  }

  get events(): number {
    return this.#queue.scheduled
  }

  /** What went wrong in the simulated software itself, such as a failed assertion. */
  get failure(): string | undefined {
    return this.#failure
  }

  /** A new stream of random numbers. Asked for in a fixed order, so that it is always the same. */
  randomStream(): Random {
    return new Random(this.seed, ++this.#streams)
  }

  after(delayMs: number, action: () => void): Event {
    return this.#queue.after(delayMs, action)
  }

  cancel(event: Event): void {
    this.#queue.cancel(event)
  }

  step(limitMs: number): boolean {
    return this.#queue.step(limitMs)
  }

  /** Tells the watchers; the observation is theirs from then on. */
  observe(observation: NewObservation): void {
    const complete: Observation = Object.assign(observation, { atMs: this.nowMs })
    for (const watcher of this.#watchers) watcher.onObservation(complete)
  }

  /** Whether a trace is wanted: whoever has a line that is not worth building otherwise asks before. */
  get isTraced(): boolean {
    return this.#onLine !== undefined
  }

  /** Adds a line to the trace; `text` is only called if somebody wants it. */
  say(who: string, text: () => string): void {
    this.#onLine?.(`${this.nowMs.toFixed(3).padStart(10)} ${who.padEnd(8)} ${text()}`)
  }

  /** Ends the run: the simulated software has broken one of its own rules. */
  fail(what: string): void {
    this.#failure ??= what
  }
}

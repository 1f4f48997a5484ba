/** Clients that use a store concurrently, in random interleavings; what they saw is a history. */
import { HistoryRecorder, isOpen } from '../history.ts'
import type { KeyValueInput, KeyValueOperation, KeyValueOutput } from '../key_value.ts'
import { type Choices, pick } from './choices.ts'
import type { Store } from './store.ts'

export interface Load {
  readonly clients: number
  readonly keys: number
  readonly operations: number
  /** So many values are written; with few, different writes look the same. */
  readonly values: number
  /** How many of 100 calls get no answer. */
  readonly lostPercent: number
  readonly kinds: readonly KeyValueInput['kind'][]
}

interface Call {
  readonly id: number
  readonly client: number
  readonly key: string
  readonly input: KeyValueInput
  output: KeyValueOutput | undefined
}

/** One random event after the other: a call, an operation taking effect, an answer. */
class Clients {
  readonly #recorder = new HistoryRecorder<KeyValueInput, KeyValueOutput>()
  readonly #store: Store
  readonly #load: Load
  readonly #choices: Choices
  #idle: number[]
  #waiting: Call[] = []
  /** Calls that were given up and have not taken effect so far. */
  #lost: Call[] = []

  constructor(store: Store, load: Load, choices: Choices) {
    this.#store = store
    this.#load = load
    this.#choices = choices
    this.#idle = Array.from({ length: load.clients }, (_, client) => client)
  }

  run(): KeyValueOperation[] {
    for (let calls = 0; calls < this.#load.operations || this.#waiting.length > 0; ) {
      const mayCall = calls < this.#load.operations && this.#idle.length > 0
      if (mayCall && (this.#waiting.length === 0 || this.#choices.below(3) === 0)) {
        this.#call()
        calls++
      } else {
        this.#goOn()
      }
    }
    return this.#recorder.history()
  }

  #call(): void {
    const client = pick(this.#choices, this.#idle)
    this.#idle = this.#idle.filter((other) => other !== client)
    const key = `k${this.#choices.below(this.#load.keys)}`
    const input = randomInput(this.#load, this.#choices)
    const id = this.#recorder.call(client, key, input)
    this.#waiting.push({ id, client, key, input, output: undefined })
  }

  /** An operation takes effect, is answered or is given up. */
  #goOn(): void {
    const call = pick(this.#choices, [...this.#waiting, ...this.#lost])
    if (this.#lost.includes(call)) {
      this.#lost = this.#lost.filter((other) => other !== call)
      this.#store.execute(call.key, call.input)
    } else if (this.#choices.below(100) >= 100 - this.#load.lostPercent) {
      if (call.output === undefined) this.#lost.push(call)
      this.#leave(call)
    } else if (call.output === undefined) {
      call.output = this.#store.execute(call.key, call.input)
    } else {
      this.#recorder.answer(call.id, call.output)
      this.#leave(call)
    }
  }

  #leave(call: Call): void {
    this.#waiting = this.#waiting.filter((other) => other !== call)
    this.#idle.push(call.client)
  }
}

function randomInput({ kinds, values }: Load, choices: Choices): KeyValueInput {
  const kind = pick(choices, kinds)
  const value = () => String(choices.below(values))
  if (kind === 'put') return { kind, value: value() }
  if (kind !== 'cas') return { kind }
  return { kind, expected: choices.below(4) === 0 ? null : value(), value: value() }
}

/** What the clients saw. */
export function useStore(store: Store, load: Load, choices: Choices): KeyValueOperation[] {
  return new Clients(store, load, choices).run()
}

/** The answers of two gets of different values change places; undefined if there are no such two. */
export function swapOutputs(
  history: readonly KeyValueOperation[],
  choices: Choices,
): KeyValueOperation[] | undefined {
  const gets = history.filter((operation) => operation.input.kind === 'get' && !isOpen(operation))
  const pairs = gets.flatMap((a) =>
    gets.filter((b) => a.key === b.key && a.output !== b.output).map((b) => [a, b] as const),
  )
  if (pairs.length === 0) return undefined
  const [a, b] = pick(choices, pairs)
  return history.map((operation) => {
    if (operation === a) return { ...a, output: b.output }
    return operation === b ? { ...b, output: a.output } : operation
  })
}

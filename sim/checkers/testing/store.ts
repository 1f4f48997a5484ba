/** Stores that execute one operation at a time: a right one, and wrong ones, each with one named fault. */
import { executeKeyValue, type KeyValueInput, type KeyValueOutput, type Value } from '../key_value.ts'

export interface Store {
  execute(key: string, input: KeyValueInput): KeyValueOutput
}

/** Each operation is one instant; so whatever clients see of it is linearizable. */
export class AtomicStore implements Store {
  readonly #values = new Map<string, Value>()

  read(key: string): Value {
    return this.#values.get(key) ?? null
  }

  write(key: string, value: Value): void {
    this.#values.set(key, value)
  }

  execute(key: string, input: KeyValueInput): KeyValueOutput {
    const { value, output } = executeKeyValue(this.read(key), input)
    this.write(key, value)
    return output
  }
}

/** Makes a store whose fault shows at the `place`-th operation of its kind. */
export type FaultyStore = (place: number) => Store

function isWrite(input: KeyValueInput): boolean {
  return input.kind !== 'get'
}

/** One write is answered and forgotten: acknowledged before it was safe. */
function droppedWrite(place: number): Store {
  const store = new AtomicStore()
  let writes = 0
  return {
    execute(key, input) {
      const before = store.read(key)
      const output = store.execute(key, input)
      if (isWrite(input) && writes++ === place) store.write(key, before)
      return output
    },
  }
}

/** One get is answered as before the last write to its key: read from a copy that lags behind. */
function staleRead(place: number): Store {
  const store = new AtomicStore()
  const previous = new Map<string, Value>()
  let gets = 0
  return {
    execute(key, input) {
      if (!isWrite(input)) return gets++ === place ? (previous.get(key) ?? null) : store.read(key)
      previous.set(key, store.read(key))
      return store.execute(key, input)
    },
  }
}

/** One write takes effect a second time, right before the next operation but one: sent again after a failover. */
function duplicatedWrite(place: number): Store {
  const store = new AtomicStore()
  let writes = 0
  let repeat = () => {}
  let wait = -1
  return {
    execute(key, input) {
      if (wait-- === 0) repeat()
      const output = store.execute(key, input)
      if (isWrite(input) && writes++ === place) {
        repeat = () => store.execute(key, input)
        wait = 1
      }
      return output
    },
  }
}

/** One write is answered at once and takes effect only after the next write: the log was replayed out of order. */
function reorderedWrites(place: number): Store {
  const store = new AtomicStore()
  let writes = 0
  let late: (() => void) | undefined
  return {
    execute(key, input) {
      const before = store.read(key)
      const output = store.execute(key, input)
      if (!isWrite(input)) return output
      late?.()
      late = undefined
      if (writes++ === place) {
        store.write(key, before)
        late = () => store.execute(key, input)
      }
      return output
    },
  }
}

/** All keys go back to what they held three writes ago: a backup went live that was not up to date. */
function lostTail(place: number): Store {
  const store = new AtomicStore()
  const undo: (() => void)[] = []
  return {
    execute(key, input) {
      const before = store.read(key)
      const output = store.execute(key, input)
      if (isWrite(input) && undo.push(() => store.write(key, before)) === place + 3)
        for (const back of undo.slice(-3).reverse()) back()
      return output
    },
  }
}

/** The faults that a replicated store can have, by name. */
export const faultyStores: Readonly<Record<string, FaultyStore>> = {
  'dropped acknowledged write': droppedWrite,
  'stale read': staleRead,
  'duplicated write': duplicatedWrite,
  'reordered acknowledged writes': reorderedWrites,
  'last acknowledged writes gone': lostTail,
}

/** The search against what linearizability means: every order tried, and stores that are right or wrong by construction. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { historiesByKey, isOpen } from './history.ts'
import {
  type KeyValueInput,
  type KeyValueOperation,
  type KeyValueOutput,
  keyValueModel,
} from './key_value.ts'
import { checkLinearizable, requireLinearizable } from './linearizability.ts'
import { listedChoices, seededChoices } from './testing/choices.ts'
import { type Load, swapOutputs, useStore } from './testing/clients.ts'
import { hasOrder, isOrderOf, statesBefore } from './testing/oracle.ts'
import { AtomicStore, faultyStores } from './testing/store.ts'

const KINDS: KeyValueInput['kind'][] = ['get', 'put', 'cas', 'delete', 'increment']
const stepsMax = 1_000_000

function check(history: readonly KeyValueOperation[]) {
  return checkLinearizable(keyValueModel, history, { stepsMax })
}

/** What the verdict must be. */
function oracle(history: readonly KeyValueOperation[]): 'linearizable' | 'not linearizable' {
  const parts = [...historiesByKey(history).values()]
  return parts.every((part) => hasOrder(keyValueModel, part)) ? 'linearizable' : 'not linearizable'
}

const value = fc.constantFrom('0', '1', '2')
const valueOrAbsent = fc.constantFrom(null, '0', '1', '2')

/** An operation and some answer of its kind, true or not. */
const question: fc.Arbitrary<[KeyValueInput, KeyValueOutput]> = fc.oneof(
  fc.tuple(fc.constant({ kind: 'get' as const }), valueOrAbsent),
  fc.tuple(fc.record({ kind: fc.constant('put' as const), value }), fc.constant(true)),
  fc.tuple(fc.record({ kind: fc.constant('cas' as const), expected: valueOrAbsent, value }), fc.boolean()),
  fc.tuple(fc.constant({ kind: 'delete' as const }), fc.boolean()),
  fc.tuple(fc.constant({ kind: 'increment' as const }), value),
)

/** Any operation of a small history; about a third are open. */
const anyOperation: fc.Arbitrary<KeyValueOperation> = fc
  .tuple(question, fc.nat(12), fc.nat(6), fc.nat(2))
  .map(([[input, output], call, length, fate]) => {
    const answered = fate === 0 ? { return: undefined, output: undefined } : { return: call + length, output }
    return { client: call, key: 'a', call, input, ...answered }
  })

test('on any small history, with open operations and wrong answers, the verdict is that of all orders tried', () => {
  const counts = { linearizable: 0, 'not linearizable': 0 }
  const history = fc.array(anyOperation, { maxLength: 7, size: 'max' })
  fc.assert(
    fc.property(history, (operations) => {
      const verdict = check(operations)
      assert.equal(verdict.kind, oracle(operations))
      counts[oracle(operations)]++
      if (verdict.kind === 'linearizable' && operations.length > 0)
        assert.ok(isOrderOf(keyValueModel, verdict.orders.get('a')!, operations))
    }),
    { numRuns: 3000 },
  )
  assert.ok(counts.linearizable > 300 && counts['not linearizable'] > 300, JSON.stringify(counts))
})

test('a dead end is one: its order is true, and no order ends in a state in which what is blocked could come', () => {
  const history = fc.array(anyOperation, { minLength: 3, maxLength: 7, size: 'max' })
  const returns = (operations: KeyValueOperation[]) =>
    operations.flatMap((operation) => operation.return ?? [])
  const isDistinct = (operations: KeyValueOperation[]) =>
    new Set(returns(operations)).size === returns(operations).length
  fc.assert(
    fc.property(history.filter(isDistinct), (operations) => {
      const verdict = check(operations)
      if (verdict.kind !== 'not linearizable') return
      const { prefix, blocked, states } = verdict.deadEnd
      const earlier = operations.filter((operation) => (operation.return ?? 100) < blocked.return!)
      assert.ok(earlier.every((operation) => prefix.includes(operation)) && !prefix.includes(blocked))
      assert.ok(isOrderOf(keyValueModel, prefix, prefix))
      const keys = states.map(keyValueModel.stateKey)
      assert.deepEqual(keys.sort(), [...statesBefore(keyValueModel, operations, blocked)].sort())
      for (const state of states)
        assert.equal(keyValueModel.apply(state, blocked.input, blocked.output), undefined)
    }),
    { numRuns: 1000 },
  )
})

test('whatever clients see of an atomic store is linearizable, and the order found explains it', () => {
  const load = fc.record<Load>({
    clients: fc.integer({ min: 1, max: 8 }),
    keys: fc.integer({ min: 1, max: 3 }),
    operations: fc.integer({ min: 1, max: 80 }),
    values: fc.integer({ min: 1, max: 50 }),
    lostPercent: fc.constantFrom(0, 3, 20),
    kinds: fc.subarray(KINDS, { minLength: 1 }),
  })
  const numbers = fc.array(fc.nat(1_000_000), { maxLength: 400, size: 'max' })
  fc.assert(
    fc.property(load, numbers, (used, listed) => {
      const history = useStore(new AtomicStore(), used, listedChoices(listed))
      const verdict = check(history)
      requireLinearizable(verdict)
      for (const [key, part] of historiesByKey(history))
        assert.ok(isOrderOf(keyValueModel, verdict.orders.get(key)!, part))
    }),
    { numRuns: 300 },
  )
})

const SMALL: Load = { clients: 3, keys: 1, operations: 8, values: 100, lostPercent: 4, kinds: KINDS }
const RUNS = 400

/** By seed: histories of stores with a fault, or none where the fault found no place. */
const faulty: Record<string, (seed: number) => KeyValueOperation[] | undefined> = {
  'swapped outputs': (seed) => {
    const choices = seededChoices(seed)
    return swapOutputs(useStore(new AtomicStore(), SMALL, choices), choices)
  },
}
for (const [name, makeStore] of Object.entries(faultyStores)) {
  faulty[name] = (seed) => {
    const choices = seededChoices(seed)
    return useStore(makeStore(choices.below(3)), SMALL, choices)
  }
}

for (const [name, makeHistory] of Object.entries(faulty)) {
  test(`a store is caught whenever its fault shows: ${name}`, () => {
    let caught = 0
    for (let seed = 0; seed < RUNS; seed++) {
      const history = makeHistory(seed)
      if (history === undefined) continue
      const expected = oracle(history)
      assert.equal(check(history).kind, expected, `seed ${seed}`)
      if (expected === 'not linearizable') caught++
    }
    assert.ok(caught > RUNS / 20, `shows in only ${caught} of ${RUNS} histories`)
  })
}

const LARGE: Load = {
  clients: 10,
  keys: 20,
  operations: 10_000,
  values: 1_000_000,
  lostPercent: 0,
  kinds: KINDS,
}

test('10,000 operations of 10 clients on 20 keys take few steps', () => {
  const verdict = check(useStore(new AtomicStore(), LARGE, seededChoices(1)))
  requireLinearizable(verdict)
  assert.ok(verdict.steps < 2 * LARGE.operations, `${verdict.steps} steps`)
})

test('hundreds of open operations do not make the search explode', () => {
  for (const kinds of [['get', 'put'], ['get', 'increment', 'delete'], KINDS] as Load['kinds'][]) {
    const load = { ...LARGE, keys: 3, operations: 3000, lostPercent: 4, kinds }
    const history = useStore(new AtomicStore(), load, seededChoices(2))
    assert.ok(history.filter(isOpen).length > 150)
    requireLinearizable(check(history))
  }
})

/** An operation on a key; open without an answer. */
function operation(call: number, input: KeyValueInput, answered?: number, output?: KeyValueOutput) {
  return { client: call, key: 'a', call, return: answered, input, output }
}

const GET: KeyValueInput = { kind: 'get' }

/** What would take exponential time without the rule in the name. */
const shortcuts: Readonly<Record<string, KeyValueOperation[]>> = {
  'an observation is tried before what was called earlier': [
    ...Array.from({ length: 40 }, (_, call) =>
      operation(call, { kind: 'put', value: `${call}` }, 100 + call, true),
    ),
    operation(50, GET, 60, null),
  ],
  'what an observation led to need not be tried without it': [
    ...Array.from({ length: 40 }, (_, call) => operation(call, GET, 100 + call, null)),
    operation(50, GET, 60, 'never written'),
  ],
  'an open operation that does not change the state is left out': [
    ...Array.from({ length: 40 }, (_, call) =>
      operation(call, { kind: 'cas', expected: 'never written', value: `${call}` }),
    ),
    operation(50, GET, 60, 'never written'),
  ],
  'of open operations with the same input the first comes first': [
    ...Array.from({ length: 40 }, (_, call) => operation(call, { kind: 'increment' })),
    operation(50, GET, 51, '20'),
    operation(60, GET, 61, '41'),
  ],
  'an open operation before one that could do without it is left out': [
    ...Array.from({ length: 40 }, (_, call) => operation(call, { kind: 'put', value: `${call}` })),
    operation(50, { kind: 'put', value: '50' }, 51, true),
    operation(60, GET, 61, 'never written'),
  ],
}

for (const [rule, history] of Object.entries(shortcuts)) {
  test(`the search is short, since ${rule}`, () => {
    const { kind, steps } = check(history)
    assert.ok(kind !== 'unknown' && steps < 10_000, `${kind}, ${steps} steps`)
  })
}

test('one fault among 10,000 operations is found', () => {
  const load: Load = { ...LARGE, clients: 3, keys: 5, kinds: ['get', 'get', 'put'] }
  for (const name of ['stale read', 'dropped acknowledged write', 'last acknowledged writes gone']) {
    const kinds = Array.from({ length: 5 }, (_, seed) => {
      const verdict = check(useStore(faultyStores[name]!(1000), load, seededChoices(seed)))
      assert.ok(verdict.kind !== 'unknown')
      return verdict.kind
    })
    // Where the next write came before the next read, nobody saw it.
    assert.ok(kinds.filter((kind) => kind === 'not linearizable').length >= 2, `${name}: ${kinds}`)
  }
})

test('a key with very many operations costs no stack, and little more for each', () => {
  const load = { ...LARGE, keys: 1, operations: 100_000, clients: 3 }
  const verdict = check(useStore(new AtomicStore(), load, seededChoices(3)))
  requireLinearizable(verdict)
  assert.ok(verdict.steps < 2 * load.operations, `${verdict.steps} steps`)
})

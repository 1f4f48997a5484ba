/** Histories whose verdict is known, and what a verdict says. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AssertionError } from '../../src/base/assert.ts'
import { HistoryRecorder } from './history.ts'
import {
  type KeyValueInput,
  type KeyValueOperation,
  type KeyValueOutput,
  keyValueModel,
} from './key_value.ts'
import { checkLinearizable, LinearizabilityError, requireLinearizable } from './linearizability.ts'
import type { Model } from './model.ts'
import { isOrderOf } from './testing/oracle.ts'

const GET: KeyValueInput = { kind: 'get' }
const INCREMENT: KeyValueInput = { kind: 'increment' }
const DELETE: KeyValueInput = { kind: 'delete' }
const put = (value: string): KeyValueInput => ({ kind: 'put', value })
const cas = (expected: string | null, value: string): KeyValueInput => ({ kind: 'cas', expected, value })

type Line = [call: number, answered: number, input: KeyValueInput, output: KeyValueOutput]

/** Each line is one operation of a client of its own; an open one has no time of an answer. */
function historyOf(lines: readonly (Line | [call: number, input: KeyValueInput])[], key = 'a') {
  return lines.map((line, client): KeyValueOperation => {
    if (line.length === 2)
      return { client, key, call: line[0], return: undefined, input: line[1], output: undefined }
    return { client, key, call: line[0], return: line[1], input: line[2], output: line[3] }
  })
}

function check(history: readonly KeyValueOperation[], stepsMax = 10_000) {
  return checkLinearizable(keyValueModel, history, { stepsMax })
}

const linearizable: Record<string, Parameters<typeof historyOf>[0]> = {
  'nothing at all': [],
  'one after the other': [
    [0, 1, GET, null],
    [2, 3, put('1'), true],
    [4, 5, GET, '1'],
    [6, 7, cas('2', '3'), false],
    [8, 9, cas('1', '2'), true],
    [10, 11, DELETE, true],
    [12, 13, DELETE, false],
    [14, 15, INCREMENT, '1'],
  ],
  'reads of old and new value beside a write': [
    [0, 9, put('1'), true],
    [1, 2, GET, null],
    [3, 4, GET, '1'],
  ],
  'concurrent writes that readers saw in the order against that of their calls': [
    [0, 9, put('1'), true],
    [1, 10, put('2'), true],
    [2, 3, GET, '2'],
    [4, 5, GET, '1'],
  ],
  'an open write that never happened': [
    [0, put('1')],
    [1, 2, GET, null],
    [3, 4, GET, null],
  ],
  'an open write that happened late': [
    [0, put('1')],
    [1, 2, put('2'), true],
    [3, 4, GET, '2'],
    [5, 6, GET, '1'],
  ],
  'open operations that only together explain a read': [
    [0, cas('2', '3')],
    [1, cas('1', '2')],
    [2, cas(null, '1')],
    [3, 4, GET, '3'],
  ],
  'as many open increments as were seen': [
    [0, INCREMENT],
    [1, INCREMENT],
    [2, 3, INCREMENT, '3'],
  ],
  'an answer and a call at the same time': [
    [0, 2, put('1'), true],
    [2, 4, GET, null],
  ],
}

for (const [name, lines] of Object.entries(linearizable)) {
  test(`linearizable: ${name}`, () => {
    const history = historyOf(lines)
    const verdict = check(history)
    requireLinearizable(verdict)
    assert.ok(isOrderOf(keyValueModel, verdict.orders.get('a') ?? [], history))
  })
}

/** `blocked` is the line that cannot be ordered, `held` what the key can only have held by then. */
const notLinearizable: Record<
  string,
  { lines: Parameters<typeof historyOf>[0]; blocked: number; held: string }
> = {
  'a stale read': {
    lines: [
      [0, 1, put('1'), true],
      [2, 3, put('2'), true],
      [4, 5, GET, '1'],
    ],
    blocked: 2,
    held: '"2"',
  },
  'a lost update': {
    lines: [
      [0, 3, INCREMENT, '1'],
      [1, 2, INCREMENT, '1'],
    ],
    blocked: 0,
    held: '"1"',
  },
  'a read of a value never written': {
    lines: [
      [0, 1, put('1'), true],
      [2, put('2')],
      [3, 4, GET, '3'],
    ],
    blocked: 2,
    held: '"1", "2"',
  },
  'a read that goes backwards': {
    lines: [
      [0, 9, put('1'), true],
      [1, 2, GET, '1'],
      [3, 4, GET, null],
    ],
    blocked: 2,
    held: '"1"',
  },
  'both of two cas succeeding': {
    lines: [
      [0, 4, cas(null, '1'), true],
      [1, 3, cas(null, '2'), true],
    ],
    blocked: 0,
    held: '"2"',
  },
  'an acknowledged write after a timed-out one, gone without either': {
    lines: [
      [0, put('1')],
      [1, 2, put('2'), true],
      [3, 4, GET, null],
    ],
    blocked: 2,
    held: '"2", "1"',
  },
  'an open write that came back after it was overwritten': {
    lines: [
      [0, put('1')],
      [1, 2, GET, '1'],
      [3, 4, put('2'), true],
      [5, 6, GET, '1'],
    ],
    blocked: 3,
    held: '"2"',
  },
  'an open increment that happened twice': {
    lines: [
      [0, INCREMENT],
      [1, 2, GET, '1'],
      [3, 4, GET, '2'],
    ],
    blocked: 2,
    held: '"1"',
  },
  'an open write seen before its call': {
    lines: [
      [0, 1, GET, '1'],
      [2, put('1')],
    ],
    blocked: 0,
    held: 'absent',
  },
  'an acknowledged write that is not there': {
    lines: [
      [0, 1, put('1'), true],
      [2, 3, DELETE, false],
    ],
    blocked: 1,
    held: '"1"',
  },
}

for (const [name, { lines, blocked, held }] of Object.entries(notLinearizable)) {
  test(`not linearizable: ${name}`, () => {
    const history = historyOf(lines)
    const verdict = check(history)
    assert.equal(verdict.kind, 'not linearizable')
    if (verdict.kind !== 'not linearizable') return
    assert.equal(verdict.deadEnd.blocked, history[blocked])
    assert.deepEqual(verdict.deadEnd.states.map(keyValueModel.describeState).sort(), held.split(', ').sort())
    assert.throws(() => requireLinearizable(verdict), LinearizabilityError)
  })
}

test('an explanation names the operation, the possible values, an order before it, and what ran beside it', () => {
  const verdict = check(
    historyOf([
      [0, 1, put('1'), true],
      [2, 3, put('2'), true],
      [4, cas('7', '8')],
      [5, 8, GET, '1'],
      [6, 9, put('3'), true],
      [10, 11, GET, '3'],
    ]),
  )
  assert.equal(verdict.kind, 'not linearizable')
  assert.deepEqual('explanation' in verdict && verdict.explanation.split('\n'), [
    "key 'a': no order explains the answer of",
    '  client 3 at 5 to 8: get -> "1"',
    'By then the key can only have held "3", "2".',
    'An order of 3 operations before it:',
    '  client 0 at 0 to 1: put "1"',
    '  client 1 at 2 to 3: put "2"',
    '  client 4 at 6 to 9: put "3"',
    'Under way at the same time:',
    '  client 2 at 4, no answer: cas "7" to "8"',
    '  client 4 at 6 to 9: put "3"',
  ])
})

test('a long explanation is cut to the end of its lists', () => {
  const writes = Array.from({ length: 100 }, (_, i): Line => [2 * i, 2 * i + 1, put(`${i}`), true])
  const verdict = check(historyOf([...writes, [200, 201, GET, '5']]))
  const lines = 'explanation' in verdict ? verdict.explanation.split('\n') : []
  assert.deepEqual(lines.slice(3, 6), [
    'An order of 100 operations before it:',
    '  (90 more)',
    '  client 90 at 180 to 181: put "90"',
  ])
  assert.equal(lines.length, 15)
})

test('keys are independent, and the failing key with the fewest operations is explained', () => {
  const good = historyOf(linearizable['one after the other']!, 'good')
  const long = historyOf(
    [
      [0, 1, put('1'), true],
      [2, 3, GET, '1'],
      [4, 5, GET, '2'],
    ],
    'long',
  )
  const short = historyOf([[0, 1, GET, '1']], 'short')
  const verdict = check([...long, ...good, ...short])
  assert.ok(verdict.kind === 'not linearizable')
  assert.deepEqual(verdict.keys, ['short', 'long'])
  assert.equal(verdict.deadEnd.blocked.key, 'short')
  requireLinearizable(check(good))
})

test('the order in which the operations are given does not matter', () => {
  for (const { lines } of Object.values(notLinearizable))
    assert.equal(check(historyOf(lines).reverse()).kind, 'not linearizable')
  for (const lines of Object.values(linearizable)) requireLinearizable(check(historyOf(lines).reverse()))
})

/** All writes overlap, and the value that is read is from none of them: all subsets have to be tried. */
function pathological(writes: number): KeyValueOperation[] {
  const lines = Array.from({ length: writes }, (_, i): Line => [i, 100 + i, put(`${i}`), true])
  return historyOf([...lines, [200, 201, GET, 'none of them']])
}

test('a history that asks too much is unknown at the bound, and unknown is not passed', () => {
  const verdict = check(pathological(40), 50_000)
  assert.deepEqual(verdict, {
    kind: 'unknown',
    steps: 50_000,
    keys: ['a'],
    explanation: "50000 steps were not enough for 'a' with 41 operations",
  })
  assert.throws(() => requireLinearizable(verdict), /unknown: 50000 steps were not enough/)
  assert.equal(check(pathological(8), 50_000).kind, 'not linearizable')
})

test('an answer that is wrong for certain counts more than a key of which nothing is known', () => {
  const verdict = check([...pathological(40), ...historyOf([[0, 1, GET, '1']], 'b')], 1000)
  assert.ok(verdict.kind === 'not linearizable')
  assert.deepEqual(verdict.keys, ['b'])
})

test('the bound is exact', () => {
  const history = historyOf(linearizable['one after the other']!)
  const { steps } = check(history)
  assert.equal(steps, history.length)
  assert.equal(check(history, steps).kind, 'linearizable')
  assert.equal(check(history, steps - 1).kind, 'unknown')
  for (const stepsMax of [0, Number.NaN, 2 ** 24])
    assert.throws(() => check(history, stepsMax), AssertionError)
})

test('a history that nobody can have seen is refused', () => {
  const operation: KeyValueOperation = { client: 0, key: 'a', call: 1, return: 2, input: GET, output: null }
  const impossible: Partial<KeyValueOperation>[] = [
    { return: 0 },
    { return: undefined },
    { output: undefined },
    { call: Number.NaN },
    { return: Number.POSITIVE_INFINITY },
  ]
  for (const change of impossible)
    assert.throws(() => check([{ ...operation, ...change }]), AssertionError, JSON.stringify(change))
})

test('a recorder numbers calls and answers, and leaves open what was not answered', () => {
  const recorder = new HistoryRecorder<KeyValueInput, KeyValueOutput>()
  const first = recorder.call(0, 'a', GET)
  recorder.call(1, 'b', DELETE)
  recorder.answer(first, null)
  assert.deepEqual(recorder.history(), [
    { client: 0, key: 'a', call: 0, return: 2, input: GET, output: null },
    { client: 1, key: 'b', call: 1, return: undefined, input: DELETE, output: undefined },
  ])
  assert.throws(() => recorder.answer(first, null), AssertionError)
})

test('another service is checked by its own model', () => {
  type Input = { readonly push: number } | 'pop'
  const stack: Model<readonly number[], Input, number | 'done' | 'empty'> = {
    initial: [],
    apply(state, input, output) {
      if (input !== 'pop') return [...state, input.push]
      const answer = state.at(-1) ?? 'empty'
      return output === undefined || output === answer ? state.slice(0, -1) : undefined
    },
    isObservation: (_, output) => output === 'empty',
    stateKey: (state) => state.join(),
    inputKey: (input) => JSON.stringify(input),
    describeState: (state) => `[${state.join()}]`,
    describe: (input, output) => `${JSON.stringify(input)} -> ${output}`,
  }
  const history = (popped: number) => [
    { client: 0, key: '', call: 0, return: 3, input: { push: 1 }, output: 'done' as const },
    { client: 1, key: '', call: 1, return: 2, input: { push: 2 }, output: 'done' as const },
    { client: 1, key: '', call: 4, return: 5, input: 'pop' as const, output: popped },
    { client: 1, key: '', call: 6, return: 7, input: 'pop' as const, output: 2 },
  ]
  assert.equal(checkLinearizable(stack, history(1), { stepsMax: 100 }).kind, 'linearizable')
  assert.equal(checkLinearizable(stack, history(2), { stepsMax: 100 }).kind, 'not linearizable')
})

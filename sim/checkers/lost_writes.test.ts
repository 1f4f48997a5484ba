import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AssertionError } from '../../src/base/assert.ts'
import type { KeyValueInput, KeyValueOperation, KeyValueOutput, Value } from './key_value.ts'
import { keyValueModel } from './key_value.ts'
import { checkLinearizable } from './linearizability.ts'
import { findLostWrites } from './lost_writes.ts'
import { seededChoices } from './testing/choices.ts'
import { type Load, useStore } from './testing/clients.ts'
import { AtomicStore, faultyStores, type Store } from './testing/store.ts'

const put = (value: string): KeyValueInput => ({ kind: 'put', value })
const cas = (expected: Value, value: string): KeyValueInput => ({ kind: 'cas', expected, value })
const INCREMENT: KeyValueInput = { kind: 'increment' }
const DELETE: KeyValueInput = { kind: 'delete' }

type Line = [call: number, input: KeyValueInput] | [number, KeyValueInput, answered: number, KeyValueOutput]

function historyOf(lines: readonly Line[], key = 'a'): KeyValueOperation[] {
  return lines.map(([call, input, answered, output], client) => ({
    client,
    key,
    call,
    return: answered,
    input,
    output,
  }))
}

/** The final values that are accepted, of some that come into question. */
function accepted(lines: readonly Line[]): Value[] {
  const values = [null, '1', '2', '3', '4', '5']
  return values.filter((value) => findLostWrites(historyOf(lines), new Map([['a', value]])).length === 0)
}

test('a final value is that of the last acknowledged write, or of an open one', () => {
  const cases: [lines: Line[], values: Value[]][] = [
    [[[0, { kind: 'get' }, 1, null]], [null]],
    [[[0, cas('7', '1'), 1, false]], [null]],
    [
      [
        [0, put('1'), 1, true],
        [2, put('2'), 3, true],
      ],
      ['2'],
    ],
    [
      [
        [0, put('1'), 2, true],
        [1, put('2'), 3, true],
      ],
      ['1', '2'],
    ],
    [
      [
        [0, put('1'), 2, true],
        [2, put('2'), 3, true],
      ],
      ['1', '2'],
    ],
    [
      [
        [0, put('1'), 9, true],
        [1, put('2'), 2, true],
        [3, put('3'), 4, true],
      ],
      ['1', '3'],
    ],
    [
      [
        [0, put('1')],
        [1, put('2'), 2, true],
      ],
      ['1', '2'],
    ],
    [[[0, put('1')]], [null, '1']],
    [
      [
        [0, put('1'), 1, true],
        [2, DELETE, 3, true],
      ],
      [null],
    ],
    [
      [
        [0, put('1'), 1, true],
        [2, DELETE],
      ],
      [null, '1'],
    ],
    [
      [
        [0, put('1'), 1, true],
        [2, cas('1', '2'), 3, true],
        [4, cas('1', '3'), 5, false],
      ],
      ['2'],
    ],
    [
      [
        [0, put('1'), 1, true],
        [2, cas('1', '2')],
      ],
      ['1', '2'],
    ],
    [
      [
        [0, INCREMENT, 1, '1'],
        [2, INCREMENT, 3, '2'],
      ],
      ['2'],
    ],
    [
      [
        [0, INCREMENT, 1, '1'],
        [2, INCREMENT],
        [3, INCREMENT],
      ],
      ['1', '2', '3'],
    ],
    [
      [
        [0, INCREMENT],
        [1, put('3')],
      ],
      [null, '1', '3', '4'],
    ],
    [
      [
        [0, put('x'), 1, true],
        [2, INCREMENT, 3, null],
        [4, INCREMENT],
      ],
      [],
    ],
  ]
  for (const [lines, values] of cases) assert.deepEqual(accepted(lines), values, JSON.stringify(lines))
})

test('what is lost is named, and where the final value is from', () => {
  const history = [
    ...historyOf([
      [0, put('1'), 1, true],
      [2, put('2'), 3, true],
    ]),
    ...historyOf([[4, put('1'), 5, true]], 'b'),
    ...historyOf([[6, { kind: 'get' }, 7, null]], 'c'),
    ...historyOf([[8, put('1'), 9, true]], 'd'),
  ]
  const lost = findLostWrites(
    history,
    new Map([
      ['a', '1'],
      ['b', null],
      ['c', '5'],
      ['d', '1'],
    ]),
  )
  assert.deepEqual(
    lost.map(({ explanation }) => explanation.split('\n')),
    [
      [
        `key 'a' ends as "1", but the last acknowledged write is`,
        '  client 1 at 2 to 3: put "2"',
        'That value is from',
        '  client 0 at 0 to 1: put "1"',
      ],
      [
        `key 'b' ends as absent, but the last acknowledged write is`,
        '  client 0 at 4 to 5: put "1"',
        'No write gives that value.',
      ],
      [`key 'c' ends as "5", but the last acknowledged write is`, '  none', 'No write gives that value.'],
    ],
  )
  assert.deepEqual(
    lost.map(({ key }) => key),
    ['a', 'b', 'c'],
  )
})

test('a key without a final value is a mistake of the caller, not a pass', () => {
  assert.throws(() => findLostWrites(historyOf([[0, put('1'), 1, true]]), new Map()), AssertionError)
})

const LOAD: Load = {
  clients: 4,
  keys: 4,
  operations: 40,
  values: 1000,
  lostPercent: 3,
  kinds: ['get', 'put', 'cas', 'delete', 'increment'],
}

/** What is found in a store's final values, and the verdict on the history with final reads. */
function finalCheck(store: Store, seed: number) {
  const history = useStore(store, LOAD, seededChoices(seed))
  const keys = [...new Set(history.map(({ key }) => key))]
  const finalValues = new Map(keys.map((key) => [key, store.execute(key, { kind: 'get' }) as Value]))
  const reads = keys.map((key): KeyValueOperation => {
    return {
      client: 0,
      key,
      call: 1e6,
      return: 1e6 + 1,
      input: { kind: 'get' },
      output: finalValues.get(key)!,
    }
  })
  const verdict = checkLinearizable(keyValueModel, [...history, ...reads], { stepsMax: 100_000 })
  return { lost: findLostWrites(history, finalValues), verdict }
}

test('nothing is lost in an atomic store', () => {
  for (let seed = 0; seed < 200; seed++) assert.deepEqual(finalCheck(new AtomicStore(), seed).lost, [])
})

test('what a faulty store loses at the end is found, and never what linearizability would allow', () => {
  let found = 0
  for (let seed = 0; seed < 200; seed++) {
    const { lost, verdict } = finalCheck(faultyStores['last acknowledged writes gone']!(16), seed)
    if (lost.length === 0) continue
    assert.equal(verdict.kind, 'not linearizable', `seed ${seed}`)
    found++
  }
  assert.ok(found >= 20, `${found} of 200`)
})

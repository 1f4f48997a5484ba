import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  executeKeyValue,
  type KeyValueInput,
  type KeyValueOutput,
  keyValueModel,
  type Value,
} from './key_value.ts'

const examples: [before: Value, input: KeyValueInput, after: Value, output: KeyValueOutput, said: string][] =
  [
    [null, { kind: 'get' }, null, null, 'get -> absent'],
    ['', { kind: 'get' }, '', '', 'get -> ""'],
    ['1', { kind: 'put', value: '2' }, '2', true, 'put "2"'],
    ['1', { kind: 'cas', expected: '1', value: '2' }, '2', true, 'cas "1" to "2" -> true'],
    ['1', { kind: 'cas', expected: null, value: '2' }, '1', false, 'cas absent to "2" -> false'],
    [null, { kind: 'cas', expected: null, value: '2' }, '2', true, 'cas absent to "2" -> true'],
    ['1', { kind: 'delete' }, null, true, 'delete -> true'],
    [null, { kind: 'delete' }, null, false, 'delete -> false'],
    [null, { kind: 'increment' }, '1', '1', 'increment -> "1"'],
    ['-1', { kind: 'increment' }, '0', '0', 'increment -> "0"'],
    [
      '9007199254740993',
      { kind: 'increment' },
      '9007199254740994',
      '9007199254740994',
      'increment -> "9007199254740994"',
    ],
    ['01', { kind: 'increment' }, '01', null, 'increment -> absent'],
  ]

test('each operation has its effect and its answer, and no other answer is accepted', () => {
  for (const [before, input, after, output, said] of examples) {
    assert.deepEqual(executeKeyValue(before, input), { value: after, output }, said)
    assert.equal(keyValueModel.apply(before, input, output), after, said)
    assert.equal(keyValueModel.apply(before, input, undefined), after, said)
    assert.equal(keyValueModel.apply(before, input, 'some other answer'), undefined, said)
    assert.equal(keyValueModel.describe(input, output), said)
  }
})

test('an absent key and one that holds the word are told apart', () => {
  assert.notEqual(keyValueModel.stateKey(null), keyValueModel.stateKey('null'))
  assert.notEqual(
    keyValueModel.inputKey({ kind: 'cas', expected: null, value: '' }),
    keyValueModel.inputKey({ kind: 'cas', expected: 'absent', value: '' }),
  )
})

const value = fc.constantFrom('', '0', '1', 'x')
const input: fc.Arbitrary<KeyValueInput> = fc.oneof(
  fc.constantFrom<KeyValueInput>({ kind: 'get' }, { kind: 'delete' }, { kind: 'increment' }),
  fc.record({ kind: fc.constant('put' as const), value }),
  fc.record({ kind: fc.constant('cas' as const), expected: fc.option(value), value }),
)

test('what counts as an observation changes no state that it can be made in', () => {
  fc.assert(
    fc.property(input, fc.option(value), fc.option(value), (asked, state, other) => {
      const { output } = executeKeyValue(state, asked)
      if (!keyValueModel.isObservation(asked, output)) return
      assert.equal(keyValueModel.apply(state, asked, output), state)
      const next = keyValueModel.apply(other, asked, output)
      assert.ok(next === undefined || next === other)
    }),
    { numRuns: 1000 },
  )
})

test('only inputs that do the same have the same key', () => {
  fc.assert(
    fc.property(input, input, (a, b) => {
      const isSame = JSON.stringify(a) === JSON.stringify(b)
      assert.equal(keyValueModel.inputKey(a) === keyValueModel.inputKey(b), isSame)
    }),
    { numRuns: 1000 },
  )
})

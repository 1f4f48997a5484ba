import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AcknowledgedWrites } from './acknowledged_writes.ts'
import { HistoryRecorder } from './history.ts'
import type { KeyValueInput, KeyValueOutput, Value } from './key_value.ts'
import { failuresOf, Stream } from './testing/stream.ts'

type Step = readonly [input: KeyValueInput, output: KeyValueOutput | undefined]

/** One client that does one thing after the other. */
function clientsOf(steps: readonly Step[], final?: Value) {
  const recorder = new HistoryRecorder<KeyValueInput, KeyValueOutput>()
  for (const [input, output] of steps) {
    const call = recorder.call(0, 'k', input)
    if (output !== undefined) recorder.answer(call, output)
  }
  return {
    history: () => recorder.history(),
    finalValues: () => (final === undefined ? undefined : new Map([['k', final]])),
  }
}

const put = (value: string): Step => [{ kind: 'put', value }, true]
const get = (value: Value): Step => [{ kind: 'get' }, value]

function failures(steps: readonly Step[], final?: Value, stepsMax?: number): readonly string[] {
  return failuresOf(new AcknowledgedWrites(clientsOf(steps, final), stepsMax), new Stream())
}

test('answers that have an order, with the last write there, are right', () => {
  assert.deepEqual(failures([put('1'), get('1'), put('2')], '2'), [])
  assert.deepEqual(failures([put('1'), [{ kind: 'put', value: '2' }, undefined], get('1')], '2'), [])
})

test('a read of what was overwritten is caught', () => {
  assert.match(failures([put('1'), put('2'), get('1')])[0]!, /not linearizable: key 'k': no order explains/)
})

test('a write that is gone at the end is caught', () => {
  assert.match(
    failures([put('1'), put('2')], '1')[0]!,
    /an acknowledged write is lost: key 'k' ends as "?1"?/,
  )
})

test('a search that is given up is a failure', () => {
  assert.match(failures([put('1'), put('2'), get('2')], '2', 1)[0]!, /unknown: 1 steps were not enough/)
})

test('after a forced cold start nothing is judged, and that is said', () => {
  const stream = new Stream()
  const a = stream.start('a')
  stream.decide('cold start', a)
  stream.boot(a, 0n, true)
  const checker = new AcknowledgedWrites(clientsOf([put('1'), get(null)]))
  assert.deepEqual(failuresOf(checker, stream), [])
  assert.equal(checker.excuse, 'a/a1 was forced to start life 1')
})

import assert from 'node:assert/strict'
import { stat } from 'node:fs/promises'
import { test } from 'node:test'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { withinTime } from './time_limit.ts'

const LIMIT_MS = 80

test('an operation that does not end is told whenever the limit has passed again', async () => {
  const waited: number[] = []
  await withinTime(setTimeout(LIMIT_MS * 4), LIMIT_MS, (ms) => waited.push(ms))
  assert.deepEqual(waited.slice(0, 2), [LIMIT_MS, LIMIT_MS * 2])
})

test('what ended while this process was stopped was not late, however long it was stopped', async () => {
  const waited: number[] = []
  // From here the timers come next.
  await setImmediate()
  const operation = withinTime(stat('.'), LIMIT_MS, (ms) => waited.push(ms))
  // As SIGSTOP does.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LIMIT_MS * 3)
  await operation
  assert.deepEqual(waited, [])
})

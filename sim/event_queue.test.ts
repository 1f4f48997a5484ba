import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Random } from '../src/base/prng.ts'
import { EventQueue } from './event_queue.ts'

test('events come by time, and at equal times as they were scheduled', () => {
  const random = new Random(1)
  const queue = new EventQueue()
  const happened: [number, number][] = []
  const expected: [number, number][] = []
  for (let number = 0; number < 500; number++) {
    const atMs = random.below(50)
    expected.push([atMs, number])
    queue.after(atMs, () => happened.push([queue.nowMs, number]))
  }
  while (queue.step(1000));
  assert.deepEqual(
    happened,
    expected.sort(([a, i], [b, j]) => a - b || i - j),
  )
})

test('what is cancelled does not happen, and nothing happens behind the limit', () => {
  const queue = new EventQueue()
  const happened: string[] = []
  const event = queue.after(1, () => happened.push('cancelled'))
  queue.after(2, () => happened.push('in time'))
  queue.after(3, () => happened.push('too late'))
  queue.cancel(event)
  while (queue.step(2));
  assert.deepEqual(happened, ['in time'])
  assert.equal(queue.nowMs, 2)
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { OneReleaser } from './one_releaser.ts'
import { failuresOf, goodStory, Stream } from './testing/stream.ts'

function failedOver() {
  const stream = new Stream()
  const a = stream.coldStart('a')
  const b = stream.join(a, 'b')
  stream.serve(a, b)
  const known = stream.output(a)
  stream.feed(b, a)
  const unknown = stream.output(a)
  stream.failOver(b)
  return { stream, a, b, known, unknown }
}

test('there is one releaser at a time in a good story', () => {
  assert.deepEqual(failuresOf(new OneReleaser(), goodStory()), [])
})

test('a replaced primary may still let go what its successor knows', () => {
  const { stream, a, b, known } = failedOver()
  stream.release(a, known)
  stream.serve(b)
  stream.release(a, known)
  assert.deepEqual(failuresOf(new OneReleaser(), stream), [])
})

test('what the successor does not know must not leave, even before that one has released anything', () => {
  const { stream, a, unknown } = failedOver()
  stream.release(a, unknown)
  const [failure, ...others] = failuresOf(new OneReleaser(), stream)
  assert.match(failure!, /output 3 .* of a\/a1 left under epoch 1 and is not in the past of b\/b2/)
  assert.match(failure!, /its own records begin with 3/)
  assert.deepEqual(others, [])
})

test('two processes must not release under one epoch', () => {
  const { stream, a, b, known } = failedOver()
  stream.serve(b)
  stream.release(a, known, 3)
  const [failure] = failuresOf(new OneReleaser(), stream)
  assert.match(
    failure!,
    /two processes act under epoch 3: .* of b\/b2 left .* and now output 2 .* of a\/a1 left/,
  )
})

test('nothing leaves a life after a cold start has begun another, unless that was forced', () => {
  for (const isForced of [false, true]) {
    const stream = new Stream()
    const a = stream.coldStart('a')
    const b = stream.join(a, 'b')
    const output = stream.output(a)
    stream.feed(b, a)
    const c = stream.start('a', a.identity.diskGeneration)
    stream.decide('cold start', c)
    stream.boot(c, 0n, isForced)
    stream.release(a, output)
    const failures = failuresOf(new OneReleaser(), stream)
    assert.equal(failures.length, isForced ? 0 : 1)
    if (!isForced) assert.match(failures[0]!, /left under epoch 1, after a\/a3 started cold in life 3/)
  }
})

test('the gateway must not let a lower epoch attach, unless it has been started anew', () => {
  for (const isRestarted of [false, true]) {
    const { stream, a, b } = failedOver()
    stream.put({ kind: 'attached', process: b.process, epoch: 3, life: 1 })
    if (isRestarted) stream.fault('gateway restart', 'gateway')
    stream.put({ kind: 'attached', process: a.process, epoch: 1, life: 1 })
    const failures = failuresOf(new OneReleaser(), stream)
    assert.equal(failures.length, isRestarted ? 0 : 1)
    if (!isRestarted) assert.match(failures[0]!, /lets a\/a1 attach under epoch 1, though it has let b\/b2/)
  }
})

test('two processes must not release new outputs in turns', () => {
  const { stream, a, b, unknown } = failedOver()
  stream.serve(b)
  stream.serve(b)
  // Under a made-up epoch, so that only the ordinals give it away.
  stream.release(a, { ...unknown, ordinal: 9n }, 4)
  const [failure] = failuresOf(new OneReleaser(), stream)
  assert.match(failure!, /output 9 .* of a\/a1 is new, after b\/b2 had overtaken it with output/)
})

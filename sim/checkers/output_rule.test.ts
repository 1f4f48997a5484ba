import assert from 'node:assert/strict'
import { test } from 'node:test'
import { OutputRule } from './output_rule.ts'
import { failuresOf, goodStory, Stream } from './testing/stream.ts'

function protectedPair() {
  const stream = new Stream()
  const a = stream.coldStart('a')
  stream.serve(a)
  const b = stream.join(a, 'b')
  return { stream, a, b }
}

test('the output rule holds in a good story', () => {
  assert.deepEqual(failuresOf(new OutputRule(), goodStory()), [])
})

test('an output that the backup has not acknowledged must not leave', () => {
  const { stream, a } = protectedPair()
  stream.release(a, stream.output(a))
  const [failure, ...others] = failuresOf(new OutputRule(), stream)
  assert.match(failure!, /output 2 of port 1 \(life 1, record 2\) of a\/a1 left though b\/b2, the backup of/)
  assert.match(failure!, /configuration 2 \(add: a\/a1 with b\/b2\), has only acknowledged .* before 2/)
  assert.deepEqual(others, [])
})

test('nor may it if the backup is dead, until a decision has dropped it', () => {
  const { stream, a, b } = protectedPair()
  stream.crash(b)
  const output = stream.output(a)
  stream.decide('drop', a)
  stream.release(a, output)
  assert.deepEqual(failuresOf(new OutputRule(), stream), [])

  const early = protectedPair()
  early.stream.crash(early.b)
  early.stream.release(early.a, early.stream.output(early.a))
  assert.equal(failuresOf(new OutputRule(), early.stream).length, 1)
})

test('a copy must not be added without what has left', () => {
  const stream = new Stream()
  const a = stream.coldStart('a')
  const b = stream.start('b')
  stream.install(b, a)
  stream.serve(a)
  stream.decide('add', a, b)
  const [failure] = failuresOf(new OutputRule(), stream)
  assert.match(
    failure!,
    /configuration 2 .* was decided when its backup had only the records before 0, but output 1/,
  )
})

test('acknowledgements of an earlier time of joining count, what was in the transferred state too', () => {
  const stream = new Stream()
  const a = stream.coldStart('a')
  stream.serve(a)
  const b = stream.start('b')
  const output = stream.output(a)
  stream.acknowledge(b, 2n)
  stream.install(b, a)
  stream.decide('add', a, b)
  stream.release(a, output)
  assert.deepEqual(failuresOf(new OutputRule(), stream), [])
})

test('an output must not leave before its record is written', () => {
  const stream = new Stream()
  const a = stream.coldStart('a')
  stream.release(a, { life: 1, port: 1, ordinal: 1n, index: 0n, bytes: new Uint8Array(1) })
  const [failure] = failuresOf(new OutputRule(), stream)
  assert.match(failure!, /left before its record 0 was written: it has applied those before 0/)
})

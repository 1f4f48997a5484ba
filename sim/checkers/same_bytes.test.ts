import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SameBytes } from './same_bytes.ts'
import { failuresOf, goodStory, Stream } from './testing/stream.ts'

function pair() {
  const stream = new Stream()
  const a = stream.coldStart('a')
  const b = stream.join(a, 'b')
  return { stream, a, b }
}

test('a good story puts out the same bytes in one order', () => {
  assert.deepEqual(failuresOf(new SameBytes(), goodStory()), [])
})

test('a re-emission with other bytes is caught, though nothing of it is delivered', () => {
  const { stream, a, b } = pair()
  const output = stream.serve(a, b)
  stream.failOver(b)
  stream.release(b, { ...output, bytes: Uint8Array.of(9, 9) })
  const [failure, ...others] = failuresOf(new SameBytes(), stream)
  assert.match(
    failure!,
    /output 1 of port 1 in life 1: b\/b2 released 2 bytes \(0909\), but a\/a1 released 1 bytes/,
  )
  assert.deepEqual(others, [])
})

test('a second delivery is caught', () => {
  const { stream, a, b } = pair()
  const output = stream.serve(a, b)
  stream.failOver(b)
  stream.release(b, output)
  stream.deliver(b, output)
  const [failure] = failuresOf(new SameBytes(), stream)
  assert.match(failure!, /output 1 .* from b\/b2, was delivered after 1: a second time/)
})

test('a gap is caught', () => {
  const { stream, a, b } = pair()
  stream.serve(a, b)
  const lost = stream.output(a)
  stream.feed(b, a)
  stream.release(a, lost)
  stream.serve(a, b)
  const [failure] = failuresOf(new SameBytes(), stream)
  assert.match(failure!, /output 3 .* was delivered after 1: with a gap: 2 is missing/)
})

test('a life begins with output 1', () => {
  const { stream, a } = pair()
  stream.deliver(a, { ...stream.output(a), ordinal: 2n })
  assert.equal(failuresOf(new SameBytes(), stream).length, 1)
})

test('a new gateway may be told again what the old one had delivered, but nothing may be left out', () => {
  const { stream, a, b } = pair()
  stream.serve(a, b)
  const output = stream.serve(a, b)
  stream.fault('gateway restart', 'gateway')
  stream.deliver(a, output)
  stream.serve(a, b)
  assert.deepEqual(failuresOf(new SameBytes(), stream), [])

  stream.fault('gateway restart', 'gateway')
  stream.output(a)
  stream.serve(a, b)
  const [failure] = failuresOf(new SameBytes(), stream)
  assert.match(failure!, /output 5 .* was delivered after 3: with a gap: 4 is missing/)
})

test('an older life is not delivered behind a newer one', () => {
  const stream = new Stream()
  const a = stream.coldStart('a')
  const output = stream.output(a)
  stream.crash(a)
  const b = stream.coldStart('a', a.identity.diskGeneration)
  stream.serve(b)
  stream.deliver(a, output)
  const [failure] = failuresOf(new SameBytes(), stream)
  assert.match(failure!, /output 1 of port 1 of life 1 \(a\/a1\) was delivered after life 2 had begun/)
})

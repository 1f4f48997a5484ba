import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Observation } from '../observation.ts'
import { OneLineage } from './one_lineage.ts'
import { failuresOf, goodStory, Stream } from './testing/stream.ts'

function pair() {
  const stream = new Stream()
  const a = stream.coldStart('a')
  const b = stream.join(a, 'b')
  stream.serve(a, b)
  return { stream, a, b }
}

function firstFailure(stream: Stream): string {
  return failuresOf(new OneLineage(), stream)[0] ?? 'nothing'
}

test('a good story has one lineage', () => {
  assert.deepEqual(failuresOf(new OneLineage(), goodStory()), [])
})

test('going live without a record whose output has left is caught', () => {
  const { stream, a, b } = pair()
  stream.release(a, stream.output(a))
  stream.failOver(b)
  assert.match(
    firstFailure(stream),
    /b\/b2 went live in life 1 with record 2, and output 2 .* of a\/a1, which left at \d+ ms, is not in its past: that record came later/,
  )
})

test('going live with another record in its place is caught', () => {
  const { stream, a, b } = pair()
  const output = stream.output(a)
  stream.log(b)
  stream.release(a, output)
  stream.failOver(b)
  assert.match(firstFailure(stream), /not in its past: its own record 2 is \w+, not \w+$/)
})

test('an output of a branch that was left is caught', () => {
  const { stream, a, b } = pair()
  const output = stream.output(a)
  stream.failOver(b)
  stream.log(b)
  const c = stream.join(b, 'c')
  stream.release(a, output)
  stream.failOver(c)
  assert.match(firstFailure(stream), /c\/c3 went live .* not in its past: that record is on another branch/)
})

test('going live before the last record that was acknowledged is caught', () => {
  const { stream, b } = pair()
  stream.acknowledge(b, 9n)
  stream.failOver(b)
  assert.match(
    firstFailure(stream),
    /b\/b2 went live in life 1 with record 2, but it had acknowledged all before 9/,
  )
})

test('going live with records that were not executed, or without a machine, is caught', () => {
  const { stream, b } = pair()
  stream.failOver(b)
  stream.observations.push({ ...stream.observations.pop()!, nextIndex: 3n } as Observation)
  assert.match(firstFailure(stream), /with record 3, but it has executed those before 2/)

  const other = new Stream()
  other.coldStart('a')
  other.goLive(other.start('b'))
  assert.match(firstFailure(other), /b\/b2 went live in life 0 .* has no machine|life 1 has begun/)
})

test('a life that a cold start has replaced is over', () => {
  const { stream, a, b } = pair()
  stream.crash(a)
  const c = stream.start('a', a.identity.diskGeneration)
  stream.decide('cold start', c)
  stream.boot(c, 0n, true)
  stream.goLive(b)
  assert.match(firstFailure(stream), /b\/b2 went live in life 1 with record 2, but life 3 has begun/)
})

test('flushes with different numbers at one record are caught', () => {
  const { stream, a, b } = pair()
  stream.flush(a)
  stream.feed(b, a)
  stream.put({ kind: 'flushed', process: b.process, life: 1, index: 2n, flushes: 2n })
  assert.match(
    firstFailure(stream),
    /b\/b2 reports flush 2 with record 2 of life 1, but a\/a1 reported flush 1/,
  )
})

test('a cold start must find the flushes that the guest had been told of', () => {
  for (const [found, isForced] of [
    [2n, false],
    [1n, false],
    [1n, true],
  ] as const) {
    const { stream, a, b } = pair()
    stream.flush(a)
    stream.feed(b, a)
    stream.failOver(b)
    stream.crash(a)
    stream.flush(b)
    stream.crash(b)
    const c = stream.start('b', b.identity.diskGeneration)
    stream.decide('cold start', c)
    stream.boot(c, found, isForced)
    if (found === 2n || isForced) assert.equal(firstFailure(stream), 'nothing')
    else assert.match(firstFailure(stream), /b\/b3 started life 4 with 1 flushes .* had been told of 2/)
  }
})

test('flushes are due over cold starts whose process died before it booted', () => {
  const { stream, a, b } = pair()
  stream.flush(a)
  stream.crash(b)
  stream.crash(a)
  const c = stream.start('a', a.identity.diskGeneration)
  stream.decide('cold start', c)
  stream.crash(c)
  stream.coldStart('a', a.identity.diskGeneration, 0n)
  assert.match(firstFailure(stream), /started life 4 with 0 flushes .* had been told of 1/)
})

test('a count of flushes that a copy with corrupted memory has made is not judged', () => {
  const { stream, a, b } = pair()
  stream.flush(a)
  stream.fault('RAM corruption', 'a')
  stream.crash(b)
  stream.crash(a)
  stream.coldStart('a', a.identity.diskGeneration, 0n)
  assert.equal(firstFailure(stream), 'nothing')
})

test('a cold start while a member lives is caught, unless it was forced', () => {
  for (const isForced of [false, true]) {
    const { stream, a } = pair()
    stream.crash(a)
    const c = stream.start('a', a.identity.diskGeneration)
    stream.decide('cold start', c)
    stream.boot(c, 0n, isForced)
    if (isForced) assert.equal(firstFailure(stream), 'nothing')
    else
      assert.match(
        firstFailure(stream),
        /configuration 3 .* gave up the memory of configuration 2 .*, but b\/b2 is alive/,
      )
  }
})

test('a member that halted for no lawful reason, or without its cause, excuses no loss', () => {
  const { stream, a, b } = pair()
  stream.halt(b, 'the claim was lost')
  stream.crash(a)
  stream.coldStart('a', a.identity.diskGeneration)
  assert.match(
    firstFailure(stream),
    /b\/b2 has halted at \d+ ms \(the claim was lost\), which is no lawful reason/,
  )

  const other = pair()
  other.stream.halt(other.b, 'memory changed by itself: page 3')
  other.stream.crash(other.a)
  other.stream.coldStart('a', other.a.identity.diskGeneration)
  assert.match(firstFailure(other.stream), /but there has been no RAM corruption/)
  other.stream.observations.unshift({
    kind: 'fault',
    atMs: 0,
    name: 'RAM corruption',
    what: 'b/b2',
    states: [],
  })
  assert.equal(firstFailure(other.stream), 'nothing')
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Configuration } from '../../src/replication/configuration.ts'
import { Epochs } from './epochs.ts'
import { failuresOf, goodStory, Stream } from './testing/stream.ts'

function pair() {
  const stream = new Stream()
  const a = stream.coldStart('a')
  const b = stream.join(a, 'b')
  return { stream, a, b }
}

/** The last decision becomes another one. */
function change(stream: Stream, how: Partial<Configuration>): void {
  const at = stream.observations.findLastIndex(({ kind }) => kind === 'decided')
  const decided = stream.observations[at]!
  if (decided.kind !== 'decided') return
  stream.observations[at] = { ...decided, configuration: { ...decided.configuration, ...how } }
}

function firstFailure(stream: Stream): string {
  return failuresOf(new Epochs(), stream)[0] ?? 'nothing'
}

test('the epochs of a good story are in order', () => {
  assert.deepEqual(failuresOf(new Epochs(), goodStory()), [])
})

test('an epoch that does not follow, and a life that changes, are caught', () => {
  const { stream, b } = pair()
  stream.decide('go live', b)
  change(stream, { epoch: 4 })
  assert.match(
    firstFailure(stream),
    /configuration 4 \(go live: .*\) was decided after configuration 2 .*: it should have epoch 3/,
  )
  change(stream, { epoch: 3, life: 3 })
  assert.match(firstFailure(stream), /it changes the life from 1 to 3/)
})

test('a change that its table does not have is caught', () => {
  const { stream, a, b } = pair()
  const c = stream.start('c')
  stream.decide('go live', c)
  assert.match(firstFailure(stream), /the new primary was not the backup/)
  change(stream, { change: 'drop' })
  assert.match(firstFailure(stream), /it changes the primary/)
  change(stream, { change: 'add', primary: a.identity, backup: c.identity })
  assert.match(firstFailure(stream), /there was a backup already/)
  change(stream, { change: 'hand over', primary: b.identity, backup: a.identity })
  assert.match(firstFailure(stream), /whoever takes over is alone/)
  change(stream, { change: 'stop', primary: a.identity, backup: undefined })
  assert.match(firstFailure(stream), /a change 'stop' leaves it running/)
})

test('nothing but a cold start follows a stop', () => {
  const { stream, a, b } = pair()
  stream.decide('stop', a)
  stream.decide('add', a, b)
  assert.match(firstFailure(stream), /the machine was stopped/)
})

test('a cold start from a disk that is not recorded is caught; from the backup’s it needs force', () => {
  for (const isForced of [false, true]) {
    const { stream, a, b } = pair()
    stream.crash(a)
    stream.crash(b)
    const c = stream.start('b', b.identity.diskGeneration)
    stream.decide('cold start', c)
    stream.boot(c, 0n, isForced)
    if (isForced) assert.equal(firstFailure(stream), 'nothing')
    else assert.match(firstFailure(stream), /started from the disk of the backup, and nobody had forced it/)
  }
  const { stream } = pair()
  stream.coldStart('a', 'an-older-disk')
  assert.match(firstFailure(stream), /disk an-older-disk at a is not one that was recorded/)
})

test('a process that was a member before neither starts cold nor is added again', () => {
  const { stream, a, b } = pair()
  stream.decide('drop', a)
  stream.decide('add', a, b)
  assert.match(firstFailure(stream), /b\/b2 has been a member before/)

  const other = pair()
  other.stream.decide('cold start', other.a)
  assert.match(firstFailure(other.stream), /a\/a1 has been a member before/)
})

test('an incarnation that comes back is caught', () => {
  const { stream, a } = pair()
  stream.put({ kind: 'started', process: a.process })
  assert.match(firstFailure(stream), /a\/a1 starts, but there has been a process of this incarnation/)
})

test('going live without a decision is caught', () => {
  const { stream, b } = pair()
  stream.goLive(b)
  assert.match(
    firstFailure(stream),
    /b\/b2 went live in life 1 without a decision: the latest is configuration 2/,
  )
})

test('releases under an epoch that does not name the process as primary are caught, once', () => {
  const { stream, a, b } = pair()
  const output = stream.output(a)
  stream.feed(b, a)
  stream.release(b, output, 2)
  stream.release(b, output, 2)
  const failures = failuresOf(new Epochs(), stream)
  assert.equal(failures.length, 1)
  assert.match(
    failures[0]!,
    /b\/b2 releases in life 1 under epoch 2, of which the decision is configuration 2/,
  )
})

test('protected is said only by the two whom a decision names', () => {
  const { stream, a, b } = pair()
  stream.protect(a)
  assert.equal(firstFailure(stream), 'nothing')
  stream.protect(b)
  assert.match(
    firstFailure(stream),
    /b\/b2, primary, says that the machine is protected, but .* configuration 2/,
  )
  const other = pair()
  other.stream.decide('drop', other.a)
  other.stream.protect(other.a)
  assert.match(firstFailure(other.stream), /a\/a1, primary, says .* is configuration 3 \(drop: a\/a1 alone\)/)
})

test('acknowledgements are for backups, and for copies on their way to it', () => {
  const { stream, a, b } = pair()
  stream.failOver(b)
  stream.acknowledge(b, 1n, 2)
  assert.match(firstFailure(stream), /b\/b2 acknowledges under epoch 2, though it is a primary/)

  const dropped = pair()
  dropped.stream.decide('drop', dropped.a)
  dropped.stream.acknowledge(dropped.b, 1n, 3)
  assert.match(firstFailure(dropped.stream), /b\/b2 acknowledges under epoch 3, of which the decision is/)
  assert.equal(a.process.host, 'a')
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EXCUSES, Liveness } from './liveness.ts'
import { failuresOf, type Member, Stream } from './testing/stream.ts'

const BOUNDS = { serviceMs: 100, protectionMs: 200, port: undefined }

function pair() {
  const stream = new Stream()
  const a = stream.coldStart('a')
  const b = stream.join(a, 'b')
  stream.serve(a, b)
  return { stream, a, b }
}

/** Lets the run come to its end, with or without service and protection after the healing. */
function heal(stream: Stream, { served, guarded }: { served?: Member; guarded?: Member } = {}): Stream {
  stream.put({ kind: 'healed' })
  for (let round = 0; round < 6; round++) {
    stream.wait(50)
    if (served !== undefined) stream.serve(served)
    if (guarded !== undefined) stream.protect(guarded)
  }
  stream.put({ kind: 'ended' })
  return stream
}

test('service and protection that come back are enough', () => {
  const { stream, a } = pair()
  assert.deepEqual(failuresOf(new Liveness(BOUNDS), heal(stream, { served: a, guarded: a })), [])
})

test('an outage without an excuse is caught', () => {
  const { stream, a } = pair()
  const [failure, ...others] = failuresOf(new Liveness(BOUNDS), heal(stream, { guarded: a }))
  assert.match(failure!, /no service within 100 ms of the healing at \d+ ms: no output reached the clients/)
  assert.match(failure!, /the arbiter holds configuration 2 .*; a\/a1 is primary protected/)
  assert.deepEqual(others, [])
})

test('service that ends again is caught', () => {
  const { stream, a } = pair()
  stream.put({ kind: 'healed' })
  stream.serve(a)
  stream.protect(a)
  stream.wait(250)
  stream.put({ kind: 'ended' })
  const [failure] = failuresOf(new Liveness(BOUNDS), stream)
  assert.match(failure!, /no service within 100 ms .* outputs reached the clients from \d+ to \d+ ms/)
})

test('a machine that stays unprotected, or whose protected primary has died, is caught', () => {
  const { stream, a } = pair()
  const [failure] = failuresOf(new Liveness(BOUNDS), heal(stream, { served: a }))
  assert.match(failure!, /no protection within 200 ms .* the recorded primary is not protected/)

  const other = pair()
  other.stream.protect(other.a)
  other.stream.crash(other.a)
  const failures = failuresOf(new Liveness(BOUNDS), heal(other.stream, { served: other.b }))
  assert.match(failures[0]!, /no protection/)
})

test('nothing is judged of a run that was not healed', () => {
  const { stream } = pair()
  stream.put({ kind: 'ended' })
  assert.deepEqual(failuresOf(new Liveness(BOUNDS), stream), [])
})

test('a loss excuses an outage only if it was put in', () => {
  const stories: readonly [string, (cluster: ReturnType<typeof pair>) => void, readonly [string, string]][] =
    [
      [EXCUSES[0]!.name, ({ stream, a }) => stream.decide('stop', a), ['operator stop', 'a']],
      [
        EXCUSES[1]!.name,
        ({ stream, a, b }) => {
          stream.crash(a)
          stream.crash(b)
        },
        ['disk destroyed', 'a'],
      ],
      [
        EXCUSES[3]!.name,
        ({ stream, a, b }) => {
          stream.crash(a)
          stream.crash(b)
        },
        ['host gone', 'b'],
      ],
      [EXCUSES[4]!.name, () => {}, ['arbiter rollback', 'arbiter']],
    ]
  for (const [name, happen, [fault, what]] of stories) {
    const bare = pair()
    happen(bare)
    assert.equal(failuresOf(new Liveness(BOUNDS), heal(bare.stream)).length, 2, name)
    const excused = pair()
    excused.stream.fault(fault, what)
    happen(excused)
    const checker = new Liveness(BOUNDS)
    assert.deepEqual(failuresOf(checker, heal(excused.stream)), [], name)
    assert.deepEqual(checker.excuses, [`no service: ${name}`, `no protection: ${name}`])
  }
})

test('a host that is gone excuses the lack of protection, not the lack of service', () => {
  const { stream, a, b } = pair()
  stream.fault('host gone', 'b')
  stream.crash(b)
  stream.decide('drop', a)
  const failures = failuresOf(new Liveness(BOUNDS), heal(stream))
  assert.equal(failures.length, 1)
  assert.match(failures[0]!, /no service/)
})

test('a machine that never was is excused only if the disk or the host it was to come from was lost', () => {
  const story = (fault: 'disk destroyed' | undefined) => {
    const stream = new Stream()
    stream.start('a')
    if (fault !== undefined) stream.fault(fault, 'a')
    return failuresOf(new Liveness(BOUNDS), heal(stream)).length
  }
  assert.equal(story(undefined), 2)
  assert.equal(story('disk destroyed'), 0)
})

/** Copies that follow, as the primary sees them: joining, coming back, being lost. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { A, ALONE, ack, alone, B, joining, PAIR, pair } from './testing/primary.ts'
import { appended, configuration, frontier, identity, output, quiet } from './testing/subject.ts'

test('a copy joins: state, log, digest while outputs wait, change, and only then is it the backup', () => {
  const subject = alone()
  subject.step(appended(0, 10, [output(9)]))
  assert.deepEqual(subject.accept(2, B), ['send 2 hello'])
  const join = { kind: 'join', member: B, baseGeneration: undefined, resume: undefined } as const
  assert.deepEqual(subject.receive(2, join), ['snapshot'])
  const taken = subject.step({ kind: 'snapshotTaken', join: 1, frontier: frontier(10) })
  assert.deepEqual(taken, [
    ...Array.from({ length: 8 }, (_, i) => `readChunk ${i}`),
    'send 2 pendingOutput 1:9',
    'send 2 joinStart 1 at 10',
  ])
  assert.deepEqual(
    subject.step({ kind: 'chunkRead', join: 1, number: 0, isLast: true, bytes: new Uint8Array(1) }),
    ['send 2 chunk 0 last'],
  )
  assert.deepEqual(subject.step(appended(10, 1, [output(10)])), ['send 2 batch', 'release 1:10'])
  subject.receive(2, { kind: 'chunkAck', join: 1, next: 1 })
  assert.deepEqual(subject.receive(2, { kind: 'installed', join: 1 }), ['dropSnapshot'])
  ack(subject, 11, 11, 1)
  assert.deepEqual(quiet(subject.wait(50)), ['append digest'])
  assert.deepEqual(subject.step(appended(11, 2, [output(12)], 11)), ['send 2 batch'], 'the output waits')
  assert.deepEqual(ack(subject, 13, 11, 1), ['release 1:12'], 'acknowledged')
  assert.deepEqual(ack(subject, 13, 13, 1), ['read'])
  assert.deepEqual(subject.answer(ALONE), ['propose 2 add a1/b1 life 1'])
  assert.deepEqual(subject.step(appended(13, 1, [output(13)])), ['send 2 batch'])
  assert.deepEqual(ack(subject, 14, 14, 1), [], 'shut while the change is undecided')
  assert.deepEqual(subject.member.protection(), { state: 'not protected', reason: 'backup joining' })
  assert.deepEqual(subject.answer(PAIR), ['send 2 configured 2 !', 'release 1:13'])
  assert.deepEqual(subject.member.protection(), { state: 'protected' })
})

test('chunks are read at most a window ahead of what has been acknowledged', () => {
  const subject = alone()
  subject.step(appended(0, 10))
  subject.accept(2, B)
  subject.receive(2, { kind: 'join', member: B, baseGeneration: undefined, resume: undefined })
  subject.step({ kind: 'snapshotTaken', join: 1, frontier: frontier(10) })
  assert.deepEqual(subject.receive(2, { kind: 'chunkAck', join: 1, next: 3 }), [
    'readChunk 8',
    'readChunk 9',
    'readChunk 10',
  ])
  assert.deepEqual(subject.receive(2, { kind: 'chunkAck', join: 1, next: 99 }), [])
})

test('a join whose channel broke goes on at the chunk and the record that are next', () => {
  const subject = alone()
  subject.step(appended(0, 10))
  subject.accept(2, B)
  subject.receive(2, { kind: 'join', member: B, baseGeneration: undefined, resume: undefined })
  subject.step({ kind: 'snapshotTaken', join: 1, frontier: frontier(10) })
  subject.receive(2, { kind: 'chunkAck', join: 1, next: 2 })
  subject.step({ kind: 'closed', channel: 2, isRefused: false })
  assert.deepEqual(subject.step(appended(10, 3)), [])
  assert.deepEqual(subject.step(appended(13, 2)), [])
  subject.accept(4, B)
  const resume = { join: 1, nextChunk: 3, nextIndex: 13n }
  const again = subject.receive(4, { kind: 'join', member: B, baseGeneration: undefined, resume })
  assert.deepEqual(again, [
    'send 4 joinStart 1 at 10',
    ...Array.from({ length: 8 }, (_, i) => `readChunk ${3 + i}`),
    'send 4 batch',
  ])
})

test('a second copy is refused while one joins', () => {
  const subject = joining()
  subject.accept(4, identity('c'))
  const join = { kind: 'join', member: identity('c'), baseGeneration: undefined, resume: undefined } as const
  assert.deepEqual(subject.receive(4, join), ['send 4 refused', 'close 4'])
})

test('who joins under another name than it said hello with is refused', () => {
  const subject = alone()
  subject.accept(2, B)
  const join = { kind: 'join', member: identity('c'), baseGeneration: undefined, resume: undefined } as const
  assert.deepEqual(subject.receive(2, join), ['send 2 refused', 'close 2'])
})

test('a backup that asks to join under another name is refused, and is no assertion of ours', () => {
  const subject = pair()
  const join = { kind: 'join', member: identity('c'), baseGeneration: undefined, resume: undefined } as const
  assert.deepEqual(subject.receive(2, join), ['send 2 refused', 'close 2'])
  assert.deepEqual(subject.step(appended(12, 1)), [], 'over which nothing goes any more')
})

test('a channel that the primary has closed is forgotten, whatever still comes over it', () => {
  const subject = joining()
  const C = identity('c')
  const join = { kind: 'join', member: C, baseGeneration: undefined, resume: undefined } as const
  subject.accept(4, C)
  assert.deepEqual(subject.receive(4, join), ['send 4 refused', 'close 4'])
  assert.deepEqual(subject.receive(4, join), [])
})

test('a join that goes on at a chunk that was never sent, or was acknowledged, is given up', () => {
  for (const nextChunk of [1, 11, 0xffff_ffff]) {
    const subject = alone()
    subject.step(appended(0, 10))
    subject.accept(2, B)
    subject.receive(2, { kind: 'join', member: B, baseGeneration: undefined, resume: undefined })
    subject.step({ kind: 'snapshotTaken', join: 1, frontier: frontier(10) })
    subject.receive(2, { kind: 'chunkAck', join: 1, next: 2 })
    subject.step({ kind: 'closed', channel: 2, isRefused: false })
    subject.accept(4, B)
    const resume = { join: 1, nextChunk, nextIndex: 10n }
    const lines = subject.receive(4, { kind: 'join', member: B, baseGeneration: undefined, resume })
    assert.deepEqual(lines, ['send 4 joinStart 1 at 10', 'send 4 refused', 'close 4', 'dropSnapshot'])
  }
})

test('a backup whose process was replaced is dropped at once, and the new process waits', () => {
  const subject = pair()
  const other = identity('b', 'b2')
  subject.accept(4, other)
  const join = { kind: 'join', member: other, baseGeneration: undefined, resume: undefined } as const
  assert.deepEqual(subject.receive(4, join), [
    'close 2',
    'propose 3 drop a1/- life 1',
    'send 4 refused',
    'close 4',
  ])
})

test('a copy that is lost while its addition is undecided is dropped once the addition has landed', () => {
  const subject = joining()
  subject.wait(50)
  subject.step(appended(10, 2, [], 11))
  ack(subject, 12, 12, 1)
  subject.answer(ALONE)
  subject.step(appended(12, 1, [output(12)]))
  subject.wait(600)
  assert.deepEqual(subject.answer(PAIR), ['propose 3 drop a1/- life 1'])
  assert.deepEqual(subject.answer(configuration(3, A)), ['release 1:12'])
})

test('a copy that is lost while it only joins is forgotten, and outputs need not wait for it', () => {
  const subject = joining()
  subject.wait(50)
  assert.deepEqual(subject.step(appended(10, 2, [output(11)], 10)), ['send 2 batch'])
  const lines = quiet(subject.wait(600))
  assert.ok(lines.includes('release 1:11'), lines.join('; '))
  assert.equal(lines.filter((text) => text.startsWith('propose')).length, 0)
})

test('a backup that reconnects gets the records from where it is', () => {
  const subject = pair()
  subject.step({ kind: 'closed', channel: 2, isRefused: false })
  assert.deepEqual(subject.step(appended(12, 2)), [])
  assert.deepEqual(subject.step(appended(14, 1)), [])
  subject.accept(4, B)
  assert.deepEqual(subject.receive(4, { kind: 'follow', epoch: 2, nextIndex: 14n }), [
    'send 4 batch',
    'send 4 configured 2 !',
  ])
})

test('a guest that powers off does not wait for a copy that joins', () => {
  const subject = joining()
  subject.wait(50)
  subject.step(appended(10, 1, [output(10)]))
  assert.deepEqual(subject.step({ kind: 'poweredOff' }), ['close 2', 'release 1:10'])
})

test('a backup that never acknowledges as such is dropped: it cannot reach the arbiter', () => {
  const subject = joining()
  subject.wait(50)
  subject.step(appended(10, 2, [], 11))
  ack(subject, 12, 12, 1)
  subject.answer(ALONE)
  subject.answer(PAIR)
  const lines: string[] = []
  for (let i = 0; i < 100; i++) {
    ack(subject, 12, 12, 1)
    lines.push(...subject.wait(50))
  }
  assert.ok(lines.includes('propose 3 drop a1/- life 1'))
})

test('an arbiter that is away does not shut the gate of a machine that runs alone', () => {
  const subject = joining()
  subject.wait(50)
  subject.step(appended(10, 2, [], 11))
  assert.deepEqual(ack(subject, 12, 12, 1), ['read'])
  subject.answer('unreachable')
  const lines: string[] = []
  for (let i = 0, next = 12; i < 110; i++, next++) {
    lines.push(...subject.step(appended(next, 1, [output(next)])))
    lines.push(...ack(subject, next + 1, next + 1, 1), ...subject.wait(50))
  }
  assert.equal(lines.filter((text) => text.startsWith('propose')).length, 0)
  assert.ok(lines.includes('release 1:12'), 'acknowledged')
  assert.ok(lines.includes('close 2'), 'outputs do not wait for it for ever')
  assert.ok(lines.includes('release 1:121'), 'they leave without it')
  subject.accept(4, B)
  const join = { kind: 'join', member: B, baseGeneration: undefined, resume: undefined } as const
  assert.deepEqual(subject.receive(4, join), ['send 4 refused', 'close 4'], 'not again at once')
})

test('a copy that catches up may take its time while it gets nearer, and is given up when it does not', () => {
  const subject = joining({}, 100)
  /** Twenty looks of 50 ms in which the copy has executed up to there, and beats. */
  const second = (executed: number): string[] =>
    Array.from({ length: 20 }, () => {
      subject.receive(2, { kind: 'heartbeat', state: 'idle', position: BigInt(executed) })
      return [...ack(subject, 110, executed, 1), ...quiet(subject.wait(50))]
    }).flat()
  const nearer = Array.from({ length: 95 }, (_, i) => second(11 + i)).flat()
  assert.ok(!nearer.includes('close 2'))
  const still = Array.from({ length: 28 }, () => second(105)).flat()
  assert.ok(!still.includes('close 2'))
  assert.ok([...second(105), ...second(105), ...second(105)].includes('close 2'))
})

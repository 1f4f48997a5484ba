import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { MemberOptions } from './ports.ts'
import { DEFAULT_SETTINGS } from './settings.ts'
import { appended, configuration, frontier, identity, output, quiet, Subject } from './testing/subject.ts'

const A = identity('a')
const B = identity('b')
const ALONE = configuration(1, A, undefined, { change: 'cold start' })
const PAIR = configuration(2, A, B, { change: 'add' })

/** A primary that has created its machine; its link is up. */
function alone(options: Partial<MemberOptions> = {}): Subject {
  const subject = new Subject('a', { mayCreate: true, ...options })
  subject.wait(50)
  subject.answer(undefined)
  subject.answer(ALONE)
  subject.step({ kind: 'linkUp', left: [] })
  return subject
}

/** The copy at b asks to join over channel 2, and gets as far as having the state and the log to record 10. */
function joining(options: Partial<MemberOptions> = {}): Subject {
  const subject = alone(options)
  subject.step(appended(0, 10))
  subject.accept(2, B)
  subject.receive(2, { kind: 'join', member: B, baseGeneration: undefined, resume: undefined })
  subject.step({ kind: 'snapshotTaken', join: 1, frontier: frontier(10) })
  subject.step({ kind: 'chunkRead', join: 1, number: 0, isLast: true, bytes: new Uint8Array(3) })
  subject.receive(2, { kind: 'chunkAck', join: 1, next: 1 })
  subject.receive(2, { kind: 'installed', join: 1 })
  return subject
}

function ack(
  subject: Subject,
  received: number,
  executed = received,
  epoch = 2,
  incarnation = 'b1',
): string[] {
  return subject.receive(2, {
    kind: 'ack',
    epoch,
    incarnation,
    received: BigInt(received),
    executed: BigInt(executed),
  })
}

/** The pair {a, b}: records to 12 are logged, acknowledged and executed. */
function pair(options: Partial<MemberOptions> = {}): Subject {
  const subject = joining(options)
  subject.wait(50)
  subject.step(appended(10, 2, [], 11))
  ack(subject, 12, 12, 1)
  subject.answer(PAIR)
  ack(subject, 12)
  return subject
}

test('a new machine is proposed, booted and attached, in this order', () => {
  const subject = new Subject('a', { mayCreate: true })
  assert.deepEqual(subject.wait(250), ['read', 'read'])
  assert.deepEqual(subject.answer(undefined), ['propose 1 cold start a1/- life 1'])
  assert.deepEqual(subject.answer(ALONE), ['boot life 1', 'attach epoch 1 life 1'])
  assert.deepEqual(subject.member.protection(), { state: 'not protected', reason: 'need backup' })
})

test('alone, outputs leave at once, but not before the link is up', () => {
  const subject = new Subject('a', { mayCreate: true })
  subject.wait(50)
  subject.answer(undefined)
  subject.answer(ALONE)
  assert.deepEqual(subject.step(appended(0, 2, [output(1)])), [])
  assert.deepEqual(subject.step({ kind: 'linkUp', left: [] }), ['release 1:1'])
  assert.deepEqual(subject.step(appended(2, 1, [output(2)])), ['release 1:2'])
})

test('a link that comes back gets what the other end has not had', () => {
  const subject = alone()
  subject.step(appended(0, 4, [output(1), output(2), output(3)]))
  assert.deepEqual(subject.step({ kind: 'linkUp', left: [{ port: 1, ordinal: 1n }] }), ['release 1:2 1:3'])
  subject.step({ kind: 'left', port: 1, ordinal: 3n })
  assert.deepEqual(subject.step({ kind: 'linkUp', left: [{ port: 1, ordinal: 1n }] }), [])
})

test('a copy joins: state, log, digest while outputs wait, change, and only then is it the backup', () => {
  const subject = alone()
  subject.step(appended(0, 10, [output(9)]))
  assert.deepEqual(subject.accept(2, B), ['send 2 hello'])
  const join = { kind: 'join', member: B, baseGeneration: undefined, resume: undefined } as const
  assert.deepEqual(subject.receive(2, join), ['snapshot'])
  const taken = subject.step({ kind: 'snapshotTaken', join: 1, frontier: frontier(10) })
  assert.deepEqual(taken, [
    ...Array.from({ length: 8 }, (_, i) => `readChunk ${i}`),
    'send 2 joinStart 1 at 10',
    'send 2 pendingOutput 1:9',
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
  assert.deepEqual(ack(subject, 13, 13, 1), ['propose 2 add a1/b1 life 1'])
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

test('a join whose channel broke before the first chunk gets the pending outputs of its state again', () => {
  const subject = alone()
  subject.step(appended(0, 10, [output(8), output(9)]))
  subject.accept(2, B)
  subject.receive(2, { kind: 'join', member: B, baseGeneration: undefined, resume: undefined })
  subject.step({ kind: 'snapshotTaken', join: 1, frontier: frontier(10) })
  subject.step({ kind: 'closed', channel: 2, isRefused: false })
  subject.step(appended(10, 1, [output(10)]))
  subject.accept(4, B)
  const resume = { join: 1, nextChunk: 0, nextIndex: 10n }
  const again = subject.receive(4, { kind: 'join', member: B, baseGeneration: undefined, resume })
  assert.deepEqual(
    again.filter((line) => line.startsWith('send')),
    ['send 4 joinStart 1 at 10', 'send 4 pendingOutput 1:8', 'send 4 pendingOutput 1:9', 'send 4 batch'],
  )
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

test('an output waits for the acknowledgement of its own record', () => {
  const subject = pair()
  assert.deepEqual(subject.step(appended(12, 3, [output(13), output(14)])), ['send 2 batch'])
  assert.deepEqual(ack(subject, 13), [])
  assert.deepEqual(ack(subject, 14), ['release 1:13'])
  assert.deepEqual(ack(subject, 15), ['release 1:14'])
})

test('with ack: executed an output waits until the backup has executed its record', () => {
  const subject = pair({ settings: { ...DEFAULT_SETTINGS, ack: 'executed' } })
  subject.step(appended(12, 1, [output(12)]))
  assert.deepEqual(ack(subject, 13, 12), [])
  assert.deepEqual(ack(subject, 13, 13), ['release 1:12'])
})

test('an acknowledgement of another configuration or incarnation counts for nothing', () => {
  const subject = pair()
  subject.step(appended(12, 1, [output(12)]))
  assert.deepEqual(ack(subject, 13, 13, 1), [])
  assert.deepEqual(ack(subject, 13, 13, 2, 'b0'), [])
  assert.deepEqual(ack(subject, 13), ['release 1:12'])
})

test('a backup that acknowledges what was never sent is given up', () => {
  const subject = pair()
  assert.deepEqual(ack(subject, 99), ['close 2', 'propose 3 drop a1/- life 1'])
})

test('a silent backup is dropped by a change, and nothing leaves before that is won', () => {
  const subject = pair()
  subject.step(appended(12, 1, [output(12)]))
  const lines = quiet(subject.wait(600))
  assert.ok(lines.includes('propose 3 drop a1/- life 1'), lines.join('; '))
  assert.deepEqual(ack(subject, 13), [], 'too late: the follower is gone')
  assert.deepEqual(subject.answer('unreachable'), [])
  assert.deepEqual(subject.member.protection(), { state: 'not protected', reason: 'arbiter unreachable' })
  assert.deepEqual(quiet(subject.wait(200)), ['propose 3 drop a1/- life 1'], 'the identical proposal again')
  assert.deepEqual(subject.answer(PAIR), [], 'undecided: it may still land')
  subject.wait(200)
  assert.deepEqual(subject.answer(configuration(3, A)), ['release 1:12'])
  assert.deepEqual(subject.member.protection(), { state: 'not protected', reason: 'backup lost' })
})

test('a primary whose drop is lost halts, and what it held stays', () => {
  const subject = pair()
  subject.step(appended(12, 1, [output(12)]))
  subject.wait(600)
  assert.deepEqual(subject.answer(configuration(3, B, undefined, { change: 'go live' })), [
    'halt: deposed: configuration 3 (go live)',
  ])
  assert.deepEqual(subject.step({ kind: 'tick', nowMs: 99_999 }), [])
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

test('a primary that paused shuts its gate until the arbiter has said that nothing has changed', () => {
  const subject = pair()
  subject.step(appended(12, 2, [output(12), output(13)]))
  subject.nowMs += 400
  assert.ok(subject.step({ kind: 'tick', nowMs: subject.nowMs }).includes('read'))
  assert.deepEqual(ack(subject, 14), [])
  assert.deepEqual(subject.member.protection(), { state: 'not protected', reason: 'paused' })
  assert.deepEqual(subject.answer(PAIR), ['release 1:12 1:13'])
})

test('a primary that finds itself replaced after a pause halts without releasing', () => {
  const subject = pair()
  subject.step(appended(12, 1, [output(12)]))
  subject.nowMs += 5000
  subject.step({ kind: 'tick', nowMs: subject.nowMs })
  ack(subject, 13)
  assert.deepEqual(subject.answer(configuration(3, B, undefined, { change: 'go live' })), [
    'halt: deposed: configuration 3 (go live)',
  ])
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

test('handing over: the machine stops, the backup executes to there, the change names it', () => {
  const subject = pair()
  assert.deepEqual(subject.step({ kind: 'operator', command: 'failOver' }), ['stopExecution'])
  subject.step(appended(12, 1))
  assert.deepEqual(subject.step({ kind: 'stopped' }), [])
  assert.deepEqual(ack(subject, 13, 12), [])
  assert.deepEqual(ack(subject, 13, 13), ['propose 3 hand over b1/- life 1'])
  assert.deepEqual(subject.answer(configuration(3, B, undefined, { change: 'hand over' })), [
    'send 2 configured 3 !',
    'halt: handed over',
  ])
})

test('a hand-over whose backup is lost does not take place, and the machine goes on', () => {
  const subject = pair()
  subject.step({ kind: 'operator', command: 'failOver' })
  subject.step(appended(12, 1))
  subject.step({ kind: 'stopped' })
  const lines = quiet(subject.wait(600))
  assert.deepEqual(lines.slice(0, 3), ['close 2', 'execution 1 taken', 'propose 3 drop a1/- life 1'])
  subject.answer(configuration(3, A))
  assert.deepEqual(subject.member.protection(), { state: 'not protected', reason: 'backup lost' })
})

test('stopping waits until every output has left', () => {
  const subject = pair()
  assert.deepEqual(subject.step({ kind: 'operator', command: 'stop' }), ['stopExecution'])
  subject.step(appended(12, 1, [output(12)]))
  subject.step({ kind: 'stopped' })
  assert.deepEqual(ack(subject, 13), ['release 1:12'])
  subject.step({ kind: 'left', port: 1, ordinal: 12n })
  assert.deepEqual(quiet(subject.wait(50)), ['propose 3 stop a1/- life 1'])
  const stopped = configuration(3, A, undefined, { change: 'stop', phase: 'stopped' })
  assert.deepEqual(subject.answer(stopped), ['send 2 configured 3 !', 'halt: stopped'])
})

test('a guest that powers off ends the machine in order', () => {
  const subject = alone()
  subject.step(appended(0, 1))
  assert.deepEqual(subject.step({ kind: 'poweredOff' }), ['propose 2 stop a1/- life 1'])
})

test('a disk that fails hands over while protected, else the guest hears of it and a join ends', () => {
  assert.deepEqual(pair().step({ kind: 'diskFailed', reason: 'EIO' }), ['stopExecution'])
  assert.deepEqual(joining().step({ kind: 'diskFailed', reason: 'EIO' }), ['close 2', 'failRequests'])
})

test('the guest hears of a failed disk once nobody is left to hand over to', () => {
  const subject = pair()
  subject.step({ kind: 'diskFailed', reason: 'EIO' })
  assert.ok(subject.wait(600).includes('propose 3 drop a1/- life 1'))
  assert.ok(subject.answer(configuration(3, A, undefined, { change: 'drop' })).includes('failRequests'))
})

test('a primary whose memory changed by itself yields and ends', () => {
  assert.deepEqual(pair().step({ kind: 'convicted', report: 'page 7' }), [
    'send 2 yield !',
    'halt: memory changed by itself: page 7',
  ])
})

test('after a divergence that convicts nobody the primary goes on, or stops, as it is set', () => {
  const report = { kind: 'diverged', report: 'x10 differs' } as const
  assert.deepEqual(pair().receive(2, report), ['close 2', 'propose 3 drop a1/- life 1'])
  const stopping = pair({ settings: { ...DEFAULT_SETTINGS, onDivergence: 'stop' } })
  assert.deepEqual(stopping.receive(2, report), ['propose 3 stop a1/- life 1'])
})

test('a backup that falls behind slows the primary, and is dropped in the end', () => {
  const subject = pair({ settings: { ...DEFAULT_SETTINGS, slowBackupMs: 2000 } })
  subject.step(appended(12, 1))
  const paces: number[] = []
  let isDropped = false
  for (let i = 0; i < 80 && !isDropped; i++) {
    ack(subject, 13, 12)
    for (const text of subject.wait(50)) {
      if (text.startsWith('execution') && !isDropped) paces.push(Number(text.split(' ')[1]))
      if (text.startsWith('propose 3 drop')) isDropped = true
    }
  }
  assert.ok(isDropped)
  assert.equal(paces[0], 15 / 16, 'gently at first')
  assert.equal(paces.at(-1), 1 / 16)
  assert.deepEqual(
    paces,
    paces.toSorted((a, b) => b - a),
  )
})

test('what waits to leave holds inputs at the bound, and execution at twice the bound', () => {
  const subject = pair({ settings: { ...DEFAULT_SETTINGS, boundBytes: 1000 } })
  const big = (ordinal: number) => ({ ...output(ordinal), bytes: new Uint8Array(900) })
  subject.step(appended(12, 2, [big(12), big(13)]))
  assert.deepEqual(quiet(subject.wait(50)), ['execution 1 held'])
  subject.step(appended(14, 1, [big(14)]))
  assert.deepEqual(quiet(subject.wait(50)), ['execution 0 held'])
  ack(subject, 15)
  for (const ordinal of [12n, 13n, 14n]) subject.step({ kind: 'left', port: 1, ordinal })
  assert.ok(quiet(subject.wait(50)).includes('execution 1 taken'))
})

test('what has left is logged as released, once and not at once', () => {
  const subject = pair()
  subject.step(appended(12, 1, [output(12)]))
  ack(subject, 13)
  assert.deepEqual(subject.step({ kind: 'left', port: 1, ordinal: 12n }), [])
  assert.deepEqual(quiet(subject.wait(50)), ['append released'])
  assert.deepEqual(quiet(subject.wait(100)), [])
})

test('a link that comes up while a change is undecided gets everything once it is decided', () => {
  const subject = pair()
  subject.step(appended(12, 2, [output(12), output(13)]))
  ack(subject, 13)
  subject.wait(600)
  assert.deepEqual(subject.step({ kind: 'linkUp', left: [] }), [])
  assert.deepEqual(subject.answer(configuration(3, A)), ['release 1:12 1:13'])
})

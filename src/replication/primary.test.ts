import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DEFAULT_SETTINGS } from './settings.ts'
import { A, ALONE, ack, alone, B, joining, PAIR, pair } from './testing/primary.ts'
import { appended, configuration, frontier, holding, output, quiet, Subject } from './testing/subject.ts'

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
  assert.deepEqual(subject.member.protection(), {
    ...{ state: 'not protected', reason: 'backup lost' },
    detail: 'the copy at b was lost: silent for 500 ms',
  })
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

test('a primary that paused shuts its gate until the arbiter has said that nothing has changed', () => {
  const subject = pair()
  subject.step(appended(12, 2, [output(12), output(13)]))
  subject.nowMs += 400
  assert.ok(subject.step({ kind: 'tick', nowMs: subject.nowMs }).includes('read'))
  assert.deepEqual(ack(subject, 14), [])
  assert.deepEqual(subject.member.protection(), { state: 'not protected', reason: 'paused' })
  assert.deepEqual(subject.answer(PAIR), ['release 1:12 1:13'])
})

test('an answer from before the pause does not open the gate', () => {
  const subject = pair()
  subject.nowMs += 400
  assert.ok(subject.step({ kind: 'tick', nowMs: subject.nowMs }).includes('read'), 'question 4')
  ack(subject, 12)
  subject.step(appended(12, 1, [output(12)]))
  subject.nowMs += 5000
  assert.ok(subject.step({ kind: 'tick', nowMs: subject.nowMs }).includes('read'), 'asked anew')
  ack(subject, 13)
  assert.deepEqual(subject.step({ kind: 'answer', request: 4, answer: holding(PAIR) }), [])
  assert.deepEqual(subject.answer(PAIR), ['release 1:12'])
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
  assert.deepEqual(subject.member.protection(), {
    ...{ state: 'not protected', reason: 'backup lost' },
    detail: 'the copy at b was lost: silent for 500 ms',
  })
})

test('a stop that is answered after the hand-over was given up stops nothing', () => {
  const subject = pair()
  subject.step({ kind: 'operator', command: 'failOver' })
  ack(subject, 99)
  subject.answer(configuration(3, A))
  subject.step({ kind: 'stopped' })
  const big = { ...output(12), bytes: new Uint8Array(DEFAULT_SETTINGS.boundBytes + 1) }
  subject.step({ kind: 'linkUp', left: [] })
  subject.step(appended(12, 1, [big]))
  assert.deepEqual(subject.wait(50), ['execution 1 held'], 'the machine runs, so its pace is looked after')
  assert.deepEqual(subject.step({ kind: 'operator', command: 'stop' }), ['stopExecution'])
  subject.step({ kind: 'left', port: 1, ordinal: 12n })
  assert.deepEqual(subject.wait(50), [], 'no answer to this stop yet')
  assert.deepEqual(subject.step({ kind: 'stopped' }), ['propose 4 stop a1/- life 1'])
})

test('stopping waits until every output has left', () => {
  const subject = pair()
  assert.deepEqual(subject.step({ kind: 'operator', command: 'stop' }), ['stopExecution'])
  subject.step(appended(12, 1, [output(12)]))
  subject.step({ kind: 'stopped' })
  assert.deepEqual(ack(subject, 13), ['release 1:12'])
  subject.step({ kind: 'left', port: 1, ordinal: 12n })
  assert.deepEqual(quiet(subject.wait(50)), ['propose 3 stop a1/b1 life 1'])
  const stopped = configuration(3, A, B, { change: 'stop', phase: 'stopped' })
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

test('a disk that fails while a backup is being added hands over once it has been', () => {
  const subject = joining()
  subject.wait(50)
  subject.step(appended(10, 2, [], 11))
  assert.deepEqual(ack(subject, 12, 12, 1), ['read'])
  assert.deepEqual(subject.answer(ALONE), ['propose 2 add a1/b1 life 1'])
  assert.deepEqual(subject.step({ kind: 'diskFailed', reason: 'EIO' }), [])
  assert.deepEqual(subject.answer(PAIR), ['send 2 configured 2 !', 'stopExecution'])
})

test('a primary that is held back says that it stands still, so that nobody takes it for stuck', () => {
  const subject = pair({ settings: { ...DEFAULT_SETTINGS, boundBytes: 1000 } })
  subject.step({ kind: 'progress', state: 'running', position: 14n })
  subject.step(appended(12, 1, [{ ...output(12), bytes: new Uint8Array(2001) }]))
  assert.ok(subject.wait(50).includes('execution 0 held'))
  assert.ok(subject.wait(50).includes('send 2 heartbeat stopped !'))
})

test('a primary whose memory changed by itself yields and ends', () => {
  assert.deepEqual(pair().step({ kind: 'convicted', report: 'page 7' }), [
    'send 2 yield !',
    'halt: memory changed by itself: page 7',
  ])
})

test('a backup that falls behind slows the primary, and is dropped in the end', () => {
  const subject = pair({ settings: { ...DEFAULT_SETTINGS, slowBackupMs: 2000, lagTargetMs: 900 } })
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

/** A copy whose state has all been sent, while the machine went on for longer than the lag target. */
function transferring(): Subject {
  const subject = alone()
  subject.step(appended(0, 10))
  subject.accept(2, B)
  subject.receive(2, { kind: 'join', member: B, baseGeneration: undefined, resume: undefined })
  subject.step({ kind: 'snapshotTaken', join: 1, frontier: frontier(10) })
  subject.step({ kind: 'chunkRead', join: 1, number: 0, isLast: true, bytes: new Uint8Array(3) })
  subject.receive(2, { kind: 'chunkAck', join: 1, next: 1 })
  subject.step(appended(10, 20))
  subject.wait(200)
  return subject
}

test('the primary gives way to a copy that makes up for its transfer, more with time', () => {
  const subject = transferring()
  subject.receive(2, { kind: 'installed', join: 1 })
  ack(subject, 30, 11, 1)
  const paces: number[] = []
  // It executes, but no faster than the primary, so its lag does not shrink.
  for (let ms = 0; ms < 10_000; ms += 50) {
    const beat = { kind: 'heartbeat', state: 'running', position: BigInt(ms) } as const
    const lines = [...subject.receive(2, beat), ...subject.wait(50)]
    for (const text of lines) if (text.startsWith('execution')) paces.push(Number(text.split(' ')[1]))
  }
  assert.deepEqual(paces, [3 / 4, 1 / 2, 1 / 4])
  ack(subject, 30, 30, 1)
  assert.ok(subject.wait(50).includes('execution 1 taken'), 'full speed again once it has caught up')
})

test('a copy whose state is on its way does not slow the machine', () => {
  const subject = transferring()
  for (let ms = 0; ms < 3000; ms += 50) {
    const beat = { kind: 'heartbeat', state: 'idle', position: 0n } as const
    const lines = [...subject.receive(2, beat), ...subject.wait(50)]
    assert.deepEqual(
      lines.filter((text) => text.startsWith('execution')),
      [],
    )
  }
})

test('what waits to leave holds inputs at the bound, and execution at twice the bound', () => {
  const subject = pair({ settings: { ...DEFAULT_SETTINGS, boundBytes: 1000, lagTargetMs: 300 } })
  const big = (ordinal: number) => ({ ...output(ordinal), bytes: new Uint8Array(900) })
  subject.step(appended(12, 2, [big(12), big(13)]))
  assert.deepEqual(quiet(subject.wait(50)), ['execution 1 held'])
  subject.step(appended(14, 1, [big(14)]))
  assert.deepEqual(quiet(subject.wait(50)), ['execution 0 held'])
  ack(subject, 15)
  for (const ordinal of [12n, 13n, 14n]) subject.step({ kind: 'left', port: 1, ordinal })
  assert.ok(quiet(subject.wait(50)).includes('execution 1 taken'))
})

test('what the backup has in memory but has not executed counts towards the bound', () => {
  const subject = pair({ settings: { ...DEFAULT_SETTINGS, boundBytes: 60, lagTargetMs: 300 } })
  subject.step(appended(12, 10))
  ack(subject, 22, 12)
  assert.deepEqual(quiet(subject.wait(50)), ['execution 1 held'])
  ack(subject, 22)
  assert.deepEqual(quiet(subject.wait(50)), ['execution 1 taken'])
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

test('stopping does not wait for a link that is gone, for ever', () => {
  const subject = pair()
  subject.step({ kind: 'operator', command: 'stop' })
  subject.step(appended(12, 1, [output(12)]))
  subject.step({ kind: 'stopped' })
  const lines: string[] = []
  for (let i = 0; i < 210; i++) {
    subject.receive(2, { kind: 'heartbeat', state: 'idle', position: 13n })
    lines.push(...ack(subject, 13), ...quiet(subject.wait(50)))
  }
  assert.ok(lines.includes('propose 3 stop a1/b1 life 1'))
})

test('an output that has left but was never produced here ends this copy', () => {
  const subject = alone()
  subject.step(appended(0, 2, [output(1)]))
  assert.match(
    subject.step({ kind: 'linkUp', left: [{ port: 1, ordinal: 2n }] })[0]!,
    /^halt: output 2 of port 1/,
  )
})

test('a copy that comes back with a join that was given up is sent away, and costs the machine no snapshot', () => {
  const subject = joining()
  // It cannot have record 98: the join is given up.
  assert.deepEqual(ack(subject, 99, 99, 1), ['close 2'])
  subject.wait(2000)
  subject.accept(4, B)
  const resume = { join: 1, nextChunk: 1, nextIndex: 10n }
  const again = { kind: 'join', member: B, baseGeneration: undefined, resume } as const
  assert.deepEqual(subject.receive(4, again), ['send 4 joinStart 2 at 10'])
  const late = { kind: 'ack', epoch: 1, incarnation: 'b1', received: 10n, executed: 10n } as const
  assert.deepEqual(subject.receive(4, late), [])
  const anew = { ...B, incarnation: 'b2' }
  subject.accept(6, anew)
  const join = { kind: 'join', member: anew, baseGeneration: undefined, resume: undefined } as const
  assert.deepEqual(subject.receive(6, join), ['snapshot'])
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { NewRecord } from '../log/record.ts'
import type { Message } from './message.ts'
import {
  A,
  ALONE,
  asking,
  B,
  backup,
  CHUNK,
  executed,
  installed,
  LIVE,
  PAIR,
  START,
} from './testing/backup.ts'
import { batch, configuration, holding, identity, output, quiet, Subject } from './testing/subject.ts'

test('a new copy asks, stores, installs, acknowledges, and is the backup when the arbiter says so', () => {
  const subject = asking()
  assert.deepEqual(subject.connect(1, A), ['send 1 hello', 'send 1 join'])
  assert.deepEqual(subject.receive(1, START), [])
  assert.deepEqual(subject.receive(1, { kind: 'batch', bytes: batch(10, 2) }), ['send 1 ack e1 12/10 !'])
  assert.deepEqual(subject.receive(1, CHUNK), ['storeChunk 0', 'send 1 chunkAck', 'install at 10'])
  assert.deepEqual(subject.step({ kind: 'installed', join: 1 }), [
    'feed 10+2',
    'send 1 installed',
    'send 1 ack e1 12/10 !',
  ])
  assert.deepEqual(executed(subject, 12), ['send 1 ack e1 12/12 !'])
  assert.deepEqual(subject.receive(1, { kind: 'configured', epoch: 2 }), ['read'])
  assert.deepEqual(subject.answer(PAIR), ['send 1 ack e2 12/12 !'])
  assert.equal(subject.member.role.name, 'backup')
})

test('a copy of a third host does not call while there is a backup; it calls when the backup is gone', () => {
  const subject = new Subject('c')
  subject.wait(50)
  subject.answer(PAIR)
  assert.deepEqual(subject.wait(200), ['read'])
  subject.answer(configuration(3, A))
  assert.deepEqual(subject.wait(50), ['dial 1 a'])
})

test("a new process at the backup's host calls: the primary has to know that the old one is gone", () => {
  const subject = new Subject('b', { incarnation: 'b2' })
  subject.wait(50)
  subject.answer(PAIR)
  assert.deepEqual(subject.wait(50), ['dial 1 a'])
})

test('what the primary says about the configuration is not believed before the arbiter has confirmed it', () => {
  const subject = installed()
  subject.receive(1, { kind: 'configured', epoch: 2 })
  subject.answer(ALONE)
  assert.equal(subject.member.role.name, 'joining')
})

test('what the arbiter said before the primary told of a change does not hide the change', () => {
  const subject = installed()
  subject.step({ kind: 'closed', channel: 1, isRefused: false })
  assert.deepEqual(quiet(subject.wait(200)).slice(-1), ['read'], 'question 2, while there is no channel')
  subject.connect(3, A)
  assert.deepEqual(subject.receive(3, { kind: 'configured', epoch: 2 }), ['read'], 'question 3')
  subject.step({ kind: 'answer', request: 2, answer: holding(ALONE) })
  assert.equal(subject.member.role.name, 'joining')
  subject.step({ kind: 'answer', request: 3, answer: holding(PAIR) })
  assert.equal(subject.member.role.name, 'backup')
})

test('a primary that learns of the configuration later than its backup is told again what has arrived', () => {
  assert.deepEqual(backup().receive(1, { kind: 'configured', epoch: 2 }), ['send 1 ack e2 12/12 !'])
})

test('a sealed backup that cannot catch up finds out that it has been replaced', () => {
  const subject = backup()
  subject.receive(1, { kind: 'batch', bytes: batch(12, 3) })
  assert.deepEqual(quiet(subject.wait(600)), ['close 1', 'read'])
  assert.deepEqual(subject.answer(PAIR), [])
  assert.deepEqual(subject.wait(200), ['read'])
  assert.deepEqual(subject.answer(configuration(3, A)), ['halt: replaced: configuration 3 (drop)'])
})

test('chunks out of order are not stored', () => {
  const subject = asking()
  subject.connect(1, A)
  subject.receive(1, START)
  assert.deepEqual(subject.receive(1, { ...CHUNK, number: 1 }), [])
  assert.deepEqual(subject.receive(1, { ...CHUNK, isLast: false }), ['storeChunk 0', 'send 1 chunkAck'])
  assert.deepEqual(subject.receive(1, { ...CHUNK, isLast: false }), [], 'twice')
})

test('a join goes on over a new channel', () => {
  const subject = asking()
  subject.connect(1, A)
  subject.receive(1, START)
  subject.receive(1, { ...CHUNK, isLast: false })
  subject.receive(1, { kind: 'batch', bytes: batch(10, 4) })
  assert.deepEqual(subject.step({ kind: 'closed', channel: 1, isRefused: false }), ['dial 3 a'])
  assert.deepEqual(subject.connect(3, A), ['send 3 hello', 'send 3 join again chunk 1 record 14'])
})

test('a join that broke off among the pending outputs has not begun', () => {
  const subject = asking()
  subject.connect(1, A)
  subject.receive(1, { kind: 'pendingOutput', join: 1, ...output(8) })
  subject.step({ kind: 'closed', channel: 1, isRefused: false })
  assert.deepEqual(subject.connect(3, A), ['send 3 hello', 'send 3 join'])
  subject.receive(3, { kind: 'pendingOutput', join: 2, ...output(9) })
  subject.receive(3, { ...START, join: 2 })
  assert.deepEqual(subject.receive(3, { ...CHUNK, join: 2 }), [
    'storeChunk 0',
    'send 3 chunkAck',
    'install at 10',
  ])
})

test('pending outputs that cannot be of the state end the channel, not the copy', () => {
  const pending = { kind: 'pendingOutput', join: 1 } as const
  const wrong: Message[][] = [
    [{ ...pending, ...output(10) }],
    [{ ...pending, ...output(9), join: 7 }],
    [
      { ...pending, ...output(9) },
      { ...pending, ...output(9) },
    ],
    [
      { ...pending, ...output(9) },
      { ...pending, ...output(8, 2) },
    ],
    [{ ...pending, ...output(9), ordinal: 0n }],
  ]
  for (const messages of wrong) {
    const subject = asking()
    subject.connect(1, A)
    for (const message of messages) subject.receive(1, message)
    assert.deepEqual(subject.receive(1, START), ['close 1'])
  }
})

test("a join does not go on with another process at the primary's host, whatever its joins are called", () => {
  const subject = asking()
  subject.connect(1, A)
  subject.receive(1, START)
  subject.receive(1, { ...CHUNK, isLast: false })
  subject.step({ kind: 'closed', channel: 1, isRefused: false })
  assert.deepEqual(subject.connect(3, identity('a', 'a2')), ['send 3 hello', 'close 3'])
  assert.ok(subject.wait(200).includes('read'))
  const cold = configuration(2, identity('a', 'a2'), undefined, { life: 2, change: 'cold start' })
  assert.match(subject.answer(cold).at(-1)!, /^halt: configuration 2 \(cold start\)/)
})

test('a copy joins in the configuration that the primary has reached, if it knows only an earlier one', () => {
  const subject = asking()
  subject.connect(1, A)
  subject.receive(1, { ...START, epoch: 3 })
  subject.receive(1, CHUNK)
  const lines = subject.step({ kind: 'installed', join: 1 })
  assert.deepEqual(lines, ['send 1 installed', 'send 1 ack e3 10/10 !'])
  subject.step({ kind: 'closed', channel: 1, isRefused: false })
  subject.wait(300)
  assert.deepEqual(subject.answer(configuration(3, A)), [], 'it has not changed since')
  assert.equal(subject.member.halted, undefined)
})

test('a copy whose primary is gone before it was added asks the arbiter, and never claims', () => {
  const subject = installed()
  subject.step({ kind: 'closed', channel: 1, isRefused: true })
  const lines = subject.wait(2000)
  assert.ok(lines.includes('read'))
  assert.ok(!lines.some((text) => text.startsWith('propose')))
})

test('a copy that was added without hearing of it finds out from the arbiter, and goes live', () => {
  const subject = installed()
  subject.step({ kind: 'closed', channel: 1, isRefused: true })
  subject.wait(300)
  assert.deepEqual(subject.answer(PAIR), [])
  const lines = subject.wait(600)
  assert.equal(lines.at(-1), 'propose 3 go live b1/- life 1')
})

test('records are acknowledged when they are here, and again when they are executed', () => {
  const subject = backup()
  assert.deepEqual(subject.receive(1, { kind: 'batch', bytes: batch(12, 3) }), [
    'feed 12+3',
    'send 1 ack e2 15/12 !',
  ])
  assert.deepEqual(executed(subject, 14), ['send 1 ack e2 15/14 !'])
})

test('a damaged or discontinued batch closes the channel, and the stream goes on where it was whole', () => {
  const subject = backup()
  const damaged = batch(12, 3)
  damaged[damaged.length - 1]! ^= 1
  assert.deepEqual(subject.receive(1, { kind: 'batch', bytes: damaged }), ['close 1'])
  subject.wait(100)
  assert.deepEqual(subject.connect(3, A), ['send 3 hello', 'send 3 follow e2 12', 'send 3 ack e2 12/12'])
  assert.deepEqual(subject.receive(3, { kind: 'batch', bytes: batch(13, 1) }), ['close 3'])
})

test('going live: sealed, executed to the last record, claimed, won, attached, and the outputs again', () => {
  const subject = backup()
  subject.receive(1, { kind: 'batch', bytes: batch(12, 3) })
  executed(subject, 14, [output(12)])
  assert.deepEqual(quiet(subject.wait(500)), ['close 1'], 'sealed, but not caught up')
  assert.deepEqual(subject.member.protection(), { state: 'not protected', reason: 'failing over' })
  assert.deepEqual(executed(subject, 15, [output(14)]), ['propose 3 go live b1/- life 1'])
  assert.deepEqual(subject.answer(LIVE), ['takeOver at 15', 'attach epoch 3 life 1'])
  assert.deepEqual(subject.step({ kind: 'linkUp', left: [{ port: 1, ordinal: 12n }] }), ['release 1:14'])
  assert.equal(subject.member.role.name, 'primary')
})

test('once sealed nothing is read and nothing acknowledged', () => {
  const subject = backup()
  subject.receive(1, { kind: 'batch', bytes: batch(12, 3) })
  subject.wait(600)
  assert.deepEqual(subject.receive(1, { kind: 'batch', bytes: batch(15, 1) }), [])
  assert.deepEqual(executed(subject, 14), [])
})

test('a claim is repeated until its outcome is known', () => {
  const subject = backup()
  subject.wait(600)
  subject.answer('unreachable')
  assert.deepEqual(subject.member.protection(), { state: 'not protected', reason: 'arbiter unreachable' })
  assert.deepEqual(subject.wait(200), ['propose 3 go live b1/- life 1'])
  assert.deepEqual(subject.answer(PAIR), [])
  assert.deepEqual(subject.wait(200), ['propose 3 go live b1/- life 1'])
  assert.ok(subject.answer(LIVE).includes('takeOver at 12'))
})

test('a backup whose claim is lost halts', () => {
  const subject = backup()
  subject.wait(600)
  assert.deepEqual(subject.answer(configuration(3, A)), ['halt: replaced: configuration 3 (drop)'])
})

test('a refused dial means that the process is gone: no waiting for silence', () => {
  const subject = backup()
  assert.deepEqual(subject.step({ kind: 'closed', channel: 1, isRefused: false }), ['dial 3 a'])
  assert.deepEqual(subject.step({ kind: 'closed', channel: 3, isRefused: true }), [
    'propose 3 go live b1/- life 1',
  ])
})

test("another process at the primary's host means that the primary is gone", () => {
  const subject = backup()
  subject.step({ kind: 'closed', channel: 1, isRefused: false })
  subject.wait(100)
  assert.deepEqual(subject.connect(3, identity('a', 'a2')), [
    'send 3 hello',
    'close 3',
    'propose 3 go live b1/- life 1',
  ])
})

test('a primary that yields is followed at once', () => {
  const lines = backup().receive(1, { kind: 'yield', reason: 'page 7' })
  assert.deepEqual(lines, ['disregardDigests', 'close 1', 'propose 3 go live b1/- life 1'])
})

test('a hand-over needs no claim, but the last record all the same', () => {
  const subject = backup()
  subject.receive(1, { kind: 'batch', bytes: batch(12, 1) })
  assert.deepEqual(subject.receive(1, { kind: 'configured', epoch: 3 }), ['read'])
  const handed = configuration(3, B, undefined, { change: 'hand over' })
  assert.deepEqual(subject.answer(handed), ['close 1'])
  assert.deepEqual(executed(subject, 13), ['takeOver at 13', 'attach epoch 3 life 1'])
})

test('a backup that learns of another configuration halts', () => {
  const subject = backup()
  subject.receive(1, { kind: 'configured', epoch: 3 })
  const stopped = configuration(3, A, undefined, { change: 'stop', phase: 'stopped' })
  assert.deepEqual(subject.answer(stopped), ['halt: stopped'])
})

test('a channel that breaks as soon as it is up is not dialled again at once', () => {
  const subject = backup()
  assert.deepEqual(subject.step({ kind: 'closed', channel: 1, isRefused: false }), ['dial 3 a'])
  subject.connect(3, A)
  assert.deepEqual(subject.step({ kind: 'closed', channel: 3, isRefused: false }), [])
  assert.deepEqual(quiet(subject.wait(100)), ['dial 5 a'])
})

test('a joining copy whose channel does not come up dials again', () => {
  const subject = asking()
  const lines = subject.wait(10_100).filter((text) => text !== 'read')
  assert.deepEqual(lines, ['close 1', 'dial 3 a'])
  subject.step({ kind: 'opened', channel: 3, host: 'a' })
  const again = subject.wait(10_100).filter((text) => text !== 'read')
  assert.deepEqual(again, ['close 3', 'dial 5 a'], 'it opened, but nobody said hello')
})

test('a pause of this process is no silence of the primary', () => {
  const subject = backup()
  subject.nowMs += 5000
  const lines = subject.step({ kind: 'tick', nowMs: subject.nowMs })
  assert.ok(!lines.some((text) => text.startsWith('propose')), lines.join('; '))
})

test('a process that pauses all the time notices all the same that the primary is silent', () => {
  const subject = backup()
  const lines: string[] = []
  for (let i = 0; i < 3; i++) {
    subject.nowMs += 300
    lines.push(...quiet(subject.step({ kind: 'tick', nowMs: subject.nowMs })))
  }
  assert.deepEqual(lines, ['close 1', 'propose 3 go live b1/- life 1'])
})

test('refusals that come faster than the arbiter answers do not keep its answer out', () => {
  const subject = backup()
  subject.wait(200)
  assert.deepEqual(subject.receive(1, { kind: 'refused', reason: 'dropped' }), ['read', 'close 1'])
  subject.wait(100)
  subject.connect(3, A)
  assert.deepEqual(subject.receive(3, { kind: 'refused', reason: 'dropped' }), ['close 3'])
  assert.deepEqual(subject.answer(configuration(3, A)), ['halt: replaced: configuration 3 (drop)'])
})

test('a primary whose heart beats without progress is suspected after its own time', () => {
  const subject = backup()
  const beat = (position: bigint): Message => ({ kind: 'heartbeat', state: 'running', position })
  const lines: string[] = []
  for (let i = 0; i < 300 && lines.length === 0; i++) {
    subject.receive(1, beat(77n))
    lines.push(...quiet(subject.wait(50)))
  }
  assert.deepEqual(lines, ['close 1', 'propose 3 go live b1/- life 1'])
})

test('outputs that are known as released are not emitted again', () => {
  const subject = backup()
  const records: NewRecord[] = [
    { kind: 'output', port: 1, ordinal: 12n, digest: 0n, position: 12n },
    { kind: 'output', port: 1, ordinal: 13n, digest: 0n, position: 13n },
    { kind: 'released', port: 1, ordinal: 12n, position: 14n },
  ]
  subject.receive(1, { kind: 'batch', bytes: batch(12, 3, 1, records) })
  executed(subject, 15, [output(12), output(13)])
  subject.wait(600)
  subject.answer(LIVE)
  assert.deepEqual(subject.step({ kind: 'linkUp', left: [] }), ['release 1:13'])
})

test('outputs from before this copy joined are emitted again if nobody knows that they left', () => {
  const subject = asking()
  subject.connect(1, A)
  subject.receive(1, { kind: 'pendingOutput', join: 1, ...output(9) })
  subject.receive(1, START)
  subject.receive(1, CHUNK)
  subject.step({ kind: 'installed', join: 1 })
  subject.receive(1, { kind: 'configured', epoch: 2 })
  subject.answer(PAIR)
  subject.wait(600)
  subject.answer(LIVE)
  assert.deepEqual(subject.step({ kind: 'linkUp', left: [] }), ['release 1:9'])
})

test('why the primary refuses this copy is told once for each reason, however often it is asked', () => {
  const subject = backup()
  const told: string[] = []
  let channel = 1
  for (const reason of ['busy', 'busy', 'busy', 'gone', 'gone']) {
    for (const effect of subject.member.step({
      kind: 'message',
      channel,
      message: { kind: 'refused', reason },
    }))
      if (effect.kind === 'tell') told.push(effect.text)
    const dialled = subject.wait(100).findLast((text) => text.startsWith('dial'))
    channel = Number(dialled?.split(' ')[1])
    subject.connect(channel, A)
    subject.answer(PAIR)
  }
  assert.deepEqual(
    told,
    ['busy', 'gone'].map((reason) => `the primary refuses this copy: ${reason}`),
  )
})

test('a primary that only refuses is no primary that lives: it may be unable to drop this copy', () => {
  const subject = backup()
  const lines: string[] = []
  for (let channel = 1, i = 0; i < 20; i++) {
    lines.push(...subject.receive(channel, { kind: 'refused', reason: 'a change is under way' }))
    lines.push(...subject.wait(100))
    const dialled = lines.findLast((text) => text.startsWith('dial'))
    channel = Number(dialled?.split(' ')[1])
    lines.push(...subject.connect(channel, A))
    subject.answer(PAIR)
  }
  assert.ok(lines.includes('propose 3 go live b1/- life 1'))
})

test('a copy whose disk fails while it joins says so and halts', () => {
  const subject = asking()
  subject.connect(1, A)
  subject.receive(1, START)
  assert.deepEqual(subject.step({ kind: 'diskFailed', reason: 'no room' }), [
    'send 1 yield !',
    'halt: the disk failed while joining: no room',
  ])
})

test('a sealed backup whose disk fails waits for it', () => {
  const subject = backup()
  subject.receive(1, { kind: 'batch', bytes: batch(12, 3) })
  subject.wait(600)
  assert.deepEqual(subject.step({ kind: 'diskFailed', reason: 'ENOSPC' }), [])
  assert.equal(subject.member.halted, undefined)
  assert.deepEqual(executed(subject, 15), ['propose 3 go live b1/- life 1'])
})

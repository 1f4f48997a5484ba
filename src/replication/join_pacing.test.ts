import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Message } from './message.ts'
import { DEFAULT_SETTINGS } from './settings.ts'
import { A, ALONE, alone, B, pair } from './testing/primary.ts'
import { appended, configuration, frontier, identity, type Subject } from './testing/subject.ts'

const FULL = 'disk failed: no room'

/** A process at b asks to join, over a channel of its own; whether its join has begun. */
function asks(subject: Subject, number: number): boolean {
  const member = identity('b', `b${number}`)
  subject.accept(2 * number, member)
  const join: Message = { kind: 'join', member, baseGeneration: undefined, resume: undefined }
  return subject.receive(2 * number, join).some((line) => line.startsWith('snapshot'))
}

/** How long the primary refuses all who ask, in milliseconds. */
function refusal(subject: Subject, number: number): number {
  const start = subject.nowMs
  while (!asks(subject, number)) subject.wait(100)
  return subject.nowMs - start
}

test('the pause before the next join doubles with every copy that is lost, up to a minute', () => {
  const subject = alone()
  const pauses: number[] = []
  for (let number = 1; number <= 9; number++) {
    pauses.push(refusal(subject, number))
    subject.receive(2 * number, { kind: 'yield', reason: FULL })
  }
  assert.deepEqual(pauses, [0, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000])
})

test('a copy that was the backup for long is followed by the next one at once', () => {
  const lost = (protectedMs: number): number => {
    const subject = pair()
    for (let ms = 0; ms < protectedMs; ms += 100) {
      subject.wait(100)
      subject.receive(2, { kind: 'heartbeat', state: 'idle', position: 0n })
    }
    subject.receive(2, { kind: 'yield', reason: FULL })
    subject.answer(configuration(3, A))
    return refusal(subject, 3)
  }
  assert.equal(lost(DEFAULT_SETTINGS.joinRetryMaxMs), 0)
  assert.ok(lost(5000) >= DEFAULT_SETTINGS.joinRetryMs - 100)
})

test('copies that are killed again and again, each after a while as the backup, are followed after the shortest pause', () => {
  const subject = alone()
  let index = 0
  const append = (count: number, digest?: number): void => {
    subject.step(appended(index, count, [], digest))
    index += count
  }
  append(10)
  for (let number = 1, epoch = 1; number <= 6; number++, epoch += 2) {
    const pauseMs = refusal(subject, number)
    assert.ok(pauseMs <= DEFAULT_SETTINGS.joinRetryMs, `${pauseMs} ms before copy ${number}`)
    const channel = 2 * number
    const member = identity('b', `b${number}`)
    const before = epoch === 1 ? ALONE : configuration(epoch, A)
    const after = configuration(epoch + 1, A, member, { change: 'add' })
    subject.step({ kind: 'snapshotTaken', join: number, frontier: frontier(index) })
    subject.step({ kind: 'chunkRead', join: number, number: 0, isLast: true, bytes: new Uint8Array(3) })
    subject.receive(channel, { kind: 'chunkAck', join: number, next: 1 })
    subject.receive(channel, { kind: 'installed', join: number })
    subject.wait(50)
    append(2, index + 1)
    const ack = (of: number): unknown =>
      subject.receive(channel, {
        ...{ kind: 'ack', epoch: of, incarnation: member.incarnation },
        ...{ received: BigInt(index), executed: BigInt(index) },
      })
    ack(epoch)
    subject.answer(before)
    subject.answer(after)
    ack(epoch + 1)
    assert.equal(subject.member.protection().state, 'protected')
    for (let ms = 0; ms < 5000; ms += 100) {
      subject.wait(100)
      subject.receive(channel, { kind: 'heartbeat', state: 'idle', position: 0n })
    }
    subject.receive(channel, { kind: 'yield', reason: FULL })
    subject.answer(configuration(epoch + 2, A))
  }
})

test('a copy whose state waits for a snapshot that an operator takes is kept, since the machine runs', () => {
  const subject = alone()
  assert.ok(asks(subject, 1))
  for (let ms = 0; ms < DEFAULT_SETTINGS.stallMs * 2; ms += 100) {
    subject.step({ kind: 'progress', state: 'running', position: BigInt(ms) })
    const lines = [
      ...subject.receive(2, { kind: 'heartbeat', state: 'idle', position: 0n }),
      ...subject.wait(100),
    ]
    assert.ok(!lines.includes('dropSnapshot'), `given up after ${ms} ms`)
  }
})

test('a primary without a copy says which one was lost last, and why', () => {
  const subject = alone()
  assert.deepEqual(subject.member.protection(), { state: 'not protected', reason: 'need backup' })
  asks(subject, 1)
  subject.receive(2, { kind: 'yield', reason: FULL })
  assert.deepEqual(subject.member.protection(), {
    ...{ state: 'not protected', reason: 'backup lost' },
    detail: `the copy at ${B.host} was lost: it yields: ${FULL}`,
  })
})

test('a copy whose state cannot be taken is given up, so that the machine goes on', () => {
  const subject = alone()
  assert.ok(asks(subject, 1))
  const lines: string[] = []
  for (let ms = 0; ms < DEFAULT_SETTINGS.stallMs; ms += 100) {
    assert.ok(!lines.includes('dropSnapshot'), `given up after ${ms} ms`)
    lines.push(
      ...subject.receive(2, { kind: 'heartbeat', state: 'idle', position: 0n }),
      ...subject.wait(100),
    )
  }
  assert.ok(lines.includes('dropSnapshot'), lines.join('; '))
})

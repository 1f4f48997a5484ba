/** A primary under test, in the situations that most tests begin with. Its peer is at b, over channel 2. */

import type { MemberOptions } from '../ports.ts'
import { appended, configuration, frontier, identity, Subject } from './subject.ts'

export const A = identity('a')
export const B = identity('b')
export const ALONE = configuration(1, A, undefined, { change: 'cold start' })
export const PAIR = configuration(2, A, B, { change: 'add' })

/** A primary that has created its machine; its link is up. */
export function alone(options: Partial<MemberOptions> = {}): Subject {
  const subject = new Subject('a', { mayCreate: true, ...options })
  subject.wait(50)
  subject.answer(undefined)
  subject.answer(ALONE)
  subject.step({ kind: 'linkUp', left: [] })
  return subject
}

/**
 * The copy at b asks to join over channel 2, and gets as far as having the state and the log to record 10; `batches` of a
 * record each came later, and are to be made up for.
 */
export function joining(options: Partial<MemberOptions> = {}, batches = 0): Subject {
  const subject = alone(options)
  subject.step(appended(0, 10))
  subject.accept(2, B)
  subject.receive(2, { kind: 'join', member: B, baseGeneration: undefined, resume: undefined })
  subject.step({ kind: 'snapshotTaken', join: 1, frontier: frontier(10) })
  subject.step({ kind: 'chunkRead', join: 1, number: 0, isLast: true, bytes: new Uint8Array(3) })
  subject.receive(2, { kind: 'chunkAck', join: 1, next: 1 })
  for (let i = 0; i < batches; i++) subject.step(appended(10 + i, 1))
  if (batches > 0) subject.wait(200)
  subject.receive(2, { kind: 'installed', join: 1 })
  return subject
}

export function ack(
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
export function pair(options: Partial<MemberOptions> = {}): Subject {
  const subject = joining(options)
  subject.wait(50)
  subject.step(appended(10, 2, [], 11))
  ack(subject, 12, 12, 1)
  subject.answer(ALONE)
  subject.answer(PAIR)
  ack(subject, 12)
  return subject
}

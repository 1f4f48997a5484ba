/** A backup under test, in the situations that most tests begin with. It is at b, and dials the primary at a over channel 1. */
import { assert } from '../../base/assert.ts'
import { batch, configuration, frontier, identity, type output, Subject } from './subject.ts'

export const A = identity('a')
export const B = identity('b')
export const ALONE = configuration(1, A, undefined, { change: 'cold start' })
export const PAIR = configuration(2, A, B, { change: 'add' })
export const LIVE = configuration(3, B, undefined, { change: 'go live' })

export const START = {
  kind: 'joinStart',
  join: 1,
  epoch: 1,
  life: 1,
  nextIndex: 10n,
  position: 10n,
  released: [],
} as const
export const CHUNK = { kind: 'chunk', join: 1, number: 0, isLast: true, bytes: new Uint8Array(2) } as const

/** A process at host b that has been asked for its hello over its channel 1. */
export function asking(): Subject {
  const subject = new Subject('b')
  subject.wait(50)
  subject.answer(ALONE)
  assert(subject.wait(50).join() === 'dial 1 a', 'it dials the primary')
  return subject
}

export function installed(): Subject {
  const subject = asking()
  subject.connect(1, A)
  subject.receive(1, START)
  subject.receive(1, CHUNK)
  subject.step({ kind: 'installed', join: 1 })
  return subject
}

/** The backup of {a, b}, with records before 12 received and executed. */
export function backup(): Subject {
  const subject = installed()
  subject.receive(1, { kind: 'batch', bytes: batch(10, 2) })
  subject.step({ kind: 'executed', frontier: frontier(12), outputs: [] })
  subject.receive(1, { kind: 'configured', epoch: 2 })
  subject.answer(PAIR)
  assert(subject.member.protection().state === 'protected', 'it is the backup')
  return subject
}

export const executed = (subject: Subject, next: number, outputs = [] as ReturnType<typeof output>[]) =>
  subject.step({ kind: 'executed', frontier: frontier(next), outputs })

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { configuration, identity, Subject } from './testing/subject.ts'

const A = identity('a', 'a0')
const B = identity('b', 'b0')
const ALONE = configuration(4, A)
const PAIR = configuration(4, A, B, { change: 'add' })

/** A new process at host a that has read `current`. */
function started(current: ReturnType<typeof configuration> | undefined, options = {}): [Subject, string[]] {
  const subject = new Subject('a', { diskGeneration: 'disk-a', joinGeneration: 'disk-a2', ...options })
  subject.wait(50)
  return [subject, subject.answer(current)]
}

test("the recorded primary's disk starts cold, in a life of its own", () => {
  const [subject, lines] = started(ALONE)
  assert.deepEqual(lines, ['propose 5 cold start a1/- life 5'])
  const cold = configuration(5, { ...A, incarnation: 'a1' }, undefined, { life: 5, change: 'cold start' })
  assert.deepEqual(subject.answer(cold), ['boot life 5', 'attach epoch 5 life 5'])
})

test('a machine that nobody may create is waited for', () => {
  const [subject, lines] = started(undefined)
  assert.deepEqual(lines, [])
  assert.deepEqual(subject.wait(200), ['read'])
})

test('while a backup is named, its host must say first that it is dead', () => {
  const [subject, lines] = started(PAIR)
  assert.deepEqual(lines, [])
  assert.deepEqual(subject.member.protection(), {
    state: 'not protected',
    reason: 'waiting for the backup host',
  })
  assert.deepEqual(subject.wait(50), ['dial 1 b'])
  assert.deepEqual(subject.connect(1, identity('b', 'b1')), ['send 1 hello', 'send 1 confirm'])
  const dead = { kind: 'confirmed', incarnation: 'b0', isDead: true } as const
  assert.deepEqual(subject.receive(1, dead), ['propose 5 cold start a1/- life 5'])
})

test('a backup that lives is not passed over', () => {
  const [subject] = started(PAIR)
  subject.wait(50)
  subject.connect(1, B)
  const alive = { kind: 'confirmed', incarnation: 'b0', isDead: false } as const
  assert.deepEqual(subject.receive(1, alive), ['close 1'])
  const live = configuration(5, B, undefined, { change: 'go live' })
  subject.wait(200)
  assert.deepEqual(subject.answer(live), ['close 3'], 'it has gone live: this process joins it')
  assert.equal(subject.member.role.name, 'joining')
})

test("the word of another incarnation's death does not count", () => {
  const [subject] = started(PAIR)
  subject.wait(50)
  subject.connect(1, identity('b', 'b1'))
  assert.deepEqual(subject.receive(1, { kind: 'confirmed', incarnation: 'b7', isDead: true }), [])
})

test("the operator may overrule, also from the backup's disk", () => {
  assert.deepEqual(started(PAIR, { force: true })[1], ['propose 5 cold start a1/- life 5'])
  const other = configuration(4, B, A, { change: 'add' })
  assert.deepEqual(started(other, { force: true })[1], ['propose 5 cold start a1/- life 5'])
  const [subject] = started(PAIR)
  subject.step({ kind: 'operator', command: 'force' })
  subject.wait(200)
  assert.deepEqual(subject.answer(PAIR), ['propose 5 cold start a1/- life 5'])
})

test('the operator may overrule while a copy waits for somebody to join', () => {
  const [subject] = started(configuration(4, B, A, { change: 'add' }))
  assert.equal(subject.member.role.name, 'joining')
  subject.step({ kind: 'operator', command: 'force' })
  assert.deepEqual(subject.wait(200), ['read'])
  assert.deepEqual(subject.answer(configuration(4, B, A, { change: 'add' })), [
    'propose 5 cold start a1/- life 5',
  ])
})

test("a backup's host that takes the call and never answers is called again", () => {
  const [subject] = started(PAIR)
  subject.wait(50)
  subject.connect(1, identity('b', 'b1'))
  const lines = subject.wait(10_200).filter((text) => text !== 'read')
  assert.deepEqual(lines, ['close 1', 'dial 3 b'])
})

test('a disk that the configuration does not name never boots', () => {
  for (const diskGeneration of ['disk-old', undefined]) {
    const [subject, lines] = started(ALONE, { diskGeneration })
    assert.deepEqual(lines, [])
    assert.ok(!subject.wait(3000).some((text) => text.startsWith('propose')))
    assert.deepEqual(started(ALONE, { diskGeneration, force: true })[1], [], 'not by force either')
  }
})

test('a copy of another host joins the one that runs', () => {
  const [subject] = started(configuration(4, B))
  assert.equal(subject.member.role.name, 'joining')
  assert.deepEqual(subject.wait(50), ['dial 1 b'])
})

test('a stopped machine starts again only when it may', () => {
  const stopped = configuration(4, A, undefined, { change: 'stop', phase: 'stopped' })
  const [subject, lines] = started(stopped)
  assert.deepEqual(lines, [])
  assert.deepEqual(subject.member.protection(), { state: 'stopped' })
  assert.deepEqual(started(stopped, { mayRestart: true })[1], ['propose 5 cold start a1/- life 5'])
})

test('who is not the first makes another decision', () => {
  const [subject] = started(ALONE)
  const other = configuration(5, { ...A, incarnation: 'a9' }, undefined, { life: 5, change: 'cold start' })
  assert.deepEqual(subject.answer(other), ['propose 6 cold start a1/- life 6'], 'the same disk, locked here')
})

test('an arbiter that has forgotten a decision stops this copy', () => {
  const [subject] = started(PAIR)
  subject.wait(200)
  assert.deepEqual(subject.answer(configuration(3, A)), [
    'halt: the arbiter has gone back from epoch 4 to 3: it has forgotten',
  ])
})

test('an arbiter that answers something else for an epoch stops this copy', () => {
  const [subject] = started(PAIR)
  subject.wait(200)
  assert.match(subject.answer(configuration(4, B))[0]!, /^halt: .*forgotten/)
})

test('an answer that is not a configuration stops this copy', () => {
  const [subject] = started(PAIR)
  subject.wait(200)
  const answer = { kind: 'current', decision: { epoch: 5, text: '{"version":1}' } } as const
  const lines = subject.step({ kind: 'answer', request: 2, answer })
  assert.match(lines[0]!, /^halt: the arbiter's decision 5: epoch is not a number/)
})

test('an answer that is not even text stops this copy in order', () => {
  const [subject] = started(PAIR)
  subject.wait(200)
  const answer = { kind: 'current', decision: { epoch: 5, text: '{"version":1,"\u00e4":2}' } } as const
  assert.deepEqual(subject.step({ kind: 'answer', request: 2, answer }), [
    "halt: the arbiter's decision 5: not ASCII",
  ])
})

test('whoever asks is told which incarnations of this host are dead', () => {
  const [subject] = started(PAIR)
  subject.accept(2, identity('c'))
  assert.deepEqual(subject.receive(2, { kind: 'confirm', incarnation: 'a0' }), ['send 2 confirmed a0 dead'])
  assert.deepEqual(subject.receive(2, { kind: 'confirm', incarnation: 'a1' }), ['send 2 confirmed a1 alive'])
})

test('who comes for the primary and finds another role is refused', () => {
  const [subject] = started(PAIR)
  subject.accept(2, B)
  assert.deepEqual(subject.receive(2, { kind: 'follow', epoch: 4, nextIndex: 0n }), [
    'send 2 refused',
    'close 2',
  ])
  subject.step({ kind: 'opened', channel: 4, host: undefined })
  const stranger = { kind: 'hello', machine: 'another', host: 'b', incarnation: 'b0' } as const
  assert.deepEqual(subject.receive(4, stranger), ['send 4 refused', 'close 4'])
})

test('a machine that was stopped starts again from either disk, without asking anybody', () => {
  const stopped = (primary: typeof A, backup: typeof A) =>
    configuration(4, primary, backup, { change: 'stop', phase: 'stopped' })
  for (const current of [stopped(A, B), stopped(B, A)]) {
    assert.deepEqual(started(current, { mayRestart: true })[1], ['propose 5 cold start a1/- life 5'])
  }
})

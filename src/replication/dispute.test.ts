/** Copies that differ: who goes on, and who never does (P64 to P67, P76). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DEFAULT_SETTINGS } from './settings.ts'
import { backup, executed } from './testing/backup.ts'
import { ALONE, ack, joining, pair } from './testing/primary.ts'
import { appended, batch, quiet } from './testing/subject.ts'

const OUTPUT_DIFFERS = { kind: 'diverged', index: 11n, report: 'x10', evidence: undefined } as const
const DIGEST_DIFFERS = { ...OUTPUT_DIFFERS, evidence: new Uint8Array() }

test('a copy that diverged says so, acknowledges nothing more, and goes when it has been heard', () => {
  const subject = backup()
  assert.deepEqual(subject.step(OUTPUT_DIFFERS), ['send 1 diverged !'])
  assert.deepEqual(subject.receive(1, { kind: 'batch', bytes: batch(12, 1) }), [])
  assert.deepEqual(subject.step({ kind: 'closed', channel: 1, isRefused: false }), [
    'halt: this copy has left',
  ])
})

test('a copy that keeps finding that it diverged goes all the same', () => {
  const subject = backup()
  subject.step(OUTPUT_DIFFERS)
  subject.wait(400)
  assert.deepEqual(subject.step({ kind: 'convicted', report: 'page 7' }), [])
  assert.deepEqual(subject.wait(100), ['halt: this copy has left'])
})

test('a copy that diverged and is not heard halts in time, and never claims', () => {
  const subject = backup()
  subject.step(OUTPUT_DIFFERS)
  assert.deepEqual(subject.wait(2000), ['halt: this copy has left'])
})

test('a copy whose digest differs goes on without digests if the primary is convicted, and claims behind the last record', () => {
  const subject = backup()
  subject.receive(1, { kind: 'batch', bytes: batch(12, 2) })
  assert.deepEqual(subject.step({ ...DIGEST_DIFFERS, index: 12n }), ['send 1 diverged !'])
  assert.deepEqual(subject.receive(1, { kind: 'batch', bytes: batch(14, 1) }), [], 'it takes nothing more')
  assert.ok(quiet(subject.wait(100)).length === 0, 'nor does it acknowledge')
  assert.deepEqual(subject.receive(1, { kind: 'yield', reason: 'page 7' }), ['disregardDigests', 'close 1'])
  assert.deepEqual(executed(subject, 13), [])
  assert.deepEqual(executed(subject, 14), ['propose 3 go live b1/- life 1'])
})

test('a copy that finds an output to differ as well never claims', () => {
  const subject = backup()
  subject.receive(1, { kind: 'batch', bytes: batch(12, 2) })
  subject.step({ ...DIGEST_DIFFERS, index: 12n })
  subject.receive(1, { kind: 'yield', reason: 'page 7' })
  assert.match(subject.step({ ...OUTPUT_DIFFERS, index: 13n })[0]!, /^halt: this copy cannot go on/)
})

test('a copy whose digest differs never claims unless the primary is convicted', () => {
  const given = backup()
  given.step(DIGEST_DIFFERS)
  assert.deepEqual(given.step({ kind: 'closed', channel: 1, isRefused: true }), ['halt: this copy has left'])
  const silent = backup()
  silent.step(DIGEST_DIFFERS)
  const lines = quiet(silent.wait(1000))
  assert.match(lines.join('; '), /^halt: this copy diverged, and the primary is silent/)
})

test('a copy whose digest differs waits as long as the primary is at work', () => {
  const subject = backup()
  subject.step(DIGEST_DIFFERS)
  for (let i = 0; i < 20; i++) {
    subject.receive(1, { kind: 'heartbeat', state: 'running', position: BigInt(i) })
    assert.deepEqual(quiet(subject.wait(100)), [])
  }
})

test('after a divergence that convicts nobody the primary goes on, or stops, as it is set', () => {
  const report = { kind: 'diverged', index: 11n, report: 'x10 differs', evidence: undefined } as const
  const subject = pair()
  assert.deepEqual(subject.receive(2, report), ['explain'])
  assert.deepEqual(subject.step({ kind: 'sound' }), ['close 2', 'propose 3 drop a1/- life 1'])
  const stopping = pair({ settings: { ...DEFAULT_SETTINGS, onDivergence: 'stop' } })
  assert.deepEqual(stopping.receive(2, report), ['explain'])
  assert.deepEqual(stopping.step({ kind: 'sound' }), ['close 2', 'propose 3 stop a1/- life 1'])
})

test('a primary that is to blame for a divergence yields to the copy that found it', () => {
  const subject = pair()
  subject.receive(2, DIGEST_DIFFERS)
  assert.equal(subject.member.protection().state, 'not protected')
  assert.deepEqual(subject.step({ kind: 'convicted', report: 'page 7' }), [
    'send 2 yield !',
    'halt: memory changed by itself: page 7',
  ])
})

test('a copy that is lost while its divergence is looked into is lost as any other', () => {
  const subject = pair()
  subject.receive(2, { kind: 'diverged', index: 11n, report: 'x10 differs', evidence: undefined })
  assert.ok(subject.wait(600).includes('propose 3 drop a1/- life 1'))
  assert.deepEqual(subject.step({ kind: 'sound' }), [])
})

test('a machine that is to stop at a divergence does so too if the copy goes before anybody knows why it differs', () => {
  const subject = pair({ settings: { ...DEFAULT_SETTINGS, onDivergence: 'stop' } })
  subject.receive(2, OUTPUT_DIFFERS)
  subject.step({ kind: 'closed', channel: 2, isRefused: false })
  assert.ok(subject.wait(600).includes('propose 3 stop a1/- life 1'))
})

test('a copy that differs and then convicts itself is explained: the machine goes on', () => {
  const subject = pair({ settings: { ...DEFAULT_SETTINGS, onDivergence: 'stop' } })
  subject.receive(2, DIGEST_DIFFERS)
  const lines = subject.receive(2, { kind: 'yield', reason: 'page 7' })
  assert.deepEqual(lines, ['close 2', 'propose 3 drop a1/- life 1'])
})

test('a copy that differs is not added, whatever the arbiter says meanwhile', () => {
  const subject = joining()
  subject.wait(50)
  subject.step(appended(10, 2, [], 11))
  assert.deepEqual(ack(subject, 12, 12, 1), ['read'])
  subject.receive(2, OUTPUT_DIFFERS)
  assert.deepEqual(subject.answer(ALONE), [])
  assert.deepEqual(subject.step({ kind: 'sound' }), ['close 2'])
})

test('a copy that may have been added already hears that the primary is convicted', () => {
  const subject = joining()
  subject.wait(50)
  subject.step(appended(10, 2, [], 11))
  ack(subject, 12, 12, 1)
  subject.answer(ALONE)
  assert.ok(subject.step({ kind: 'convicted', report: 'page 7' }).includes('send 2 yield !'))
})

test('what the machine says of a digest before it hears that the primary has yielded ends nothing', () => {
  const subject = backup()
  subject.receive(1, { kind: 'batch', bytes: batch(12, 1) })
  subject.receive(1, { kind: 'yield', reason: 'page 7' })
  assert.deepEqual(subject.step({ ...DIGEST_DIFFERS, index: 12n }), [])
  assert.deepEqual(executed(subject, 13), ['propose 3 go live b1/- life 1'])
})

test('a copy that waits for the verdict and is convicted itself says so, and never claims', () => {
  const subject = backup()
  subject.step(DIGEST_DIFFERS)
  assert.deepEqual(subject.step({ kind: 'convicted', report: 'page 7' }), ['send 1 yield !'])
  assert.deepEqual(subject.receive(1, { kind: 'yield', reason: 'page 9' }), [])
})

test('what a copy says of itself reaches the machine of the primary', () => {
  const evidence = Uint8Array.of(1, 2, 3)
  const sent = backup().member.step({ ...DIGEST_DIFFERS, evidence })
  const [message] = sent.flatMap((effect) => (effect.kind === 'send' ? [effect.message] : []))
  assert.deepEqual(message, { kind: 'diverged', index: 11n, report: 'x10', evidence })
  const effects = pair().member.step({ kind: 'message', channel: 2, message: message! })
  assert.deepEqual(effects.at(-1), { kind: 'explain', index: 11n, evidence })
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ExternalEvent, PORT } from '../../board/computer.ts'
import { ArrivedEvents, WAITING_FRAME_BYTES_MAX, WAITING_FRAMES_MAX } from './arrived_events.ts'

const frame = (length: number): ExternalEvent => ({
  kind: 'input',
  port: PORT.net,
  bytes: new Uint8Array(length),
})
const entropy: ExternalEvent = { kind: 'input', port: PORT.entropy, bytes: new Uint8Array(8) }
const done: ExternalEvent = { kind: 'completion', request: 1, status: 'ok' }

function kinds(events: readonly ExternalEvent[]): string[] {
  return events.map((event) => (event.kind === 'input' ? `${event.port}` : event.kind))
}

test('frames that wait are bounded in number and in bytes, and nothing else is lost', () => {
  const many = new ArrivedEvents()
  for (let i = 0; i < WAITING_FRAMES_MAX + 10; i++) many.add(frame(60))
  many.add(done)
  many.add(entropy)
  assert.equal(many.takeAll(Number.POSITIVE_INFINITY).length, WAITING_FRAMES_MAX + 2)
  const long = new ArrivedEvents()
  const fitting = Math.floor(WAITING_FRAME_BYTES_MAX / 64_000)
  for (let i = 0; i < fitting + 10; i++) long.add(frame(64_000))
  assert.equal(long.takeAll(5).length, 5)
  for (let i = 0; i < 10; i++) long.add(frame(64_000))
  assert.equal(long.takeAll(1 << 20).length, fitting, 'what was taken makes room')
})

test('frames wait for room in the guest; what it asked for does not', () => {
  const arrived = new ArrivedEvents()
  for (const event of [frame(60), frame(61), entropy, frame(62), done]) arrived.add(event)
  assert.ok(arrived.isEntropyComing && arrived.hasCompletions)
  assert.deepEqual(kinds(arrived.takeAll(0)), ['completion', `${PORT.entropy}`])
  assert.deepEqual(
    [arrived.hasAny(0), arrived.hasAny(1), arrived.isEntropyComing, arrived.hasCompletions],
    [false, true, false, false],
  )
  assert.equal(arrived.takeAll(2).length, 2)
  assert.equal(arrived.takeAll(2).length, 1)
  assert.equal(arrived.hasAny(2), false)
})

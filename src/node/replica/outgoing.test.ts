import assert from 'node:assert/strict'
import { duplexPair, PassThrough } from 'node:stream'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import type { Message } from '../../replication/message.ts'
import { MessageDecoder } from '../../replication/message_codec.ts'
import { Outgoing } from './outgoing.ts'

const PATIENT_MS = 20_000

const ack = (received: bigint, executed: bigint): Message => ({
  ...{ kind: 'ack', epoch: 1, incarnation: 'b' },
  ...{ received, executed },
})

/** What has come out of a stream so far, in a word each. */
function arrivals(stream: PassThrough): () => string[] {
  const decoder = new MessageDecoder('test')
  const words: string[] = []
  stream.on('data', (bytes: Uint8Array) => {
    decoder.push(bytes)
    for (let message = decoder.next(); message !== undefined; message = decoder.next())
      words.push(message.kind === 'ack' ? `ack ${message.received}/${message.executed}` : message.kind)
  })
  return () => words
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)))

test('messages keep their order, and the last of several acknowledgements stands for all', async () => {
  const stream = new PassThrough()
  const words = arrivals(stream)
  const outgoing = new Outgoing(stream, true)
  outgoing.send(ack(5n, 1n))
  outgoing.send(ack(6n, 2n))
  outgoing.send({ kind: 'configured', epoch: 2 })
  outgoing.send(ack(7n, 3n))
  await turn()
  assert.deepEqual(words(), ['ack 6/2', 'configured', 'ack 7/3'])
})

test('an acknowledgement of execution alone may wait, but goes with the next message', async () => {
  const stream = new PassThrough()
  const words = arrivals(stream)
  const outgoing = new Outgoing(stream, true)
  outgoing.send(ack(5n, 1n))
  await turn()
  outgoing.send(ack(5n, 4n))
  outgoing.send(ack(5n, 5n))
  outgoing.send({ kind: 'configured', epoch: 2 })
  await turn()
  assert.deepEqual(words(), ['ack 5/1', 'ack 5/5', 'configured'])
  outgoing.send(ack(5n, 6n))
  while (words().length < 4) await setTimeout(1)
  assert.equal(words()[3], 'ack 5/6')
})

test('where outputs wait for execution, its acknowledgements do not wait', async () => {
  const stream = new PassThrough()
  const words = arrivals(stream)
  const outgoing = new Outgoing(stream, false)
  outgoing.send(ack(5n, 1n))
  await turn()
  outgoing.send(ack(5n, 4n))
  await turn()
  assert.deepEqual(words(), ['ack 5/1', 'ack 5/4'])
})

test('what waits leaves before the end', async () => {
  const stream = new PassThrough()
  const words = arrivals(stream)
  const outgoing = new Outgoing(stream, true)
  outgoing.send({ kind: 'configured', epoch: 2 })
  outgoing.end()
  await turn()
  assert.deepEqual(words(), ['configured'])
  assert.equal(stream.writableEnded, true)
})

test('a peer that does not read what was sent last loses the channel all the same', async () => {
  const [near, far] = duplexPair()
  const outgoing = new Outgoing(near, true)
  // More than a stream takes while nobody reads at its other end.
  const bytes = new Uint8Array(1 << 20)
  outgoing.send({ kind: 'chunk', join: 1, number: 0, isLast: false, bytes })
  outgoing.end(20)
  for (const end = performance.now() + PATIENT_MS; !near.destroyed; ) {
    assert.ok(performance.now() < end, 'it is kept')
    await setTimeout(5)
  }
  assert.ok(!far.readableEnded)
})

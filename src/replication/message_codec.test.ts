import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { crc32c } from '../base/crc32c.ts'
import { FormatError } from '../base/errors.ts'
import { EXECUTION_STATES, type Message } from './message.ts'
import { encodeMessage, MESSAGE_HEADER_BYTES, MessageDecoder } from './message_codec.ts'

const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
const u32 = fc.nat(0xffff_ffff)
const port = fc.nat(0xffff)
const bytes = fc.uint8Array({ maxLength: 100 })
const text = fc.stringMatching(/^[ -~]{0,40}$/)
const name = fc.stringMatching(/^[!-~]{1,40}$/)
const optional = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined })
const flat = { noNullPrototype: true } as const
const member = fc.record({ host: name, incarnation: name, diskGeneration: name }, flat)
const resume = fc.record({ join: u32, nextChunk: u32, nextIndex: u64 }, flat)
const ordinals = fc.array(fc.record({ port, ordinal: u64 }, flat), { maxLength: 5 })

const kind = <K extends Message['kind']>(value: K) => fc.constant(value)
const messages: { [K in Message['kind']]: fc.Arbitrary<Extract<Message, { kind: K }>> } = {
  hello: fc.record({ kind: kind('hello'), machine: text, host: name, incarnation: name }, flat),
  join: fc.record(
    { kind: kind('join'), member, baseGeneration: optional(name), resume: optional(resume) },
    flat,
  ),
  joinStart: fc.record(
    {
      ...{ kind: kind('joinStart'), join: u32, epoch: u32, life: u32 },
      ...{ nextIndex: u64, position: u64, released: ordinals },
    },
    flat,
  ),
  pendingOutput: fc.record(
    { kind: kind('pendingOutput'), join: u32, port, ordinal: u64, index: u64, bytes },
    flat,
  ),
  chunk: fc.record({ kind: kind('chunk'), join: u32, number: u32, isLast: fc.boolean(), bytes }, flat),
  chunkAck: fc.record({ kind: kind('chunkAck'), join: u32, next: u32 }, flat),
  installed: fc.record({ kind: kind('installed'), join: u32 }, flat),
  follow: fc.record({ kind: kind('follow'), epoch: u32, nextIndex: u64 }, flat),
  refused: fc.record({ kind: kind('refused'), reason: text }, flat),
  batch: fc.record({ kind: kind('batch'), bytes }, flat),
  ack: fc.record({ kind: kind('ack'), epoch: u32, incarnation: text, received: u64, executed: u64 }, flat),
  heartbeat: fc.record(
    { kind: kind('heartbeat'), state: fc.constantFrom(...EXECUTION_STATES), position: u64 },
    flat,
  ),
  configured: fc.record({ kind: kind('configured'), epoch: u32 }, flat),
  diverged: fc.record(
    { kind: kind('diverged'), index: u64, report: text, evidence: fc.option(bytes, { nil: undefined }) },
    flat,
  ),
  yield: fc.record({ kind: kind('yield'), reason: text }, flat),
  confirm: fc.record({ kind: kind('confirm'), incarnation: text }, flat),
  confirmed: fc.record({ kind: kind('confirmed'), incarnation: text, isDead: fc.boolean() }, flat),
}
const message: fc.Arbitrary<Message> = fc.oneof(...(Object.values(messages) as fc.Arbitrary<Message>[]))

function decodeAll(pieces: readonly Uint8Array[]): Message[] {
  const decoder = new MessageDecoder('channel')
  const found: Message[] = []
  for (const piece of pieces) {
    decoder.push(piece)
    for (let next = decoder.next(); next !== undefined; next = decoder.next()) found.push(next)
  }
  return found
}

function concatenated(list: readonly Message[]): Uint8Array {
  return new Uint8Array(list.flatMap((one) => [...encodeMessage(one)]))
}

for (const [name, arbitrary] of Object.entries(messages)) {
  test(`a ${name} comes back as it was`, () => {
    fc.assert(
      fc.property(arbitrary as fc.Arbitrary<Message>, (sent) => {
        assert.deepEqual(decodeAll([encodeMessage(sent)]), [sent])
      }),
      { numRuns: 50 },
    )
  })
}

test('messages come out whole however the stream is cut', () => {
  fc.assert(
    fc.property(
      fc.array(message, { maxLength: 6 }),
      fc.array(fc.nat(60), { maxLength: 40 }),
      (sent, cuts) => {
        const stream = concatenated(sent)
        const pieces: Uint8Array[] = []
        let at = 0
        for (const cut of cuts) {
          pieces.push(stream.subarray(at, at + cut))
          at = Math.min(stream.length, at + cut)
        }
        pieces.push(stream.subarray(at))
        assert.deepEqual(decodeAll(pieces), sent)
      },
    ),
  )
})

test('every corrupted byte of a stream is refused, and nothing behind it is handed out', () => {
  const sent = fc.sample(fc.tuple(...Object.values(messages)), { numRuns: 1, seed: 11 })[0]! as Message[]
  const lengths = sent.map((one) => encodeMessage(one).length)
  const stream = concatenated(sent)
  for (let at = 0; at < stream.length; at++) {
    const damaged = new Uint8Array(stream)
    damaged[at]! ^= 1 << (at % 8)
    const decoder = new MessageDecoder('channel')
    decoder.push(damaged)
    const found: Message[] = []
    const takeAll = () => {
      for (let next = decoder.next(); next !== undefined; next = decoder.next()) found.push(next)
    }
    assert.throws(takeAll, FormatError, `byte ${at}`)
    let before = 0
    for (let end = lengths[0]!; end <= at; end += lengths[++before]!);
    assert.equal(found.length, before, `byte ${at}`)
    assert.throws(() => decoder.next(), FormatError)
  }
})

test('a stream that ends within a message gives nothing of it', () => {
  const whole = encodeMessage({ kind: 'ack', epoch: 3, incarnation: 'i', received: 9n, executed: 8n })
  for (let length = 0; length < whole.length; length++) {
    assert.deepEqual(decodeAll([whole.subarray(0, length)]), [])
  }
})

test("a length above the kind's limit is refused with the header, before anything is waited for", () => {
  const longest = encodeMessage({
    kind: 'chunk',
    join: 1,
    number: 0,
    isLast: true,
    bytes: new Uint8Array(9000),
  })
  // As long as a chunk may be, but called an acknowledgement; the header checksum is made right again.
  const header = new Uint8Array(longest.subarray(0, MESSAGE_HEADER_BYTES))
  header[6] = 11
  const { crc } = withChecksum(header)
  assert.throws(() => decodeAll([crc]), /channel: byte 8: a message 'ack' of 9\d+ bytes/)
})

test('a name that could not stand in a configuration is refused on arrival', () => {
  const hello = { kind: 'hello', machine: 'm', host: 'two words', incarnation: 'i' } as const
  assert.throws(() => decodeAll([encodeMessage(hello)]), /a name that cannot be one/)
})

test('a message of another version is refused with both versions', () => {
  const header = new Uint8Array(encodeMessage({ kind: 'configured', epoch: 1 }))
  header[4] = 9
  assert.throws(() => decodeAll([withChecksum(header).crc]), /version 9, this program speaks 2/)
})

function withChecksum(bytes: Uint8Array): { crc: Uint8Array } {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  view.setUint32(MESSAGE_HEADER_BYTES - 4, crc32c(bytes.subarray(0, MESSAGE_HEADER_BYTES - 4)), true)
  return { crc: bytes }
}

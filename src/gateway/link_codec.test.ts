import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { FormatError } from '../base/errors.ts'
import { Random } from '../base/prng.ts'
import { encodeFrame } from '../host/frame_stream.ts'
import { decodeLink, encodeLink, LINK_BYTES_MAX, type LinkMessage, linkDecoder } from './link_codec.ts'

const u32 = fc.nat(0xffff_ffff)
const ordinal = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
const port = fc.nat(63)
const bytes = fc.uint8Array({ maxLength: 100 })
const text = fc.stringMatching(/^[ -~]{0,40}$/)
const flat = { noNullPrototype: true } as const
const kind = <K extends LinkMessage['kind']>(value: K) => fc.constant(value)
const messages: { [K in LinkMessage['kind']]: fc.Arbitrary<Extract<LinkMessage, { kind: K }>> } = {
  hello: fc.record({ kind: kind('hello'), epoch: u32, life: u32, machine: text }, flat),
  output: fc.record({ kind: kind('output'), port, ordinal, bytes }, flat),
  hold: fc.record({ kind: kind('hold'), isHeld: fc.boolean() }, flat),
  welcome: fc.record(
    { kind: kind('welcome'), left: fc.array(fc.record({ port, ordinal }, flat), { maxLength: 64 }) },
    flat,
  ),
  refused: fc.record({ kind: kind('refused'), reason: text }, flat),
  left: fc.record({ kind: kind('left'), port, ordinal }, flat),
  input: fc.record({ kind: kind('input'), port, bytes }, flat),
}
const message: fc.Arbitrary<LinkMessage> = fc.oneof(
  ...(Object.values(messages) as fc.Arbitrary<LinkMessage>[]),
)

function decodeAll(stream: Uint8Array, random = new Random(1)): LinkMessage[] {
  const decoder = linkDecoder('link')
  const found: LinkMessage[] = []
  for (let at = 0; at < stream.length; ) {
    const end = at + random.between(1, 60)
    decoder.push(stream.subarray(at, end))
    at = end
    for (let frame = decoder.next(); frame !== undefined; frame = decoder.next())
      found.push(decodeLink(frame))
  }
  return found
}

test('messages come back as they were, however the stream is cut', () => {
  fc.assert(
    fc.property(fc.array(message, { maxLength: 6 }), fc.nat(), (sent, seed) => {
      assert.deepEqual(decodeAll(Buffer.concat(sent.map(encodeLink)), new Random(seed)), sent)
    }),
    { numRuns: 300 },
  )
})

test('a message that is cut short or goes on is refused', () => {
  fc.assert(
    fc.property(message, (sent) => {
      const content = encodeLink(sent).subarray(5)
      const code = encodeLink(sent)[4]!
      const isOpen = sent.kind === 'output' || sent.kind === 'input'
      if (!isOpen) {
        assert.throws(() => decodeAll(encodeFrame(code, content, new Uint8Array(1))), FormatError)
      }
      const fixed = isOpen ? 2 : content.length
      for (let length = 0; length < fixed; length++) {
        assert.throws(() => decodeAll(encodeFrame(code, content.subarray(0, length))), FormatError)
      }
    }),
  )
})

test('random bytes are a FormatError or wait for more', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (random, isFramed) => {
      try {
        decodeAll(isFramed ? encodeFrame((random[0] ?? 1) % 9, random.subarray(1)) : random)
      } catch (error) {
        assert.ok(error instanceof FormatError, String(error))
      }
    }),
    { numRuns: 1000 },
  )
})

test('the longest piece fits, and a frame that is longer than any is refused by its length', () => {
  const longest = { kind: 'output', port: 2, ordinal: 1n, bytes: new Uint8Array(LINK_BYTES_MAX) } as const
  assert.deepEqual(decodeAll(encodeLink(longest)), [longest])
  const decoder = linkDecoder('link')
  decoder.push(Uint8Array.from([12, 0, 1, 0]))
  assert.throws(() => decoder.next(), /link: byte 0: a frame of 65548 bytes/)
  // As long as an output may be, but of a kind that is short.
  assert.throws(() => decodeAll(encodeFrame(6, new Uint8Array(5000))), /a message 'left' of 5000 bytes/)
})

test('a hello of another version is refused with both versions, whatever else it says', () => {
  const hello = encodeLink({ kind: 'hello', epoch: 1, life: 1, machine: 'm' })
  hello[9] = 9
  assert.throws(() => decodeAll(hello.subarray(0, hello.length)), /version 9, this program speaks 1/)
})

test('a port that no machine has is refused', () => {
  const left = encodeLink({ kind: 'left', port: 64, ordinal: 1n })
  assert.throws(() => decodeAll(left), /port 64/)
})

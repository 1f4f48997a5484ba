import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { FormatError } from '../../src/base/errors.ts'
import { encodeCommand, REPLY_BYTES_MAX, RedisError, type Reply, ReplyParser } from './resp.ts'

function encode(reply: Reply): string {
  if (reply === null) return '$-1\r\n'
  if (typeof reply === 'number') return `:${reply}\r\n`
  if (typeof reply === 'string') return `$${Buffer.byteLength(reply)}\r\n${reply}\r\n`
  if (reply instanceof RedisError) return `-${reply.message}\r\n`
  return `*${reply.length}\r\n${reply.map(encode).join('')}`
}

const simple: fc.Arbitrary<Reply> = fc.oneof(
  fc.constant(null),
  fc.integer({ min: -1, max: 10 ** 9 }),
  fc.string({ unit: 'grapheme', maxLength: 20 }),
  fc.constantFrom('', '\r\n', '$3\r\n', '*').map((text) => text),
)
const reply: fc.Arbitrary<Reply> = fc.oneof(simple, fc.array(fc.oneof(simple, fc.array(simple))))

test('replies come out as they went in, however the stream is cut', () => {
  fc.assert(
    fc.property(fc.array(reply, { maxLength: 5 }), fc.array(fc.nat(), { maxLength: 8 }), (replies, cuts) => {
      const bytes = Buffer.from(replies.map(encode).join(''))
      const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b)
      const parser = new ReplyParser()
      const found = places.slice(1).flatMap((end, i) => parser.push(bytes.subarray(places[i], end)))
      assert.deepEqual(found, replies)
      assert.equal(parser.pendingBytes, 0)
    }),
  )
})

test('an error that the server answers with is an answer', () => {
  const [found] = new ReplyParser().push(Buffer.from('-ERR no such thing\r\n'))
  assert.ok(found instanceof RedisError)
  assert.equal(found.message, 'ERR no such thing')
  assert.deepEqual(new ReplyParser().push(Buffer.from('+OK\r\n*-1\r\n')), ['OK', null])
})

test('what is no reply is refused, before anything of its size is kept', () => {
  const wrong = [
    ...['hello\r\n', ':1x\r\n', ':\r\n', '+OK\n', '\n', '$3\r\nabcd\r\n', '$-2\r\n', '*-7\r\n'],
    ...[`$${REPLY_BYTES_MAX + 1}\r\n`, `*${REPLY_BYTES_MAX + 1}\r\n`, '*1\r\n'.repeat(6)],
  ]
  for (const text of wrong) {
    assert.throws(() => new ReplyParser().push(Buffer.from(text)), FormatError, JSON.stringify(text))
  }
  assert.throws(() => new ReplyParser().push(Buffer.alloc(REPLY_BYTES_MAX + 1, '+')), FormatError)
})

test('any bytes are replies, an unfinished one, or refused', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      try {
        new ReplyParser().push(bytes)
      } catch (error) {
        assert.ok(error instanceof FormatError)
      }
    }),
  )
})

test('a command is an array of strings whose lengths are in bytes', () => {
  assert.equal(encodeCommand(['GET', 'é']).toString(), '*2\r\n$3\r\nGET\r\n$2\r\né\r\n')
})

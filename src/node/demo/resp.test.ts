import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { FormatError } from '../../base/errors.ts'
import { encodeCommand, RedisError, type Reply, ReplyDecoder } from './resp.ts'

function encode(reply: Reply): string {
  if (reply === null) return '$-1\r\n'
  if (typeof reply === 'number') return `:${reply}\r\n`
  if (typeof reply === 'string') return `$${Buffer.byteLength(reply)}\r\n${reply}\r\n`
  if (reply instanceof RedisError) return `-${reply.message}\r\n`
  return `*${reply.length}\r\n${reply.map(encode).join('')}`
}

const leaf = fc.oneof(fc.string({ unit: 'binary' }), fc.nat(), fc.constant(null))
const reply: fc.Arbitrary<Reply> = fc.oneof(leaf, fc.array(fc.oneof(leaf, fc.array(leaf))))

function decodeAll(bytes: Uint8Array, step: number): Reply[] {
  const decoder = new ReplyDecoder()
  const replies: Reply[] = []
  for (let at = 0; at < bytes.length; at += step) {
    decoder.push(bytes.subarray(at, at + step))
    for (let next = decoder.next(); next !== undefined; next = decoder.next()) replies.push(next)
  }
  return replies
}

const refuses = (text: string): void => {
  assert.throws(() => decodeAll(Buffer.from(text), 1 << 20), FormatError, JSON.stringify(text.slice(0, 40)))
}

describe('RESP', () => {
  it('gives back every reply, however its bytes come in pieces', () => {
    fc.assert(
      fc.property(fc.array(reply, { maxLength: 4 }), fc.integer({ min: 1, max: 64 }), (replies, step) => {
        assert.deepEqual(decodeAll(Buffer.from(replies.map(encode).join('')), step), replies)
      }),
    )
  })

  it('tells errors, simple strings and nothing apart', () => {
    const bytes = Buffer.from('+PONG\r\n-LOADING wait\r\n$-1\r\n*-1\r\n$0\r\n\r\n')
    assert.deepEqual(decodeAll(bytes, 3), ['PONG', new RedisError('LOADING wait'), null, null, ''])
  })

  it('refuses whatever is no reply, with a FormatError and nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 1, max: 50 }), (bytes, step) => {
        try {
          decodeAll(bytes, step)
        } catch (error) {
          assert.ok(error instanceof FormatError, String(error))
        }
      }),
    )
    for (const text of ['HTTP/1.1 400\r\n', ':1.5\r\n', ':\r\n', '$-2\r\n', '$3\r\nabcd\r\n', '\r\n'])
      refuses(text)
  })

  it('refuses lengths above its limits before it waits for what they promise', () => {
    refuses('$1048577\r\n')
    refuses('*4097\r\n')
    refuses(`+${'x'.repeat(5000)}`)
    refuses('*1\r\n'.repeat(6))
    const decoder = new ReplyDecoder()
    decoder.push(Buffer.from('*4096\r\n'))
    const megabyte = Buffer.from(`$1000000\r\n${'x'.repeat(1_000_000)}\r\n`)
    assert.throws(() => {
      for (let i = 0; i < 8; i++) decoder.push(megabyte)
    }, FormatError)
  })

  it('sends commands with the lengths of their bytes', () => {
    assert.equal(encodeCommand(['SET', 'ö', '']).toString(), '*3\r\n$3\r\nSET\r\n$2\r\nö\r\n$0\r\n\r\n')
  })
})

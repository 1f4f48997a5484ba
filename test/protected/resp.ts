/**
 * The answers of Redis, RESP2, out of a stream of bytes that is cut anywhere. Sizes are checked before anything is kept:
 * the service under test may be the one that has gone wrong.
 *
 *     +OK\r\n   -ERR text\r\n   :12\r\n   $3\r\nabc\r\n   $-1\r\n   *2\r\n<reply><reply>   *-1\r\n
 */
import { FormatError } from '../../src/base/errors.ts'

/** An error that the server answered with. It is an answer: the connection is good. */
export class RedisError extends Error {
  override readonly name = 'RedisError'
}

export type Reply = string | number | null | RedisError | readonly Reply[]

export const REPLY_BYTES_MAX = 2 ** 24
const DEPTH_MAX = 4
const COUNT_DIGITS = /^-?[0-9]{1,15}$/
const CR = 13
const LF = 10

interface Parsed<T> {
  readonly value: T
  readonly end: number
}

export class ReplyParser {
  #bytes = Buffer.alloc(0)
  /** No whole reply can be there with fewer bytes: saves parsing a long one again with each piece. */
  #bytesMin = 0

  /** How many bytes wait for the rest of their reply. */
  get pendingBytes(): number {
    return this.#bytes.length
  }

  /** Takes what has arrived, and gives the replies that are complete. Throws a FormatError for what is no reply. */
  push(bytes: Uint8Array): Reply[] {
    this.#bytes = Buffer.concat([this.#bytes, bytes])
    const replies: Reply[] = []
    while (this.#bytes.length > 0 && this.#bytes.length >= this.#bytesMin) {
      this.#bytesMin = 0
      const parsed = this.#reply(0, 0)
      if (parsed === undefined) break
      replies.push(parsed.value)
      this.#bytes = this.#bytes.subarray(parsed.end)
    }
    if (this.#bytes.length > REPLY_BYTES_MAX) {
      throw new FormatError(`a reply of more than ${REPLY_BYTES_MAX} bytes`)
    }
    return replies
  }

  #reply(start: number, depth: number): Parsed<Reply> | undefined {
    const line = this.#line(start)
    if (line === undefined) return undefined
    const { value: text, end } = line
    const rest = text.slice(1)
    switch (text[0]) {
      case '+':
        return { value: rest, end }
      case '-':
        return { value: new RedisError(rest), end }
      case ':':
        return { value: count(rest), end }
      case '$':
        return this.#bulk(count(rest), end)
      case '*':
        return this.#array(count(rest), end, depth)
      default:
        throw new FormatError(`a reply begins with ${JSON.stringify(text.slice(0, 20))}`)
    }
  }

  #line(start: number): Parsed<string> | undefined {
    const at = this.#bytes.indexOf(LF, start)
    if (at < 0) return undefined
    if (at === start || this.#bytes[at - 1] !== CR) throw new FormatError('a line without its CR')
    return { value: this.#bytes.toString('latin1', start, at - 1), end: at + 1 }
  }

  #bulk(length: number, start: number): Parsed<Reply> | undefined {
    if (length === -1) return { value: null, end: start }
    requireSize(length)
    const end = start + length
    if (this.#bytes.length < end + 2) {
      this.#bytesMin = end + 2
      return undefined
    }
    if (this.#bytes[end] !== CR || this.#bytes[end + 1] !== LF)
      throw new FormatError('a string is longer than it says')
    return { value: this.#bytes.toString('utf8', start, end), end: end + 2 }
  }

  #array(length: number, start: number, depth: number): Parsed<Reply> | undefined {
    if (length === -1) return { value: null, end: start }
    requireSize(length)
    if (depth >= DEPTH_MAX) throw new FormatError(`arrays in arrays, more than ${DEPTH_MAX} deep`)
    const value: Reply[] = []
    let end = start
    for (let i = 0; i < length; i++) {
      const element = this.#reply(end, depth + 1)
      if (element === undefined) return undefined
      value.push(element.value)
      end = element.end
    }
    return { value, end }
  }
}

function count(text: string): number {
  if (!COUNT_DIGITS.test(text)) throw new FormatError(`${JSON.stringify(text.slice(0, 20))} is no number`)
  return Number(text)
}

function requireSize(length: number): void {
  if (length < 0 || length > REPLY_BYTES_MAX) throw new FormatError(`a length of ${length}`)
}

/** A command as the server reads it. */
export function encodeCommand(words: readonly string[]): Buffer {
  const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`)
  return Buffer.from(`*${words.length}\r\n${parts.join('')}`)
}

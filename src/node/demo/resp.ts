/**
 * The protocol of Redis (RESP2), as much of it as the demo's client needs. What answers is a guest, which is not
 * trusted: lengths are checked before anything is kept.
 *
 *     +text\r\n    -error\r\n    :number\r\n    $length\r\nbytes\r\n    *count\r\nreply reply ...
 */
import { FormatError } from '../../base/errors.ts'

/** An error that the server reports in place of an answer. */
export class RedisError {
  readonly message: string

  constructor(message: string) {
    this.message = message
  }
}

export type Reply = string | number | null | RedisError | readonly Reply[]

const LINE_BYTES_MAX = 4096
const BULK_BYTES_MAX = 1 << 20
const ITEMS_MAX = 4096
const DEPTH_MAX = 4
/** Longer answers are to no question of ours. */
const REPLY_BYTES_MAX = 4 << 20

/** A command with its arguments, as the server wants them. */
export function encodeCommand(words: readonly string[]): Buffer {
  const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`)
  return Buffer.from(`*${words.length}\r\n${parts.join('')}`)
}

/** Makes replies of the bytes that come. */
export class ReplyDecoder {
  #bytes: Buffer = Buffer.alloc(0)

  /** Throws a FormatError if more has come than any answer has. */
  push(bytes: Uint8Array): void {
    if (this.#bytes.length + bytes.length > REPLY_BYTES_MAX)
      throw new FormatError(`an answer of more than ${REPLY_BYTES_MAX} bytes`)
    this.#bytes = Buffer.concat([this.#bytes, bytes])
  }

  /** The next whole reply; undefined if there is none so far. Throws a FormatError if it is none. */
  next(): Reply | undefined {
    const parsed = parse(this.#bytes, 0, 0)
    if (parsed === undefined) return undefined
    this.#bytes = this.#bytes.subarray(parsed.end)
    return parsed.reply
  }
}

interface Parsed {
  readonly reply: Reply
  readonly end: number
}

function parse(bytes: Buffer, start: number, depth: number): Parsed | undefined {
  const lineEnd = bytes.indexOf('\r\n', start, 'latin1')
  const lineBytes = (lineEnd < 0 ? bytes.length : lineEnd) - start
  if (lineBytes > LINE_BYTES_MAX) throw new FormatError(`a line of more than ${LINE_BYTES_MAX} bytes`)
  if (lineEnd < 0) return undefined
  const kind = String.fromCharCode(bytes[start]!)
  const text = bytes.toString('utf8', start + 1, lineEnd)
  const end = lineEnd + 2
  switch (kind) {
    case '+':
      return { reply: text, end }
    case '-':
      return { reply: new RedisError(text), end }
    case ':':
      return { reply: whole(text, Number.MAX_SAFE_INTEGER), end }
    case '$':
      return parseBulk(bytes, end, whole(text, BULK_BYTES_MAX))
    case '*':
      return parseArray(bytes, end, whole(text, ITEMS_MAX), depth)
    default:
      throw new FormatError(`a reply that begins with byte ${bytes[start]}`)
  }
}

function parseBulk(bytes: Buffer, start: number, length: number): Parsed | undefined {
  if (length === -1) return { reply: null, end: start }
  const end = start + length
  if (bytes.length < end + 2) return undefined
  if (bytes.toString('latin1', end, end + 2) !== '\r\n') throw new FormatError('a string longer than it says')
  return { reply: bytes.toString('utf8', start, end), end: end + 2 }
}

function parseArray(bytes: Buffer, start: number, count: number, depth: number): Parsed | undefined {
  if (count === -1) return { reply: null, end: start }
  if (depth === DEPTH_MAX) throw new FormatError('arrays within arrays')
  const items: Reply[] = []
  let end = start
  while (items.length < count) {
    const parsed = parse(bytes, end, depth + 1)
    if (parsed === undefined) return undefined
    items.push(parsed.reply)
    end = parsed.end
  }
  return { reply: items, end }
}

/** -1 stands for nothing at all. */
function whole(text: string, max: number): number {
  const value = Number(text)
  if (/^-?\d{1,16}$/.test(text) && value >= -1 && value <= max) return value
  throw new FormatError(`'${text.slice(0, 20)}' is not a whole number from -1 to ${max}`)
}

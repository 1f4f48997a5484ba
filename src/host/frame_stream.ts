/**
 * Frames of a byte stream: a length (u32, little-endian), then a kind (u8) and its content, as many bytes together as
 * the length says. A length that cannot be is refused before anything is waited for.
 */
import type { Duplex } from 'node:stream'
import { assert } from '../base/assert.ts'
import { ByteQueue, ByteReader } from '../base/bytes.ts'
import { FormatError } from '../base/errors.ts'

const LENGTH_BYTES = 4
const KIND_BYTES = 1
export const FRAME_HEADER_BYTES = LENGTH_BYTES + KIND_BYTES

/** A frame with the content in `parts`, one behind the other. */
export function encodeFrame(kind: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, KIND_BYTES)
  // From Node's pool: memory of its own, and zeroed, would cost more than all the rest.
  const frame = Buffer.allocUnsafe(LENGTH_BYTES + length)
  frame.writeUInt32LE(length, 0)
  frame[LENGTH_BYTES] = kind
  let at = FRAME_HEADER_BYTES
  for (const part of parts) {
    frame.set(part, at)
    at += part.length
  }
  return frame
}

export interface Frame {
  readonly kind: number
  /** Its content, from the beginning. The bytes are valid until the next push. */
  readonly reader: ByteReader
}

/** Takes bytes in arbitrary pieces: `push` what arrives, then call `next` until it has none. */
export class FrameDecoder {
  readonly #what: string
  readonly #contentBytesMax: number
  readonly #queue = new ByteQueue()

  /** `what` names the stream in errors. */
  constructor(what: string, contentBytesMax: number) {
    this.#what = what
    this.#contentBytesMax = contentBytesMax
  }

  push(bytes: Uint8Array): void {
    this.#queue.push(bytes)
  }

  /**
   * The next whole frame, or undefined until more has arrived.
   * @throws FormatError if its length cannot be; the stream is good for nothing then
   */
  next(): Frame | undefined {
    const head = this.#queue.peek(LENGTH_BYTES)
    if (head === undefined) return undefined
    const offset = this.#queue.offset
    const length = new ByteReader(head, this.#what, offset).u32()
    if (length < KIND_BYTES || length > KIND_BYTES + this.#contentBytesMax) {
      throw new FormatError(`${this.#what}: byte ${offset}: a frame of ${length} bytes`)
    }
    const whole = this.#queue.peek(LENGTH_BYTES + length)
    if (whole === undefined) return undefined
    const content = whole.subarray(FRAME_HEADER_BYTES)
    this.#queue.skip(whole.length)
    const reader = new ByteReader(content, this.#what, offset + FRAME_HEADER_BYTES)
    return { kind: whole[LENGTH_BYTES]!, reader }
  }
}

/** What happens to a stream of frames. */
export interface FrameEvents {
  /** May throw a FormatError: nothing more is read then. */
  onFrame(frame: Frame): void
  /** Called once, with one line, when the stream has been destroyed; `isFault`: for what the other side sent. */
  onClose(reason: string, isFault: boolean): void
}

/** How long a last word may take to arrive. */
const FINISH_MS = 2000

/** Reads frames from a stream until it closes, or until they are none. */
export class FrameReader {
  readonly #stream: Duplex
  readonly #decoder: FrameDecoder
  readonly #events: FrameEvents
  #isOver = false

  constructor(stream: Duplex, decoder: FrameDecoder, events: FrameEvents) {
    this.#stream = stream
    this.#decoder = decoder
    this.#events = events
    stream.on('error', () => {})
    stream.on('data', (bytes: Uint8Array) => this.#onData(bytes))
    // A stream whose other half stays open would never close by itself.
    stream.on('end', () => this.#onEnd())
    stream.on('close', () => this.close('the connection broke'))
  }

  /** Ends it at once, for this reason. */
  close(reason: string, isFault = false): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#stream.destroy()
    this.#events.onClose(reason, isFault)
  }

  /** Says a last thing, and ends it with no call of `onClose`; the other side has a while to take it. */
  finish(last: Uint8Array): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#stream.end(last)
    const timer = setTimeout(() => this.#stream.destroy(), FINISH_MS)
    this.#stream.on('close', () => clearTimeout(timer))
  }

  /** Ends it at once, with no call of `onClose`. */
  stop(): void {
    this.#isOver = true
    this.#stream.destroy()
  }

  #onEnd(): void {
    if (this.#isOver) this.#stream.destroy()
    else this.close('closed by the other side')
  }

  #onData(bytes: Uint8Array): void {
    assert(bytes instanceof Uint8Array, 'a stream that has been told to give text')
    if (this.#isOver) return
    try {
      this.#decoder.push(bytes)
      for (;;) {
        // A frame may have ended it.
        const frame = this.#isOver ? undefined : this.#decoder.next()
        if (frame === undefined) return
        this.#events.onFrame(frame)
      }
    } catch (error) {
      if (!(error instanceof FormatError)) throw error
      this.close(error.message, true)
    }
  }
}

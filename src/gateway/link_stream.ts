/**
 * One end of a link: messages in, messages out. What is sent within one turn of the event loop leaves together, at the
 * turn's end: a busy guest's frames become few system calls and few TLS records, and none waits for a timer.
 */
import type { Duplex } from 'node:stream'
import { FrameReader } from '../host/frame_stream.ts'
import { decodeLink, encodeLink, type LinkMessage, linkDecoder } from './link_codec.ts'

export interface LinkStreamEvents {
  /** May throw a FormatError: the link ends then. */
  onMessage(message: LinkMessage): void
  /** Called once, with one line; `isFault`: for what the other side sent. */
  onClose(reason: string, isFault: boolean): void
}

/** More than this in one turn leaves before its end. */
const CORKED_BYTES_MAX = 256 << 10

export class LinkStream {
  readonly #stream: Duplex
  readonly #reader: FrameReader
  #isCorked = false

  constructor(stream: Duplex, what: string, events: LinkStreamEvents) {
    this.#stream = stream
    this.#reader = new FrameReader(stream, linkDecoder(what), {
      onFrame: (frame) => events.onMessage(decodeLink(frame)),
      onClose: (reason, isFault) => events.onClose(reason, isFault),
    })
  }

  /** Bytes that wait to be sent. */
  get unsentBytes(): number {
    return this.#stream.writableLength
  }

  /** Calls back each time that everything has been sent after there was too much. */
  onDrained(call: () => void): void {
    this.#stream.on('drain', call)
  }

  /** Sends at the end of the turn. */
  send(message: LinkMessage): void {
    if (this.#stream.destroyed) return
    if (!this.#isCorked) {
      this.#isCorked = true
      this.#stream.cork()
      setImmediate(() => this.#uncork())
    }
    this.#stream.write(encodeLink(message))
    if (this.#stream.writableLength > CORKED_BYTES_MAX) this.#flush()
  }

  /** Ends it at once, for this reason, as if it had broken. */
  close(reason: string, isFault = false): void {
    this.#reader.close(reason, isFault)
  }

  /** Ends it at once, and says nothing. */
  stop(): void {
    this.#reader.stop()
  }

  /** Says why, and ends it without a call of `onClose`. */
  refuse(reason: string): void {
    this.#uncork()
    this.#reader.finish(encodeLink({ kind: 'refused', reason }))
  }

  #uncork(): void {
    if (!this.#isCorked) return
    this.#isCorked = false
    this.#stream.uncork()
  }

  #flush(): void {
    this.#stream.uncork()
    this.#stream.cork()
  }
}

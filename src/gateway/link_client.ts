/**
 * The primary's end of the gateway link: outputs go out, and what has left and what comes in is told.
 *
 *     waiting ──hello──> saying hello ──welcome──> up ──> down
 *        └── broken ──> down  └── refused, broken, or nothing within helloMs ──> down
 *
 * A backup's end waits, so that the link is there when the backup becomes the primary.
 *
 * The link carries what it can and repeats nothing. Outputs put while it is not up are dropped: the gate keeps each one
 * until it is known to have left, and releases it anew when a link comes up (src/replication/output_link.ts). Inputs are
 * frames of a network, and may be lost.
 */
import type { Duplex } from 'node:stream'
import { assert } from '../base/assert.ts'
import { FormatError } from '../base/errors.ts'
import { printable } from '../host/secure_notices.ts'
import type { PortOrdinal } from '../replication/message.ts'
import { LINK_BYTES_MAX, type LinkMessage } from './link_codec.ts'
import { FRAME_PORTS } from './link_ports.ts'
import { LinkStream } from './link_stream.ts'

/** Which machine's primary this is, by which configuration, and in which life. */
export interface LinkIdentity {
  readonly machine: string
  readonly epoch: number
  readonly life: number
}

export interface LinkClientEvents {
  /** The gateway lets this primary put out; `left` is what has left already in this life. */
  onUp(left: readonly PortOrdinal[]): void
  /** All outputs of the port up to and including `ordinal` have left. */
  onLeft(port: number, ordinal: bigint): void
  onInput(port: number, bytes: Uint8Array): void
  /** Called once, with one line, unless `close` came first. Nothing is told after it. */
  onDown(reason: string): void
}

export interface LinkOutput {
  readonly port: number
  readonly ordinal: bigint
  readonly bytes: Uint8Array
}

const HELLO_MS = 5000
/** Of inputs that were on their way when they were to be held; the gateway sends no more then. */
const HELD_BYTES_MAX = 8 << 20

export class LinkClient {
  readonly #link: LinkStream
  readonly #events: LinkClientEvents
  readonly #helloMs: number
  #timer: NodeJS.Timeout | undefined
  #state: 'waiting' | 'hello' | 'up' | 'down' = 'waiting'
  #isHeld = false
  #held: { readonly port: number; readonly bytes: Uint8Array }[] = []
  #heldBytes = 0
  #droppedInputs = 0

  constructor(stream: Duplex, events: LinkClientEvents, helloMs = HELLO_MS) {
    this.#events = events
    this.#helloMs = helloMs
    this.#link = new LinkStream(stream, 'gateway link', {
      onMessage: (message) => this.#onMessage(message),
      onClose: (reason) => this.#onDown(reason),
    })
  }

  /** Asks to be the primary that the gateway puts out for. Once. */
  hello(identity: LinkIdentity): void {
    if (this.#state === 'down') return
    assert(this.#state === 'waiting', 'a second hello')
    this.#state = 'hello'
    this.#link.send({ kind: 'hello', ...identity })
    const ms = this.#helloMs
    this.#timer = setTimeout(() => this.#link.close(`no welcome within ${ms} ms`), ms)
  }

  get isUp(): boolean {
    return this.#state === 'up'
  }

  /** Inputs that were lost because they were held for too long. */
  get droppedInputs(): number {
    return this.#droppedInputs
  }

  /** Sends an output; see above for what becomes of it. Frames are at most LINK_BYTES_MAX long. */
  put({ port, ordinal, bytes }: LinkOutput): void {
    if (this.#state !== 'up') return
    if (FRAME_PORTS.has(port)) {
      assert(bytes.length <= LINK_BYTES_MAX, () => `a frame of ${bytes.length} bytes`)
      return this.#link.send({ kind: 'output', port, ordinal, bytes })
    }
    const start = ordinal - BigInt(bytes.length)
    for (let at = 0; at < bytes.length; at += LINK_BYTES_MAX) {
      const piece = bytes.subarray(at, at + LINK_BYTES_MAX)
      this.#link.send({ kind: 'output', port, ordinal: start + BigInt(at + piece.length), bytes: piece })
    }
  }

  /**
   * Whether inputs have to wait. The gateway is told; what is on its way is kept here. The stream is read all the same:
   * what has left must be known, since it may be what makes room for the inputs.
   */
  holdInput(isHeld: boolean): void {
    if (isHeld === this.#isHeld || this.#state === 'down') return
    this.#isHeld = isHeld
    if (this.#state === 'up') this.#link.send({ kind: 'hold', isHeld })
    this.#deliver()
  }

  /** Ends the link; nothing more is told. Outputs of this turn do not leave any more. */
  close(): void {
    clearTimeout(this.#timer)
    this.#state = 'down'
    this.#link.stop()
  }

  #onMessage(message: LinkMessage): void {
    if (this.#state === 'waiting' || this.#state === 'hello') {
      if (this.#state === 'hello' && message.kind === 'welcome') return this.#onWelcome(message.left)
      if (message.kind !== 'refused')
        throw new FormatError(`gateway link: '${message.kind}' before a welcome`)
    }
    switch (message.kind) {
      case 'refused':
        return this.#link.close(`refused: ${message.reason}`)
      case 'left':
        return this.#events.onLeft(message.port, message.ordinal)
      case 'input':
        return this.#onInput(message.port, message.bytes)
      default:
        throw new FormatError(`gateway link: unexpected message '${message.kind}'`)
    }
  }

  #onWelcome(left: readonly PortOrdinal[]): void {
    clearTimeout(this.#timer)
    this.#state = 'up'
    if (this.#isHeld) this.#link.send({ kind: 'hold', isHeld: true })
    this.#events.onUp(left)
  }

  #onInput(port: number, bytes: Uint8Array): void {
    if (!this.#isHeld) return this.#events.onInput(port, bytes)
    if (this.#heldBytes + bytes.length > HELD_BYTES_MAX) {
      this.#droppedInputs++
      return
    }
    this.#held.push({ port, bytes })
    this.#heldBytes += bytes.length
  }

  /** Hands out what was held, until it is held again. */
  #deliver(): void {
    let count = 0
    while (!this.#isHeld && this.isUp && count < this.#held.length) {
      const { port, bytes } = this.#held[count++]!
      this.#heldBytes -= bytes.length
      this.#events.onInput(port, bytes)
    }
    this.#held.splice(0, count)
  }

  #onDown(reason: string): void {
    if (this.#state === 'down') return
    clearTimeout(this.#timer)
    this.#state = 'down'
    this.#events.onDown(printable(reason))
  }
}

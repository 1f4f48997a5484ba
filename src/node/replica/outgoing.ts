/**
 * Messages on their way out of one channel. What is sent within one turn of the event loop leaves as one write, since
 * each write costs a system call and a record of TLS.
 *
 * Nothing overtakes here (duty 6 of replication/ports.ts): acknowledgements flow against the data, and signs of life have
 * channels of their own (host/heartbeat.ts); what else is urgent may wait behind the chunks of a join.
 *
 * An acknowledgement that only says how far the machine has executed may wait a little for company, unless outputs wait
 * for that; a newer acknowledgement takes an older one's place.
 */
import type { Duplex } from 'node:stream'
import type { Ack, Message } from '../../replication/message.ts'
import { encodeMessage } from '../../replication/message_codec.ts'

/** How long what was sent last may take to leave: a peer that does not read keeps no socket for ever. */
const END_MS = 5000
/** How long an acknowledgement of execution alone may wait. */
const LAZY_MS = 4

export class Outgoing {
  readonly #stream: Duplex
  readonly #isLazy: boolean
  #waiting: Message[] = []
  #isScheduled = false
  #timer: NodeJS.Timeout | undefined
  /** What was acknowledged last as received. */
  #received = -1n

  /** `isLazy`: nothing waits for what the other side has executed. */
  constructor(stream: Duplex, isLazy: boolean) {
    this.#stream = stream
    this.#isLazy = isLazy
  }

  send(message: Message): void {
    if (message.kind !== 'ack') {
      this.#waiting.push(message)
      return this.#schedule()
    }
    this.#replaceAck(message)
    if (this.#isLazy && message.received === this.#received) {
      this.#timer ??= setTimeout(() => this.#flush(), LAZY_MS)
      return
    }
    this.#received = message.received
    // Outputs wait for this one: it leaves before whatever else there is to do in this turn.
    process.nextTick(() => this.#flush())
  }

  /** Sends what waits, then ends the stream; after `endMs` it is over, whatever the other side does. */
  end(endMs = END_MS): void {
    this.#flush()
    const stream = this.#stream
    if (stream.destroyed) return
    stream.end()
    const timer = setTimeout(() => stream.destroy(), endMs)
    stream.once('close', () => clearTimeout(timer))
  }

  /** Only the last of several acknowledgements in a row says anything. */
  #replaceAck(message: Ack): void {
    const last = this.#waiting.at(-1)
    if (last?.kind === 'ack' && last.epoch === message.epoch) this.#waiting.pop()
    this.#waiting.push(message)
  }

  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(() => this.#flush())
  }

  #flush(): void {
    this.#isScheduled = false
    clearTimeout(this.#timer)
    this.#timer = undefined
    const messages = this.#waiting
    if (messages.length === 0) return
    this.#waiting = []
    if (messages.length === 1) return void this.#stream.write(encodeMessage(messages[0]!))
    this.#stream.cork()
    for (const message of messages) this.#stream.write(encodeMessage(message))
    this.#stream.uncork()
  }
}

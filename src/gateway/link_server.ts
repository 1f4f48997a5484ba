/**
 * The gateway's end of the links to a machine's primaries. One primary is attached at a time: the one of the highest
 * epoch that has ever come (OutputFence), by its newest link.
 *
 *     opened ──hello──> attached ──> closed: broken, or another link took its place
 *        └── refused: a lower epoch or life, another machine
 *
 * A link that is opened may wait for as long as it likes: it is a backup's, for the moment when that is the primary.
 *
 * Each output is handed on once and in order, whoever sends it how often: ordinals tell. A console's output may come
 * in other pieces the second time; of one that is partly known only the rest is handed on.
 *
 * Towards the guest this is a network: inputs are lost while nobody is attached, while the primary holds them, and
 * when the primary does not take them as fast as they come.
 */
import type { Duplex } from 'node:stream'
import { assert } from '../base/assert.ts'
import { FormatError } from '../base/errors.ts'
import { NoticeLimit } from '../host/secure_notices.ts'
import { OutputFence } from '../replication/output_fence.ts'
import { LINK_BYTES_MAX, type LinkMessage } from './link_codec.ts'
import { FRAME_PORTS } from './link_ports.ts'
import { LinkStream } from './link_stream.ts'

/** Who is attached. */
export interface AttachedPrimary {
  readonly peerName: string
  readonly epoch: number
  readonly life: number
}

export interface LinkServerEvents {
  /** An output, in the order of its port, once: a frame, or the next bytes of a console. */
  onFrame(port: number, bytes: Uint8Array): void
  onAttached(primary: AttachedPrimary): void
  /** One line; called before `onAttached` if another link takes the place. */
  onDetached(reason: string): void
  /** Inputs are taken again, after `input` has returned false. */
  onInputReady?(): void
  onNotice(line: string): void
}

export interface LinkServerOptions {
  /** Inputs that may wait in a link. 4 MiB by default. */
  readonly unsentBytesMax?: number
}

type Hello = Extract<LinkMessage, { kind: 'hello' }>
type Output = Extract<LinkMessage, { kind: 'output' }>

const UNSENT_BYTES_MAX = 4 << 20
/** Links that have not said hello; the oldest gives way. */
const OPENED_MAX = 8

export class LinkServer {
  readonly #machine: string
  readonly #events: LinkServerEvents
  readonly #options: LinkServerOptions
  readonly #notices: NoticeLimit
  readonly #fence = new OutputFence()
  readonly #opened = new Set<Link>()
  /** What the fence has taken in this life: an output's rest may be new. */
  readonly #taken = new Map<number, bigint>()
  #life = 0
  #attached: Link | undefined
  #isInputRefused = false
  #droppedInputs = 0

  /** The links of `machine`. Lives as long as the process does: what it knows makes outputs leave once. */
  constructor(machine: string, events: LinkServerEvents, options: LinkServerOptions = {}) {
    this.#machine = machine
    this.#events = events
    this.#options = options
    this.#notices = new NoticeLimit(events.onNotice)
  }

  get isAttached(): boolean {
    return this.#attached !== undefined
  }

  /** Inputs that were lost on this side. */
  get droppedInputs(): number {
    return this.#droppedInputs
  }

  /** Takes a channel of the service 'gateway' that `peerName` has opened. */
  accept(stream: Duplex, peerName: string): void {
    const [oldest] = this.#opened
    if (oldest !== undefined && this.#opened.size >= OPENED_MAX) oldest.stream.close('too many links at once')
    const link = new Link(stream, peerName, {
      onMessage: (message) => this.#onMessage(link, message),
      onClose: (reason, isFault) => this.#onClose(link, reason, isFault),
    })
    this.#opened.add(link)
  }

  /** Sends something to the guest. False if it was dropped; then `onInputReady` follows when there is room. */
  input(port: number, bytes: Uint8Array): boolean {
    assert(bytes.length <= LINK_BYTES_MAX, () => `an input of ${bytes.length} bytes`)
    const { unsentBytesMax = UNSENT_BYTES_MAX } = this.#options
    const link = this.#attached
    if (link === undefined || link.isHeld || link.stream.unsentBytes + bytes.length > unsentBytesMax) {
      this.#isInputRefused = true
      this.#droppedInputs++
      return false
    }
    link.stream.send({ kind: 'input', port, bytes })
    return true
  }

  /** Closes all links. */
  close(): void {
    for (const link of this.#opened) link.stream.close('closed by this side')
    this.#attached?.stream.close('closed by this side')
  }

  #onMessage(link: Link, message: LinkMessage): void {
    if (link !== this.#attached) {
      if (message.kind !== 'hello') throw new FormatError(`gateway link: '${message.kind}' before a hello`)
      return this.#onHello(link, message)
    }
    if (message.kind === 'output') return this.#onOutput(link, message)
    if (message.kind !== 'hold') throw new FormatError(`gateway link: unexpected message '${message.kind}'`)
    link.isHeld = message.isHeld
    this.#offerInput()
  }

  #onHello(link: Link, { machine, epoch, life }: Hello): void {
    if (machine !== this.#machine) {
      return this.#refuse(link, `this gateway serves ${this.#machine}, not ${machine}`)
    }
    const before = this.#fence.epoch
    const left = this.#fence.attach(epoch, life)
    if (left === undefined) {
      const isEpoch = epoch < before
      return this.#refuse(
        link,
        isEpoch ? `epoch ${epoch} is superseded by ${before}` : `life ${life} is superseded by ${this.#life}`,
      )
    }
    this.#replace(epoch > before ? `epoch ${before} is superseded by ${epoch}` : 'a newer link was opened')
    if (life > this.#life) this.#taken.clear()
    this.#life = life
    this.#opened.delete(link)
    this.#attached = link
    link.epoch = epoch
    link.stream.onDrained(() => {
      if (link === this.#attached) this.#offerInput()
    })
    link.stream.send({ kind: 'welcome', left })
    this.#events.onAttached({ peerName: link.peerName, epoch, life })
    this.#offerInput()
  }

  /** The link that is attached gives way. */
  #replace(reason: string): void {
    const older = this.#attached
    if (older === undefined) return
    this.#attached = undefined
    older.stream.refuse(reason)
    this.#events.onDetached(reason)
  }

  #refuse(link: Link, reason: string): void {
    this.#notices.say(`gateway link of ${link.peerName}: refused: ${reason}`)
    this.#opened.delete(link)
    link.stream.refuse(reason)
  }

  #onOutput(link: Link, { port, ordinal, bytes }: Output): void {
    const start = FRAME_PORTS.has(port) ? ordinal - 1n : ordinal - BigInt(bytes.length)
    const last = link.last.get(port)
    if (start < 0n || start === ordinal || (last !== undefined && start > last)) {
      throw new FormatError(`gateway link: output ${ordinal} of port ${port} follows ${last ?? 'none'}`)
    }
    link.last.set(port, last !== undefined && last > ordinal ? last : ordinal)
    link.toConfirm.add(port)
    if (link.toConfirm.size === 1) setImmediate(() => this.#confirm(link))
    const taken = this.#taken.get(port) ?? 0n
    if (!this.#fence.take(link.epoch, port, ordinal)) return
    this.#taken.set(port, ordinal)
    const isPart = start < taken && !FRAME_PORTS.has(port)
    this.#events.onFrame(port, isPart ? bytes.subarray(Number(taken - start)) : bytes)
  }

  /** Says, once for all outputs of a turn, that they have been handed on. */
  #confirm(link: Link): void {
    const ports = [...link.toConfirm]
    link.toConfirm.clear()
    if (link !== this.#attached) return
    for (const port of ports) link.stream.send({ kind: 'left', port, ordinal: this.#taken.get(port)! })
  }

  #offerInput(): void {
    const isReady = this.#isInputRefused && this.#attached !== undefined && !this.#attached.isHeld
    if (!isReady) return
    this.#isInputRefused = false
    this.#events.onInputReady?.()
  }

  #onClose(link: Link, reason: string, isFault: boolean): void {
    if (isFault) this.#notices.say(`gateway link of ${link.peerName}: ${reason}`)
    this.#opened.delete(link)
    if (link !== this.#attached) return
    this.#attached = undefined
    this.#events.onDetached(reason)
  }
}

/** One stream of a primary, attached or not yet. */
class Link {
  readonly peerName: string
  readonly stream: LinkStream
  epoch = 0
  isHeld = false
  /** The highest ordinal of each port that came by this link. */
  readonly last = new Map<number, bigint>()
  /** Ports with outputs that have not been confirmed. */
  readonly toConfirm = new Set<number>()

  constructor(stream: Duplex, peerName: string, events: ConstructorParameters<typeof LinkStream>[2]) {
    this.peerName = peerName
    this.stream = new LinkStream(stream, 'gateway link', events)
  }
}

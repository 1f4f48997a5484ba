/**
 * Channels between processes: two streams of bytes, one in each direction, that carry what the production codec writes.
 *
 * A stream sends its messages in order, in pieces that end anywhere; urgent ones overtake those that have not begun to
 * leave. A channel ends in one of these ways:
 *
 *     closed    by one side: what it had sent still arrives, then the other side hears of it
 *     cut       by a fault, or since a process died: what is on the way arrives up to any byte, then both sides hear of it
 *     lost      with the power of a host: the other side hears nothing until it sends something and the host is there again
 *     dark      by a fault: nothing arrives any more in one direction, and nobody hears of it
 */
import type { Random } from '../src/base/prng.ts'
import { RETRANSMIT_MS, type SiteLinks } from './site_links.ts'
import type { World } from './world.ts'

/** One end of a channel, as its process sees it. Both are called at most once after `onEnd`: never. */
export interface EndHandler {
  readonly site: string
  onBytes(bytes: Uint8Array): void
  onEnd(): void
}

interface Piece {
  readonly arrivalMs: number
  /** Undefined for the end of the stream. */
  readonly bytes: Uint8Array | undefined
}

/** One direction. */
class Stream {
  readonly #world: World
  readonly #links: SiteLinks
  readonly #from: string
  readonly #to: string
  /** Whole messages that wait; the first may have begun to leave. */
  #waiting: Uint8Array[] = []
  #firstSent = 0
  /** How many of those that wait are urgent and have not begun to leave: they stand behind one that has. */
  #urgent = 0
  #onTheWay: Piece[] = []
  #freeMs = 0
  #isPumping = false
  #isArriving = false
  #lastArrivalMs = 0
  #isEnding = false
  isDark = false
  readonly #arrive: (bytes: Uint8Array | undefined) => void

  constructor(
    world: World,
    links: SiteLinks,
    [from, to]: readonly [string, string],
    arrive: (bytes: Uint8Array | undefined) => void,
  ) {
    this.#world = world
    this.#links = links
    this.#from = from
    this.#to = to
    this.#arrive = arrive
  }

  send(bytes: Uint8Array, isUrgent: boolean): void {
    if (this.#isEnding || this.isDark) return
    if (isUrgent) {
      const begun = this.#firstSent > 0 ? 1 : 0
      this.#waiting.splice(begun + this.#urgent++, 0, bytes)
    } else {
      this.#waiting.push(bytes)
    }
    this.#pump()
  }

  /** Ends behind what has been sent. */
  end(): void {
    this.#isEnding = true
    this.#pump()
  }

  /** Breaks off: of what is on the way only a part arrives, then the end. */
  cut(random: Random): void {
    this.#isEnding = true
    this.#waiting = []
    const kept = random.below(this.#onTheWay.length + 1)
    const pieces = this.#onTheWay.slice(0, kept)
    const next = this.#onTheWay[kept]
    if (next?.bytes !== undefined) {
      pieces.push({ ...next, bytes: next.bytes.subarray(0, random.below(next.bytes.length + 1)) })
    }
    this.#onTheWay = pieces
    this.#launch(undefined)
  }

  /** Nothing arrives any more, not even the end. */
  forget(): void {
    this.#isEnding = true
    this.#waiting = []
    this.#onTheWay = []
    this.isDark = true
  }

  #pump(): void {
    if (this.#isPumping) return
    const { nowMs } = this.#world
    if (this.#freeMs > nowMs) return this.#pumpAfter(this.#freeMs - nowMs)
    const bytes = this.#takePiece()
    if (bytes === undefined) {
      if (this.#isEnding && !this.isDark) this.#launch(undefined)
      return
    }
    this.#freeMs = nowMs + bytes.length / this.#links.shape.bandwidth
    this.#launch(bytes)
    if (this.#waiting.length > 0 || this.#isEnding) this.#pumpAfter(this.#freeMs - nowMs)
  }

  #pumpAfter(delayMs: number): void {
    this.#isPumping = true
    this.#world.after(delayMs, () => {
      this.#isPumping = false
      this.#pump()
    })
  }

  /** The next bytes to leave, from one message or several. */
  #takePiece(): Uint8Array | undefined {
    const first = this.#waiting[0]
    if (first === undefined) return undefined
    const room = this.#links.shape.pieceBytes
    const rest = first.length - this.#firstSent
    if (rest > room) {
      const piece = first.subarray(this.#firstSent, this.#firstSent + room)
      if (this.#firstSent === 0 && this.#urgent > 0) this.#urgent--
      this.#firstSent += room
      return piece
    }
    const piece = this.#firstSent === 0 ? first : first.subarray(this.#firstSent)
    if (this.#firstSent === 0 && this.#urgent > 0) this.#urgent--
    this.#waiting.shift()
    this.#firstSent = 0
    return piece
  }

  #launch(bytes: Uint8Array | undefined): void {
    const { nowMs } = this.#world
    // Never before what left earlier.
    this.#lastArrivalMs = Math.max(this.#lastArrivalMs, nowMs + this.#links.delayMs())
    this.#onTheWay.push({ arrivalMs: this.#lastArrivalMs, bytes })
    if (!this.#isArriving) this.#arriveAfter(this.#lastArrivalMs - nowMs)
  }

  #arriveAfter(delayMs: number): void {
    this.#isArriving = true
    this.#world.after(delayMs, () => {
      this.#isArriving = false
      this.#arriveNow()
    })
  }

  #arriveNow(): void {
    const { nowMs } = this.#world
    const piece = this.#onTheWay[0]
    if (piece === undefined || this.isDark) return
    if (this.#links.isBlocked(this.#from, this.#to)) return this.#arriveAfter(RETRANSMIT_MS)
    if (piece.arrivalMs > nowMs) return this.#arriveAfter(piece.arrivalMs - nowMs)
    this.#onTheWay.shift()
    if (this.#onTheWay.length > 0) this.#arriveAfter(Math.max(0, this.#onTheWay[0]!.arrivalMs - nowMs))
    this.#arrive(piece.bytes)
  }
}

/** The state of one end: `gone` if its process does not exist any more, or has closed it. */
interface End {
  readonly handler: EndHandler
  state: 'open' | 'gone' | 'ended'
}

export class Channel {
  readonly #ends: readonly [End, End]
  readonly #streams: readonly [Stream, Stream]
  /** Whether an answer "nobody here" can come from a site: whether its host has power. */
  readonly #hasPower: (site: string) => boolean
  #isOver = false

  /** The first end is the one that dialled. */
  constructor(
    world: World,
    links: SiteLinks,
    handlers: readonly [EndHandler, EndHandler],
    hasPower: (site: string) => boolean,
  ) {
    const [a, b] = handlers
    this.#ends = [
      { handler: a, state: 'open' },
      { handler: b, state: 'open' },
    ]
    this.#hasPower = hasPower
    this.#streams = [
      new Stream(world, links, [a.site, b.site], (bytes) => this.#onArrival(0, bytes)),
      new Stream(world, links, [b.site, a.site], (bytes) => this.#onArrival(1, bytes)),
    ]
  }

  get sites(): readonly [string, string] {
    return [this.#ends[0].handler.site, this.#ends[1].handler.site]
  }

  /** Whether nothing can happen on it any more. */
  get isOver(): boolean {
    return this.#isOver
  }

  send(side: 0 | 1, bytes: Uint8Array, isUrgent: boolean): void {
    if (this.#ends[side].state === 'open') this.#streams[side].send(bytes, isUrgent)
  }

  /** One side closes it. */
  close(side: 0 | 1): void {
    const end = this.#ends[side]
    if (end.state !== 'open') return
    end.state = 'gone'
    this.#streams[side].end()
    this.#settle()
  }

  /** Breaks in the middle of whatever is on the way. */
  cut(random: Random): void {
    for (const stream of this.#streams) stream.cut(random)
  }

  /** The process of one side died: its kernel tells the other side. */
  onDeath(side: 0 | 1, random: Random): void {
    this.#ends[side].state = 'gone'
    this.#streams[side].cut(random)
    this.#settle()
  }

  /** The host of one side has lost its power: nobody tells anybody. */
  onPowerLoss(side: 0 | 1): void {
    this.#ends[side].state = 'gone'
    this.#streams[side].forget()
    this.#settle()
  }

  /** From now on nothing arrives from this side. */
  darken(side: 0 | 1): void {
    this.#streams[side].forget()
  }

  /** Something has arrived that the side `from` has sent. */
  #onArrival(from: 0 | 1, bytes: Uint8Array | undefined): void {
    const to = from === 0 ? 1 : 0
    const receiver = this.#ends[to]
    if (receiver.state === 'open') {
      if (bytes !== undefined) return receiver.handler.onBytes(bytes)
      return this.#end(receiver)
    }
    // Nobody is there to take it; the sender hears of that, unless the host is dead as well.
    const sender = this.#ends[from]
    if (sender.state === 'open' && bytes !== undefined && this.#hasPower(receiver.handler.site)) {
      this.#end(sender)
    }
  }

  #end(end: End): void {
    end.state = 'ended'
    this.#settle()
    end.handler.onEnd()
  }

  #settle(): void {
    this.#isOver = this.#ends.every(({ state }) => state !== 'open')
  }
}

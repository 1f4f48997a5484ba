/**
 * The sending half of a TCP connection: what is acknowledged, what is under way, what may be sent next.
 *
 *     una          nxt               max                        end
 *      | under way  | to be repeated  | not sent yet             |   SYN is before the first byte, FIN behind the last
 *
 * `nxt` falls behind `max` when everything is sent anew: after a timeout, under the congestion window, and after a
 * failover, at once. Congestion control is NewReno (RFC 5681, 6582): the network is one cable, but a guest's receive
 * queue is short, and a sender that knows no measure would overflow it again and again.
 */
import { assert } from '../../base/assert.ts'
import { RetransmissionTimeout } from './retransmission_timeout.ts'
import { SendBuffer } from './send_buffer.ts'
import { add, distance, isAtOrBefore, isBefore } from './sequence.ts'
import { MSS_DEFAULT, MSS_MAX } from './tcp_segment.ts'

/** RFC 6928. */
const INITIAL_WINDOW_SEGMENTS = 10
const CONGESTION_WINDOW_MAX = 2 ** 20
const DUPLICATES_MAX = 3

/** Something to send: SYN, or bytes of the buffer, or FIN, or the last two together. */
export interface Outgoing {
  readonly sequence: number
  readonly syn: boolean
  readonly fin: boolean
  /** Where in the buffer the bytes are. */
  readonly offset: number
  readonly length: number
  /** A single segment out of the row: the next one is not the one behind it. */
  readonly isAside: boolean
}

export class TcpSender {
  readonly buffer = new SendBuffer()
  readonly timeout = new RetransmissionTimeout()
  readonly #initial: number
  #una: number
  #nxt: number
  #max: number
  #mss = MSS_DEFAULT
  #window = 0
  #windowMax = 0
  #windowSequence = 0
  #windowAcknowledgment = 0
  #congestionWindow = MSS_DEFAULT
  #threshold = CONGESTION_WINDOW_MAX
  #duplicates = 0
  /** `max` when the last loss was noticed: acknowledgements before it tell of the same loss. */
  #recover: number
  #isRecovering = false
  #repeatFirst = false
  /** Up to here all goes at once, whatever the windows say. */
  #burstEnd: number
  #timedSequence = 0
  #timedAt: number | undefined
  #finQueued = false
  #finAcknowledged = false

  constructor(initialSequence: number) {
    this.#initial = initialSequence
    this.#una = this.#nxt = this.#max = this.#recover = this.#burstEnd = initialSequence
  }

  /** The highest sequence number that was ever sent, plus one. */
  get max(): number {
    return this.#max
  }

  /**
   * What a segment without data carries as its sequence number: behind everything sent, but not beyond the window,
   * where a probe may have gone, since the other side would not look at it there.
   */
  get idleSequence(): number {
    if (!this.isSynAcknowledged) return this.#max
    const edge = add(this.#windowAcknowledgment, this.#window)
    if (isAtOrBefore(this.#max, edge)) return this.#max
    return isBefore(edge, this.#una) ? this.#una : edge
  }

  get isSynAcknowledged(): boolean {
    return this.#una !== this.#initial
  }

  get isFinQueued(): boolean {
    return this.#finQueued
  }

  get isFinSent(): boolean {
    return this.#finAcknowledged || (this.#finQueued && distance(this.#finSequence, this.#max) > 0)
  }

  get isFinAcknowledged(): boolean {
    return this.#finAcknowledged
  }

  /** Something is under way whose acknowledgement is waited for. */
  get isWaiting(): boolean {
    return this.#nxt !== this.#una
  }

  /** Nothing is under way, but there is something that the window does not let out. */
  get isStuck(): boolean {
    if (this.isWaiting || !this.isSynAcknowledged) return false
    return this.buffer.length > 0 || (this.#finQueued && !this.#finAcknowledged)
  }

  /** The largest segment, and the first congestion window from it. */
  setMss(mss: number | undefined): void {
    this.#mss = Math.min(MSS_MAX, Math.max(64, mss ?? MSS_DEFAULT))
    this.#congestionWindow = INITIAL_WINDOW_SEGMENTS * this.#mss
  }

  /** The first window that the other side announces. */
  setWindow(window: number, sequence: number, acknowledgment: number): void {
    this.#window = window
    this.#windowMax = Math.max(this.#windowMax, window)
    this.#windowSequence = sequence
    this.#windowAcknowledgment = acknowledgment
  }

  /** FIN follows what is in the buffer; nothing may be added any more. */
  queueFin(): void {
    this.#finQueued = true
  }

  /** Whether an acknowledgement is of something that was sent, and not older than any that can be on its way. */
  accepts(acknowledgment: number): boolean {
    if (distance(this.#max, acknowledgment) > 0) return false
    return distance(acknowledgment, this.#una) <= Math.max(this.#windowMax, 0xffff)
  }

  /** What is to be sent next; undefined if there is nothing, or it must wait. */
  next(): Outgoing | undefined {
    if (this.#nxt === this.#initial) {
      return { sequence: this.#initial, syn: true, fin: false, offset: 0, length: 0, isAside: false }
    }
    if (!this.isSynAcknowledged) return undefined
    if (this.#repeatFirst) {
      const length = Math.min(this.buffer.length, this.#mss, distance(this.#una, this.#max))
      return this.#piece(this.#una, length, length < this.#mss, true)
    }
    const queued = this.buffer.length - distance(this.#una, this.#nxt)
    if (queued < 0) return undefined
    const room = this.#room()
    const length = Math.max(0, Math.min(queued, this.#mss, room))
    if (!this.#isWorthwhile(length, queued)) return undefined
    const piece = this.#piece(this.#nxt, length, room > length, false)
    return piece.length > 0 || piece.fin ? piece : undefined
  }

  /** One byte, or FIN, beyond what the window allows: its acknowledgement says how the window is now. */
  probe(): Outgoing {
    assert(this.isStuck, 'a probe that is not needed')
    return this.#piece(this.#una, Math.min(1, this.buffer.length), true, true)
  }

  /** `outgoing` has been sent. */
  sent(outgoing: Outgoing, now: number): void {
    const { sequence, length, syn, fin, isAside } = outgoing
    assert(Number.isInteger(length) && length + Number(syn) + Number(fin) > 0, 'nothing is sent')
    const end = add(sequence, length + (syn ? 1 : 0) + (fin ? 1 : 0))
    const isNew = isBefore(this.#max, end)
    if (isAside) this.#repeatFirst = false
    else this.#nxt = end
    if (!isNew) return
    if (this.#timedAt === undefined && sequence === this.#max) {
      this.#timedSequence = sequence
      this.#timedAt = now
    }
    this.#max = end
  }

  /**
   * Takes an acknowledgement that `accepts` lets through, and the window with it. `isBare`: nothing else was in the
   * segment. True if it acknowledges something new.
   */
  acknowledge(
    acknowledgment: number,
    window: number,
    sequence: number,
    isBare: boolean,
    now: number,
  ): boolean {
    const isSameWindow = window === this.#window
    const isNews =
      isBefore(this.#windowSequence, sequence) ||
      (this.#windowSequence === sequence && isAtOrBefore(this.#windowAcknowledgment, acknowledgment))
    if (isNews) this.setWindow(window, sequence, acknowledgment)
    const count = distance(this.#una, acknowledgment)
    if (count > 0) {
      this.#advance(acknowledgment, count, now)
      return true
    }
    if (count === 0 && isBare && isSameWindow && this.#una !== this.#max) this.#onDuplicate()
    return false
  }

  /** The timeout has passed: everything is sent anew, slowly. */
  onTimeout(): void {
    this.timeout.backOff()
    this.#threshold = Math.max(distance(this.#una, this.#max) / 2, 2 * this.#mss)
    this.#congestionWindow = this.#mss
    this.#goBack()
  }

  /** Everything unacknowledged is sent anew, at once. */
  resendAll(): void {
    this.timeout.reset()
    this.#goBack()
    this.#burstEnd = this.#max
  }

  #goBack(): void {
    this.#nxt = this.#una
    this.#recover = this.#max
    this.#isRecovering = false
    this.#repeatFirst = false
    this.#duplicates = 0
    this.#timedAt = undefined
  }

  get #finSequence(): number {
    return add(this.isSynAcknowledged ? this.#una : add(this.#una, 1), this.buffer.length)
  }

  #room(): number {
    const burst = distance(this.#nxt, this.#burstEnd)
    if (burst > 0) return burst
    // The congestion window grows by fractions; half a byte can be sent for ever.
    return Math.min(this.#window, Math.floor(this.#congestionWindow)) - distance(this.#una, this.#nxt)
  }

  /** Against the silly window syndrome (RFC 9293, section 3.8.6.2.1): no small pieces of something larger. */
  #isWorthwhile(length: number, queued: number): boolean {
    if (length === queued || length === this.#mss || isBefore(this.#nxt, this.#max)) return true
    return length > 0 && length >= this.#windowMax / 2
  }

  #piece(sequence: number, length: number, hasRoom: boolean, isAside: boolean): Outgoing {
    const offset = distance(this.#una, sequence)
    const isLast = offset + length === this.buffer.length
    const fin = this.#finQueued && !this.#finAcknowledged && isLast && hasRoom
    return { sequence, syn: false, fin, offset, length, isAside }
  }

  #advance(acknowledgment: number, count: number, now: number): void {
    let bytes = count
    if (!this.isSynAcknowledged) bytes--
    else if (bytes > this.buffer.length) {
      bytes--
      this.#finAcknowledged = true
    }
    this.buffer.drop(bytes)
    this.#una = acknowledgment
    if (isBefore(this.#nxt, acknowledgment)) this.#nxt = acknowledgment
    if (isBefore(this.#burstEnd, acknowledgment)) this.#burstEnd = acknowledgment
    if (this.#timedAt !== undefined && isBefore(this.#timedSequence, acknowledgment)) {
      this.timeout.sample(now - this.#timedAt)
      this.#timedAt = undefined
    }
    this.timeout.reset()
    this.#duplicates = 0
    if (this.#isRecovering) this.#onRecovery(acknowledgment, count)
    else this.#grow(count)
  }

  #grow(count: number): void {
    const isSlowStart = this.#congestionWindow < this.#threshold
    const growth = isSlowStart ? Math.min(count, 2 * this.#mss) : (this.#mss * count) / this.#congestionWindow
    this.#congestionWindow = Math.min(CONGESTION_WINDOW_MAX, this.#congestionWindow + growth)
  }

  #onRecovery(acknowledgment: number, count: number): void {
    if (isAtOrBefore(this.#recover, acknowledgment)) {
      this.#isRecovering = false
      this.#congestionWindow = this.#threshold
    } else {
      // A partial acknowledgement: the segment behind it is lost as well.
      this.#repeatFirst = true
      this.#congestionWindow = Math.max(this.#mss, this.#congestionWindow - count + this.#mss)
    }
  }

  #onDuplicate(): void {
    this.#duplicates++
    if (this.#isRecovering) {
      this.#congestionWindow = Math.min(CONGESTION_WINDOW_MAX, this.#congestionWindow + this.#mss)
    } else if (this.#duplicates === DUPLICATES_MAX && isAtOrBefore(this.#recover, this.#una)) {
      this.#threshold = Math.max(distance(this.#una, this.#max) / 2, 2 * this.#mss)
      this.#congestionWindow = this.#threshold + DUPLICATES_MAX * this.#mss
      this.#recover = this.#max
      this.#isRecovering = true
      this.#repeatFirst = true
      this.#timedAt = undefined
    }
  }

  /** Whether losses are being repaired one by one. */
  get isRecovering(): boolean {
    return this.#isRecovering
  }
}

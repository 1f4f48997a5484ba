/**
 * The receiving half of a TCP connection: what has come in order, what has come too early, and the window.
 *
 * Bytes in order are handed on at once. They count as unread until whoever has them says that they are gone, and the
 * window is what is left of the capacity. Its right edge never moves back (RFC 9293, section 3.8.6).
 */
import { add, distance } from './sequence.ts'
import { FIN, MSS_MAX, type TcpSegment } from './tcp_segment.ts'

/** How many pieces may wait for one before them; with their bytes within the window, this bounds the memory. */
const EARLY_PIECES_MAX = 256

interface EarlyPiece {
  readonly sequence: number
  readonly bytes: Uint8Array
}

export class TcpReceiver {
  readonly #capacity: number
  /** How many bits the window in the header is shifted by. */
  readonly #scale: number
  #next: number
  #edge: number
  #unread = 0
  /** Ordered by sequence number; they may overlap. */
  #early: EarlyPiece[] = []
  #earlyBytes = 0
  #finSequence: number | undefined
  #isFinished = false

  /** `first`: the sequence number of the first byte. */
  constructor(first: number, capacity: number, scale: number) {
    this.#next = this.#edge = first
    this.#capacity = Math.min(capacity, 0xffff << scale)
    this.#scale = scale
  }

  /** The sequence number that is waited for: what is acknowledged. */
  get next(): number {
    return this.#next
  }

  /** Everything up to and including FIN has come. */
  get isFinished(): boolean {
    return this.#isFinished
  }

  get hasEarly(): boolean {
    return this.#early.length > 0
  }

  /** How many bytes handed on are not gone yet. */
  setUnread(count: number): void {
    this.#unread = count
  }

  get unread(): number {
    return this.#unread
  }

  /** The window for the header of a segment that is being sent now. SYN never scales. */
  announce(isSyn: boolean): number {
    const growth = distance(this.#edge, this.#possibleEdge)
    if (growth >= Math.min(MSS_MAX, this.#capacity / 2)) this.#edge = this.#possibleEdge
    const window = distance(this.#next, this.#edge)
    return Math.min(0xffff, isSyn ? window : window >>> this.#scale)
  }

  /** Whether the window has grown by so much that the other side should hear of it. */
  get isUpdateDue(): boolean {
    const announced = distance(this.#next, this.#edge)
    return announced < this.#capacity / 2 && distance(this.#edge, this.#possibleEdge) >= this.#capacity / 4
  }

  /** RFC 9293, section 3.10.7.4: whether any of a segment is in the window. Also the place just behind it. */
  isAcceptable(sequence: number, length: number): boolean {
    const start = distance(this.#next, sequence)
    const window = distance(this.#next, this.#edge)
    if (length === 0) return start >= 0 && start <= window
    return start < window && start + length > 0
  }

  /** Takes the bytes and FIN of an acceptable segment; hands on what is in order. True if anything was. */
  take(segment: TcpSegment, deliver: (bytes: Uint8Array) => void): boolean {
    if (this.#isFinished) return false
    const old = Math.max(0, distance(segment.sequence, this.#next))
    const sequence = add(segment.sequence, old)
    const room = Math.max(0, distance(sequence, this.#edge))
    const bytes = segment.payload.subarray(Math.min(old, segment.payload.length))
    const fits = bytes.subarray(0, room)
    if ((segment.flags & FIN) !== 0 && fits.length === bytes.length) {
      this.#finSequence ??= add(segment.sequence, segment.payload.length)
    }
    const before = this.#next
    if (sequence !== this.#next) this.#keep(sequence, fits)
    else {
      this.#deliver(fits, deliver)
      this.#deliverEarly(deliver)
    }
    this.#finish()
    return this.#next !== before
  }

  get #possibleEdge(): number {
    const room = Math.max(0, this.#capacity - this.#unread)
    return add(this.#next, (room >>> this.#scale) << this.#scale)
  }

  #deliver(bytes: Uint8Array, deliver: (bytes: Uint8Array) => void): void {
    if (bytes.length === 0) return
    this.#next = add(this.#next, bytes.length)
    this.#unread += bytes.length
    deliver(bytes)
  }

  #deliverEarly(deliver: (bytes: Uint8Array) => void): void {
    while (this.#early.length > 0) {
      const { sequence, bytes } = this.#early[0]!
      const old = distance(sequence, this.#next)
      if (old < 0) return
      this.#early.shift()
      this.#earlyBytes -= bytes.length
      this.#deliver(bytes.subarray(Math.min(old, bytes.length)), deliver)
    }
  }

  /** What finds no room is sent again by the other side: it has not been acknowledged. */
  #keep(sequence: number, bytes: Uint8Array): void {
    const isFull = this.#early.length >= EARLY_PIECES_MAX || this.#earlyBytes + bytes.length > this.#capacity
    if (bytes.length === 0 || isFull) return
    let at = this.#early.length
    while (at > 0 && distance(this.#early[at - 1]!.sequence, sequence) < 0) at--
    const previous = this.#early[at - 1]
    if (previous?.sequence === sequence && previous.bytes.length >= bytes.length) return
    this.#early.splice(at, 0, { sequence, bytes: bytes.slice() })
    this.#earlyBytes += bytes.length
  }

  #finish(): void {
    if (this.#finSequence === undefined || distance(this.#finSequence, this.#next) < 0) return
    this.#isFinished = true
    // Bytes behind a FIN are the other side's mistake: what is acknowledged does not go back for them.
    if (this.#next === this.#finSequence) this.#next = add(this.#finSequence, 1)
    // FIN has no room of its own in the window: the edge does not fall behind what is acknowledged.
    if (distance(this.#next, this.#edge) < 0) this.#edge = this.#next
    this.#early = []
    this.#earlyBytes = 0
  }
}

/**
 * One TCP connection with the guest (RFC 9293). The names of the states are the RFC's; they follow from the phase and
 * from which of the two FINs has gone and come:
 *
 *     guest connects:   pending (SYN came, the real connection is being made) -> opening (SYN-RECEIVED) -> open
 *     client connects:  calling (SYN-SENT) -> open
 *     open, both FINs:  timeWait if ours went first, else closed
 *     reset:            we have sent RST; kept for a while, since it may have been lost with a host
 *
 * While no primary is attached nothing is sent and the time that comes in stands still, so nothing ends however long it
 * takes. `attach` sends everything unacknowledged at once: the guest's connection is exactly where the frames that left
 * it say, and whatever was on its way to the guest may be lost.
 */
import { assert } from '../../base/assert.ts'
import { add } from './sequence.ts'
import type { Endpoints, TcpEnvironment, TcpHandler } from './tcp_environment.ts'
import { TcpReceiver } from './tcp_receiver.ts'
import { ACK, FIN, MSS_MAX, PSH, RST, SYN, type SynOptions, type TcpSegment } from './tcp_segment.ts'
import { type Outgoing, TcpSender } from './tcp_sender.ts'
import type { Timed } from './timer_queue.ts'

/** Unacknowledged bytes towards the guest: below what its receive queue of 256 frames and the 256 before it hold. */
export const SEND_BYTES_MAX = 256 * 1024
/** Below this the client is read from again. */
const SEND_BYTES_LOW = SEND_BYTES_MAX / 2
export const RECEIVE_BYTES_MAX = 512 * 1024
const WINDOW_SCALE = 4

const DELAYED_ACK_MS = 20
const TIME_WAIT_MS = 10_000
const RESET_KEPT_MS = 10_000
/** As long as Linux tries by default. */
const CALL_MS_MAX = 127_000
const SILENCE_MS_MAX = 15 * 60_000
/** What was sent within this time before a failover may have been lost in it. */
const RECENT_MS = 5_000
/** RFC 5961, section 7: acknowledgements that say "this does not fit", a second. */
const CHALLENGES_MAX = 10

type Phase = 'pending' | 'opening' | 'calling' | 'open' | 'timeWait' | 'reset' | 'closed'

export class TcpConnection implements Timed {
  readonly endpoints: Endpoints
  readonly sender: TcpSender
  handler: TcpHandler | undefined
  queued: Timed['queued']
  /** Another connection with the same two ports. */
  nextOfPorts: TcpConnection | undefined
  readonly #environment: TcpEnvironment
  #receiver: TcpReceiver | undefined
  #phase: Phase
  #guestScales = false
  #guestWindowScale = 0
  #guestClosedFirst = false
  #needsRoom = false
  #ackNow = false
  #unacknowledged = 0
  #ackAt = Number.POSITIVE_INFINITY
  #retransmitAt = Number.POSITIVE_INFINITY
  #restartTimer = false
  #endAt = Number.POSITIVE_INFINITY
  #lastHeardAt: number
  #lastSentAt = Number.NEGATIVE_INFINITY
  #challengesSince = 0
  #challenges = 0

  private constructor(environment: TcpEnvironment, endpoints: Endpoints, initial: number, phase: Phase) {
    this.#environment = environment
    this.endpoints = endpoints
    this.sender = new TcpSender(initial)
    this.#phase = phase
    this.#lastHeardAt = environment.now
  }

  /** A connection to a port of the guest. */
  static call(
    environment: TcpEnvironment,
    endpoints: Endpoints,
    initial: number,
    handler: TcpHandler,
  ): TcpConnection {
    const connection = new TcpConnection(environment, endpoints, initial, 'calling')
    connection.handler = handler
    return connection
  }

  /** Sends the first SYN. */
  start(): void {
    this.#output()
  }

  /** A connection that the guest asks for with `syn`. It hears nothing until `accept` or `abort`. */
  static answer(
    environment: TcpEnvironment,
    endpoints: Endpoints,
    initial: number,
    syn: TcpSegment,
  ): TcpConnection {
    const connection = new TcpConnection(environment, endpoints, initial, 'pending')
    connection.#takeSyn(syn)
    return connection
  }

  get deadline(): number {
    return Math.min(this.#retransmitAt, this.#ackAt, this.#endAt)
  }

  /** The state as RFC 9293 names it, where it has a name for it. */
  get state(): string {
    if (this.#phase !== 'open') return this.#phase
    const hasEnded = this.#receiver!.isFinished
    if (!this.sender.isFinQueued) return hasEnded ? 'closeWait' : 'established'
    if (this.sender.isFinAcknowledged) return 'finWait2'
    return hasEnded ? (this.#guestClosedFirst ? 'lastAck' : 'closing') : 'finWait1'
  }

  /** Says yes to the guest's SYN. */
  accept(handler: TcpHandler): void {
    if (this.#phase !== 'pending') return
    this.handler = handler
    this.#enter('opening')
    this.#lastHeardAt = this.#environment.now
    this.#output()
  }

  /** Sends a copy of `bytes`. False if the caller should wait for `onRoom` before the next. */
  write(bytes: Uint8Array): boolean {
    if (this.#phase !== 'open' && this.#phase !== 'opening' && this.#phase !== 'calling') return true
    assert(!this.sender.isFinQueued, 'bytes behind the end')
    this.sender.buffer.push(bytes)
    this.#output()
    this.#needsRoom = this.sender.buffer.length >= SEND_BYTES_MAX
    return !this.#needsRoom
  }

  /** Nothing more will be written. */
  end(): void {
    if (this.sender.isFinQueued || this.#isOver) return
    this.sender.queueFin()
    this.#output()
  }

  /** Resets the connection, or refuses the guest's SYN. The handler hears no more. */
  abort(): void {
    if (this.#isOver) return
    this.handler = undefined
    if (this.#phase === 'calling') this.#close()
    else if (this.#phase === 'timeWait') this.#close()
    else this.#reset()
  }

  /** `count` bytes that `onData` handed on are still waiting to be taken by the client. */
  setUnread(count: number): void {
    const receiver = this.#receiver
    if (receiver === undefined || this.#phase !== 'open') return
    receiver.setUnread(count)
    if (!receiver.isUpdateDue || receiver.isFinished) return
    this.#ackNow = true
    this.#output()
  }

  /** A primary is attached, or the guest's address has become known: see above. */
  attach(): void {
    const { now } = this.#environment
    if (this.#phase === 'reset') this.#sendReset()
    if (this.#phase === 'pending' || this.#isOver) return
    this.sender.resendAll()
    this.#retransmitAt = Number.POSITIVE_INFINITY
    if (now - Math.max(this.#lastSentAt, this.#lastHeardAt) < RECENT_MS)
      this.#ackNow = this.#phase !== 'calling'
    this.#lastHeardAt = now
    this.#output()
  }

  onDeadline(): void {
    const { now } = this.#environment
    if (this.#endAt <= now) {
      this.#close()
      return
    }
    if (this.#ackAt <= now) {
      this.#ackNow = true
      this.#ackAt = Number.POSITIVE_INFINITY
    }
    if (this.#retransmitAt <= now) this.#onRetransmit()
    this.#output()
  }

  receive(segment: TcpSegment): void {
    switch (this.#phase) {
      case 'pending':
        if ((segment.flags & RST) !== 0 && segment.sequence === this.#receiver!.next) this.#onGuestReset()
        return
      case 'calling':
        this.#receiveAnswer(segment)
        return
      case 'reset':
        this.#answerAfterReset(segment)
        return
      case 'closed':
        return
      default:
        this.#receiveSynchronised(segment)
    }
  }

  /** Whether a new SYN with the same addresses and ports may take this connection's place. */
  get isReplaceable(): boolean {
    return this.#phase === 'reset' || this.#phase === 'timeWait'
  }

  get #isOver(): boolean {
    return this.#phase === 'reset' || this.#phase === 'closed'
  }

  // Receiving.

  /** SYN-SENT. */
  #receiveAnswer(segment: TcpSegment): void {
    const { flags, acknowledgment } = segment
    const acknowledges = (flags & ACK) !== 0
    if (acknowledges && acknowledgment !== this.sender.max) {
      // An old connection of the guest's, whose other end is long gone: it is told so, and SYN comes again soon.
      if ((flags & RST) === 0) this.#sendPlain(RST, acknowledgment, 0)
      return
    }
    if ((flags & RST) !== 0) {
      if (acknowledges) this.#onGuestReset()
      return
    }
    if ((flags & SYN) === 0) return
    this.#takeSyn(segment)
    if (acknowledges) {
      this.sender.acknowledge(acknowledgment, segment.window, segment.sequence, false, this.#environment.now)
      this.#open()
    } else {
      // Both called at once; our SYN goes again, with the acknowledgement.
      this.#phase = 'opening'
      this.sender.resendAll()
    }
    this.#ackNow = true
    this.#output()
  }

  #takeSyn({ sequence, window, options }: TcpSegment): void {
    this.#guestScales = options?.windowScale !== undefined
    this.#guestWindowScale = options?.windowScale ?? 0
    const scale = this.#guestScales ? WINDOW_SCALE : 0
    this.#receiver = new TcpReceiver(add(sequence, 1), RECEIVE_BYTES_MAX, scale)
    this.sender.setMss(options?.mss)
    this.sender.setWindow(window, sequence, 0)
  }

  #receiveSynchronised(segment: TcpSegment): void {
    const receiver = this.#receiver!
    const { flags, sequence, payload } = segment
    const length = payload.length + (flags & FIN) + ((flags & SYN) >> 1)
    if (!receiver.isAcceptable(sequence, length)) {
      this.#onUnacceptable(segment, length)
    } else if ((flags & RST) !== 0) {
      if (sequence === receiver.next) this.#onGuestReset()
      else this.#challenge()
    } else if ((flags & SYN) !== 0) {
      this.#challenge()
    } else if ((flags & ACK) !== 0) {
      this.#receiveAcceptable(segment)
    }
  }

  #receiveAcceptable(segment: TcpSegment): void {
    const { sender } = this
    const { acknowledgment, sequence, payload, flags } = segment
    if (!sender.accepts(acknowledgment)) {
      if (this.#phase === 'opening') this.#sendPlain(RST, acknowledgment, 0)
      else this.#challenge()
      return
    }
    this.#lastHeardAt = this.#environment.now
    const isBare = payload.length === 0 && (flags & FIN) === 0
    const window = segment.window << this.#guestWindowScale
    const wasRecovering = sender.isRecovering
    if (sender.acknowledge(acknowledgment, window, sequence, isBare, this.#environment.now)) {
      // While losses are repaired one by one the timer runs on: a long row of them is sooner sent anew altogether.
      if (!wasRecovering || !sender.isRecovering) this.#restartTimer = true
    }
    if (this.#phase === 'opening') {
      if (!sender.isSynAcknowledged) return
      this.#open()
    }
    if (!isBare) this.#takeContent(segment)
    this.#offerRoom()
    this.#endIfDone()
    this.#output()
  }

  #takeContent(segment: TcpSegment): void {
    const receiver = this.#receiver!
    const hadEarly = receiver.hasEarly
    const wasFinished = receiver.isFinished
    const isInOrder = receiver.take(segment, this.#deliver)
    if (!isInOrder || hadEarly || receiver.isFinished) this.#ackNow = true
    else if (++this.#unacknowledged >= 2) this.#ackNow = true
    else if (this.#ackAt === Number.POSITIVE_INFINITY) this.#ackAt = this.#environment.now + DELAYED_ACK_MS
    if (wasFinished || !receiver.isFinished) return
    this.#guestClosedFirst = !this.sender.isFinSent
    this.handler?.onEnd()
  }

  readonly #deliver = (bytes: Uint8Array): void => {
    this.handler?.onData(bytes)
  }

  #onUnacceptable({ flags }: TcpSegment, length: number): void {
    if ((flags & RST) !== 0) return
    if (this.#phase === 'opening' && (flags & SYN) !== 0) {
      this.sender.resendAll()
      this.#output()
      return
    }
    if (this.#phase === 'timeWait' && (flags & FIN) !== 0) this.#endAt = this.#environment.now + TIME_WAIT_MS
    if (length > 0) {
      this.#ackNow = true
      this.#output()
    } else this.#challenge()
  }

  /** RFC 5961: an acknowledgement that says where this side is. Few a second, lest two sides never stop. */
  #challenge(): void {
    const { now } = this.#environment
    if (now - this.#challengesSince >= 1000) {
      this.#challengesSince = now
      this.#challenges = 0
    }
    if (++this.#challenges > CHALLENGES_MAX) return
    this.#ackNow = true
    this.#output()
  }

  /** The guest has started anew, and knows nothing of what was: only a call that it has not answered goes on. */
  onGuestRestart(): void {
    if (this.#phase !== 'calling') this.#onGuestReset()
  }

  #onGuestReset(): void {
    const { handler } = this
    this.#close()
    handler?.onReset()
  }

  // The ends of a connection.

  #open(): void {
    this.#phase = 'open'
    this.#restartTimer = true
    this.handler?.onOpen()
  }

  #offerRoom(): void {
    if (!this.#needsRoom || this.sender.buffer.length > SEND_BYTES_LOW) return
    this.#needsRoom = false
    this.handler?.onRoom()
  }

  #endIfDone(): void {
    if (this.#phase !== 'open' || !this.#receiver!.isFinished || !this.sender.isFinAcknowledged) return
    this.handler = undefined
    if (this.#guestClosedFirst) {
      this.#close()
      return
    }
    this.#phase = 'timeWait'
    this.#endAt = this.#environment.now + TIME_WAIT_MS
  }

  #close(): void {
    if (this.#phase === 'closed') return
    this.#enter('closed')
    this.handler = undefined
    this.#release()
    this.#environment.forget(this)
  }

  #reset(): void {
    this.#enter('reset')
    this.#release()
    this.#endAt = this.#environment.now + RESET_KEPT_MS
    this.#environment.schedule(this)
    this.#sendReset()
  }

  #enter(phase: Phase): void {
    if (this.#phase === 'pending') this.#environment.decided()
    this.#phase = phase
  }

  #release(): void {
    this.sender.buffer.clear()
    this.#ackAt = this.#retransmitAt = Number.POSITIVE_INFINITY
  }

  #sendReset(): void {
    this.#sendPlain(RST | ACK, this.sender.idleSequence, this.#receiver!.next)
  }

  /** The guest goes on as if nothing had happened: it is told again, at the very place where it is. */
  #answerAfterReset({ flags, acknowledgment }: TcpSegment): void {
    if ((flags & RST) !== 0) return
    if ((flags & ACK) !== 0) this.#sendPlain(RST, acknowledgment, 0)
    else this.#sendReset()
  }

  // Sending.

  /** Sends what may be sent, and an acknowledgement if one is due, and sets the timer. */
  #output(): void {
    if (this.#environment.canSend && this.#phase !== 'pending' && !this.#isOver) {
      for (let piece = this.sender.next(); piece !== undefined; piece = this.sender.next()) this.#send(piece)
      if (this.#ackNow) this.#sendPlain(ACK, this.sender.idleSequence, this.#receiver!.next)
    }
    this.#setTimer()
    if (this.#phase !== 'closed') this.#environment.schedule(this)
  }

  #send(piece: Outgoing): void {
    const { syn, fin, sequence, length, offset } = piece
    const isLast = length > 0 && offset + length === this.sender.buffer.length
    const receiver = this.#receiver
    const flags = (syn ? SYN : 0) | (fin ? FIN : 0) | (isLast ? PSH : 0) | (receiver === undefined ? 0 : ACK)
    const header = {
      flags,
      sequence,
      acknowledgment: receiver?.next ?? 0,
      window: receiver?.announce(syn) ?? 0xffff,
      options: syn ? this.#options() : undefined,
    }
    this.#environment.transmit(this, header, piece)
    this.sender.sent(piece, this.#environment.now)
    this.#noteSent()
  }

  /** The guest's offer of scaling is taken, not outdone. */
  #options(): SynOptions {
    const scales = this.#receiver === undefined || this.#guestScales
    return { mss: MSS_MAX, windowScale: scales ? WINDOW_SCALE : undefined }
  }

  #sendPlain(flags: number, sequence: number, acknowledgment: number): void {
    if (!this.#environment.canSend) return
    const window = (flags & RST) === 0 ? this.#receiver!.announce(false) : 0
    const header = { flags, sequence, acknowledgment, window, options: undefined }
    this.#environment.transmit(this, header, undefined)
    if ((flags & RST) === 0) this.#noteSent()
  }

  #noteSent(): void {
    this.#lastSentAt = this.#environment.now
    this.#ackNow = false
    this.#unacknowledged = 0
    this.#ackAt = Number.POSITIVE_INFINITY
  }

  #setTimer(): void {
    const { now } = this.#environment
    if (this.#isOver || !(this.sender.isWaiting || this.sender.isStuck)) {
      this.#retransmitAt = Number.POSITIVE_INFINITY
    } else if (this.#retransmitAt === Number.POSITIVE_INFINITY) {
      this.#lastHeardAt = now
      this.#retransmitAt = now + this.sender.timeout.currentMs
    } else if (this.#restartTimer) {
      this.#retransmitAt = now + this.sender.timeout.currentMs
    }
    this.#restartTimer = false
  }

  #onRetransmit(): void {
    const { now } = this.#environment
    const patience = this.#phase === 'calling' || this.#phase === 'opening' ? CALL_MS_MAX : SILENCE_MS_MAX
    if (now - this.#lastHeardAt >= patience) {
      this.#giveUp()
      return
    }
    this.#restartTimer = true
    if (!this.sender.isStuck) {
      this.sender.onTimeout()
      return
    }
    this.sender.timeout.backOff()
    if (this.#environment.canSend) this.#send(this.sender.probe())
  }

  #giveUp(): void {
    const { handler } = this
    this.abort()
    handler?.onReset()
  }
}

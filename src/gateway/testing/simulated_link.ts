/**
 * A gateway's stack and a guest in memory, tied together by a cable that delays, loses, repeats and reorders frames by
 * seed. Time is simulated.
 */
import { Random } from '../../base/prng.ts'
import { GuestStack } from '../stack/guest_stack.ts'
import type { TcpConnection } from '../stack/tcp_connection.ts'
import { DNS_ADDRESS, GATEWAY_ADDRESS, GUEST_ADDRESS, MemoryGuest } from './memory_guest.ts'

export interface LinkQuality {
  readonly loss?: number
  readonly repeats?: number
  readonly delayMsMin?: number
  readonly delayMsMax?: number
}

interface Flying {
  readonly at: number
  readonly order: number
  readonly frame: Uint8Array
  readonly isToGuest: boolean
}

export class SimulatedLink {
  readonly stack: GuestStack
  readonly guest: MemoryGuest
  readonly notices: string[] = []
  /** Sees each frame that a side sends; false loses it. */
  filter: ((frame: Uint8Array, isToGuest: boolean) => boolean) | undefined
  /** What the gateway does about a call of the guest's. */
  onCall: (connection: TcpConnection) => void = (connection) => connection.abort()
  quality: LinkQuality
  now = 0
  frames = 0
  readonly #random: Random
  #flying: Flying[] = []
  #order = 0

  constructor(seed: number, quality: LinkQuality = {}) {
    this.#random = new Random(seed)
    this.quality = quality
    this.guest = new MemoryGuest((frame) => this.#send(frame, false))
    const addresses = {
      guestAddress: GUEST_ADDRESS,
      gatewayAddress: GATEWAY_ADDRESS,
      dnsAddress: DNS_ADDRESS,
    }
    const mac = Uint8Array.of(0x52, 0x55, 10, 0, 2, 2)
    this.stack = new GuestStack(
      { ...addresses, prefix: 24, mac, seed },
      {
        transmit: (frame) => this.#send(frame, true),
        onNotice: (text) => this.notices.push(text),
        onCall: (connection) => this.onCall(connection),
        onDatagram: () => 'prohibited',
        onDeadline: () => {},
      },
    )
  }

  /** Attaches, and lets both sides learn of each other. */
  start(): this {
    this.stack.attach(this.now)
    this.run(() => this.guest.knowsGateway)
    this.guest.arp()
    this.advance(50)
    return this
  }

  /** What is on its way to the guest is lost, as when its host dies. */
  loseFramesToGuest(): void {
    this.#flying = this.#flying.filter((each) => !each.isToGuest)
  }

  advance(ms: number): void {
    const end = this.now + ms
    this.run(() => false, end)
  }

  /** Goes on until `isDone`; an error if that is not so by `end`. */
  run(isDone: () => boolean, end = this.now + 600_000): void {
    while (!isDone()) {
      const next = this.#nextAt()
      if (next > end) {
        this.#setTime(end)
        return
      }
      this.#setTime(Math.max(this.now, next))
      this.#deliver()
      this.stack.tick()
      this.guest.tick(this.now)
    }
  }

  #nextAt(): number {
    const flying = this.#flying.reduce(
      (earliest, each) => Math.min(earliest, each.at),
      Number.POSITIVE_INFINITY,
    )
    return Math.min(flying, this.stack.deadline, this.guest.timers.earliest)
  }

  #setTime(now: number): void {
    this.now = now
    this.stack.at(now)
    this.guest.now = now
  }

  #deliver(): void {
    const due = this.#flying.filter((each) => each.at <= this.now)
    this.#flying = this.#flying.filter((each) => each.at > this.now)
    due.sort((one, other) => one.at - other.at || one.order - other.order)
    for (const { frame, isToGuest } of due) {
      if (isToGuest) this.guest.receive(frame)
      else this.stack.receive(frame)
    }
  }

  #send(frame: Uint8Array, isToGuest: boolean): void {
    this.frames++
    if (this.filter?.(frame, isToGuest) === false) return
    const { loss = 0, repeats = 0, delayMsMin = 1, delayMsMax = 1 } = this.quality
    const copies = this.#random.chance(loss) ? 0 : this.#random.chance(repeats) ? 2 : 1
    for (let copy = 0; copy < copies; copy++) {
      const delay = delayMsMin + this.#random.fraction() * (delayMsMax - delayMsMin)
      this.#flying.push({ at: this.now + delay, order: this.#order++, frame: frame.slice(), isToGuest })
    }
  }
}

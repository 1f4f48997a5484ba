/**
 * What tells a plain network that a machine is at another place now: switches learn a station's place from frames that
 * it sends, and a machine that has only listened since it moved would stay unreachable until they forget.
 */

const BROADCAST = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] as const
const TYPE_ARP = 0x0806
const TYPE_RARP = 0x8035
const ARP_REQUEST = 1
const RARP_REQUEST = 3
/** Without check sequence. */
const FRAME_BYTES_MIN = 60

/** How long after going live it is said, again and again, in milliseconds: any of it may be lost. */
export const ANNOUNCE_AT_MS = [0, 50, 150, 400, 1000, 2000, 4000] as const

/** And from then on, for as long as it is live. */
const ANNOUNCE_EVERY_MS = 5000
/** Between answers to others that show the machine's address. */
const ANSWER_MS_MIN = 50
/** Behind the packet, where the frame is filled up: this word, and the epoch in eight bytes. */
const EPOCH_MARK = 0x55535459
const EPOCH_MARK_OFFSET = 42

/** A frame from `mac`: a gratuitous ARP request (RFC 5227) if the machine's address is known, else RARP (RFC 903). */
export function announcement(mac: Uint8Array, address: string | undefined, epoch: number): Uint8Array {
  const frame = new Uint8Array(FRAME_BYTES_MIN)
  const view = new DataView(frame.buffer)
  frame.set(BROADCAST, 0)
  frame.set(mac, 6)
  view.setUint16(12, address === undefined ? TYPE_RARP : TYPE_ARP)
  view.setUint16(14, 1)
  view.setUint16(16, 0x0800)
  frame[18] = 6
  frame[19] = 4
  view.setUint16(20, address === undefined ? RARP_REQUEST : ARP_REQUEST)
  frame.set(mac, 22)
  view.setUint32(EPOCH_MARK_OFFSET, EPOCH_MARK)
  view.setBigUint64(EPOCH_MARK_OFFSET + 4, BigInt(epoch))
  if (address === undefined) {
    frame.set(mac, 32)
    return frame
  }
  const bytes = address.split('.').map(Number)
  frame.set(bytes, 28)
  frame.set(bytes, 38)
  return frame
}

/** The epoch of an announcement; undefined if the frame is none. */
export function epochOf(frame: Uint8Array): number | undefined {
  if (frame.length < FRAME_BYTES_MIN) return undefined
  const view = new DataView(frame.buffer, frame.byteOffset)
  if (view.getUint32(EPOCH_MARK_OFFSET) !== EPOCH_MARK) return undefined
  return Number(view.getBigUint64(EPOCH_MARK_OFFSET + 4))
}

/** The IPv4 address that a machine's kernel parameters give it, by the last that speaks of it; undefined for none. */
export function addressOf(bootArguments: string): string | undefined {
  const chosen = bootArguments.split(' ').findLast((word) => word.startsWith('understudy.net='))
  return /=(\d{1,3}(?:\.\d{1,3}){3})\//.exec(chosen ?? '')?.[1]
}

/**
 * Says it again and again while a machine is live here, and at once when somebody else shows its address: a primary that
 * has been replaced and does not know it goes on for a moment with what its successor knows (this here included), and would
 * draw the machine's frames to itself for as long as switches remember. When it hears of its successor it falls silent.
 */
export class Announcer {
  readonly #mac: Uint8Array
  readonly #address: string | undefined
  readonly #send: (frame: Uint8Array) => void
  readonly #timers = new Set<NodeJS.Timeout>()
  #epoch = 0
  #lastMs = -Infinity

  /** `address` is the machine's, if it is known. */
  constructor(mac: Uint8Array, address: string | undefined, send: (frame: Uint8Array) => void) {
    this.#mac = mac
    this.#address = address
    this.#send = send
  }

  /** The machine is live here from now on, in this epoch. */
  start(epoch: number): void {
    this.stop()
    this.#epoch = epoch
    this.#announce()
    for (const ms of ANNOUNCE_AT_MS) if (ms > 0) this.#announceAfter(ms)
    this.#announceForever()
  }

  stop(): void {
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers.clear()
  }

  /** Looks at a frame that has come from the network. */
  onFrame(frame: Uint8Array): void {
    if (this.#timers.size === 0 || !this.#mac.every((byte, i) => frame[6 + i] === byte)) return
    if ((epochOf(frame) ?? 0) > this.#epoch) return this.stop()
    // Where a network repeats what it is told, this would go round without end.
    if (performance.now() - this.#lastMs > ANSWER_MS_MIN) this.#announce()
  }

  #announceForever(): void {
    this.#announceAfter(ANNOUNCE_EVERY_MS, () => this.#announceForever())
  }

  #announce(): void {
    this.#lastMs = performance.now()
    this.#send(announcement(this.#mac, this.#address, this.#epoch))
  }

  #announceAfter(ms: number, then?: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      this.#announce()
      then?.()
    }, ms)
    this.#timers.add(timer)
  }
}

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

/** A frame from `mac`: a gratuitous ARP request (RFC 5227) if the machine's address is known, else RARP (RFC 903). */
export function announcement(mac: Uint8Array, address: string | undefined): Uint8Array {
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
  if (address === undefined) {
    frame.set(mac, 32)
    return frame
  }
  const bytes = address.split('.').map(Number)
  frame.set(bytes, 28)
  frame.set(bytes, 38)
  return frame
}

/** The IPv4 address that a machine's kernel parameters give it; undefined if they give none. */
export function addressOf(bootArguments: string): string | undefined {
  return /(?:^| )understudy\.net=(\d{1,3}(?:\.\d{1,3}){3})\//.exec(bootArguments)?.[1]
}

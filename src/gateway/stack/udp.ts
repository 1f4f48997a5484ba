/** UDP (RFC 768): source port, destination port, length, checksum, two bytes each. */
import { get16, put16 } from './big_endian.ts'
import { ETHERNET_BYTES, MTU_BYTES } from './ethernet.ts'
import { foldSum, sumPseudoHeader, sumWords } from './internet_checksum.ts'
import { IPV4_BYTES, type Ipv4Packet, PROTOCOL_UDP } from './ipv4.ts'
import { type Refusal, refuse } from './refusal.ts'

export const UDP_BYTES = 8
/** What one packet carries. */
export const UDP_PAYLOAD_MAX = MTU_BYTES - IPV4_BYTES - UDP_BYTES

export interface UdpDatagram {
  readonly source: number
  readonly destination: number
  readonly sourcePort: number
  readonly destinationPort: number
  readonly payload: Uint8Array
}

export function parseUdp({ source, destination, payload }: Ipv4Packet): UdpDatagram | Refusal {
  if (payload.length < UDP_BYTES) return refuse('a UDP datagram that is cut off')
  const length = get16(payload, 4)
  if (length < UDP_BYTES || length > payload.length) return refuse('a UDP datagram with a wrong length')
  // A checksum of 0 means that there is none.
  if (get16(payload, 6) !== 0) {
    const sum = sumPseudoHeader(source, destination, PROTOCOL_UDP, length)
    if (foldSum(sumWords(payload, 0, length, sum)) !== 0) {
      return refuse('a UDP datagram with a wrong checksum')
    }
  }
  const sourcePort = get16(payload, 0)
  const destinationPort = get16(payload, 2)
  return { source, destination, sourcePort, destinationPort, payload: payload.subarray(UDP_BYTES, length) }
}

/** Writes header and content behind IPv4's header. */
export function writeUdp(frame: Uint8Array, datagram: UdpDatagram): void {
  const { source, destination, payload } = datagram
  const at = ETHERNET_BYTES + IPV4_BYTES
  const length = UDP_BYTES + payload.length
  put16(frame, at, datagram.sourcePort)
  put16(frame, at + 2, datagram.destinationPort)
  put16(frame, at + 4, length)
  frame.set(payload, at + UDP_BYTES)
  const sum = sumPseudoHeader(source, destination, PROTOCOL_UDP, length)
  const checksum = foldSum(sumWords(frame, at, at + length, sum))
  put16(frame, at + 6, checksum === 0 ? 0xffff : checksum)
}

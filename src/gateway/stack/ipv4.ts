/**
 * IPv4 (RFC 791), inside an Ethernet frame.
 *
 * Fragments are refused. TCP of a guest with the MTU of this link sends none, and what little large UDP there is (DNS
 * says how much it takes, and falls back to TCP) is not worth buffers that a hostile guest could fill.
 */
import { get16, get32, put16, put32 } from './big_endian.ts'
import { ETHERNET_BYTES } from './ethernet.ts'
import { foldSum, sumWords } from './internet_checksum.ts'
import { type Refusal, refuse } from './refusal.ts'

export const IPV4_BYTES = 20
export const PROTOCOL_ICMP = 1
export const PROTOCOL_TCP = 6
export const PROTOCOL_UDP = 17

const TIME_TO_LIVE = 64
const DO_NOT_FRAGMENT = 0x4000
/** The "more fragments" flag and the offset. */
const FRAGMENT_BITS = 0x3fff

export interface Ipv4Packet {
  readonly source: number
  readonly destination: number
  readonly protocol: number
  /** Header and content, without the padding of short frames. */
  readonly bytes: Uint8Array
  readonly payload: Uint8Array
}

export function parseIpv4(frame: Uint8Array): Ipv4Packet | Refusal {
  const start = ETHERNET_BYTES
  if (frame.length < start + IPV4_BYTES) return refuse('an IPv4 packet that is cut off')
  if (frame[start]! >> 4 !== 4) return refuse('an IPv4 packet of another version')
  const headerBytes = (frame[start]! & 15) * 4
  const totalBytes = get16(frame, start + 2)
  if (headerBytes < IPV4_BYTES || totalBytes < headerBytes || totalBytes > frame.length - start) {
    return refuse('an IPv4 packet with a wrong length')
  }
  if (foldSum(sumWords(frame, start, start + headerBytes, 0)) !== 0) {
    return refuse('an IPv4 packet with a wrong checksum')
  }
  if ((get16(frame, start + 6) & FRAGMENT_BITS) !== 0) {
    return refuse('a fragment of an IPv4 packet (fragments are not put together)')
  }
  return {
    source: get32(frame, start + 12),
    destination: get32(frame, start + 16),
    protocol: frame[start + 9]!,
    bytes: frame.subarray(start, start + totalBytes),
    payload: frame.subarray(start + headerBytes, start + totalBytes),
  }
}

/** Writes the header behind Ethernet's; `contentBytes` follow it. */
export function writeIpv4(
  frame: Uint8Array,
  source: number,
  destination: number,
  protocol: number,
  contentBytes: number,
): void {
  const at = ETHERNET_BYTES
  frame[at] = 0x45
  put16(frame, at + 2, IPV4_BYTES + contentBytes)
  // The identification stays 0: a packet that may not be fragmented needs none (RFC 6864).
  put16(frame, at + 6, DO_NOT_FRAGMENT)
  frame[at + 8] = TIME_TO_LIVE
  frame[at + 9] = protocol
  put32(frame, at + 12, source)
  put32(frame, at + 16, destination)
  put16(frame, at + 10, foldSum(sumWords(frame, at, at + IPV4_BYTES, 0)))
}

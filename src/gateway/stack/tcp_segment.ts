/**
 * TCP segments (RFC 9293, section 3.1), with the options MSS and window scale (RFC 7323); others are skipped.
 *
 *     source port 2 | destination port 2 | sequence 4 | acknowledgment 4 | offset and flags 2 | window 2 | checksum 2 |
 *     urgent 2 | options
 *
 * Neither side offers SACK or timestamps. The link loses frames in two cases: at a failover, after which everything
 * unacknowledged is sent at once, so there is nothing to select; and when a guest's receive queue overflows, which the
 * bound of a connection's unacknowledged bytes keeps rare. Round trips are timed without timestamps, and sequence
 * numbers cannot wrap around within the life of a frame that is in this process's own memory.
 */
import { get16, get32, put16, put32 } from './big_endian.ts'
import { ETHERNET_BYTES, MTU_BYTES } from './ethernet.ts'
import { foldSum, sumPseudoHeader, sumWords } from './internet_checksum.ts'
import { IPV4_BYTES, type Ipv4Packet, PROTOCOL_TCP } from './ipv4.ts'
import { type Refusal, refuse } from './refusal.ts'

export const TCP_BYTES = 20
/** What one packet carries without options. */
export const MSS_MAX = MTU_BYTES - IPV4_BYTES - TCP_BYTES
/** What a side takes that does not say (RFC 9293, section 3.7.1). */
export const MSS_DEFAULT = 536

export const FIN = 1
export const SYN = 2
export const RST = 4
export const PSH = 8
export const ACK = 16

/** RFC 7323, section 2.3. */
const WINDOW_SCALE_MAX = 14
const OPTION = { end: 0, nothing: 1, mss: 2, windowScale: 3 } as const

export interface TcpSegment {
  readonly sourcePort: number
  readonly destinationPort: number
  readonly sequence: number
  readonly acknowledgment: number
  readonly flags: number
  /** As in the header: not scaled. */
  readonly window: number
  readonly payload: Uint8Array
  /** Only in a segment with SYN. */
  readonly options: SynOptions | undefined
}

export interface SynOptions {
  readonly mss: number | undefined
  /** How many bits windows are shifted by; undefined if the side does not scale. */
  readonly windowScale: number | undefined
}

export function parseTcp({ source, destination, payload: bytes }: Ipv4Packet): TcpSegment | Refusal {
  if (bytes.length < TCP_BYTES) return refuse('a TCP segment that is cut off')
  const headerBytes = (bytes[12]! >> 4) * 4
  if (headerBytes < TCP_BYTES || headerBytes > bytes.length) {
    return refuse('a TCP segment with a wrong length')
  }
  const sum = sumPseudoHeader(source, destination, PROTOCOL_TCP, bytes.length)
  if (foldSum(sumWords(bytes, 0, bytes.length, sum)) !== 0) {
    return refuse('a TCP segment with a wrong checksum')
  }
  const flags = bytes[13]! & 0x3f
  return {
    sourcePort: get16(bytes, 0),
    destinationPort: get16(bytes, 2),
    sequence: get32(bytes, 4),
    acknowledgment: get32(bytes, 8),
    flags,
    window: get16(bytes, 14),
    payload: bytes.subarray(headerBytes),
    options: (flags & SYN) === 0 ? undefined : parseOptions(bytes.subarray(TCP_BYTES, headerBytes)),
  }
}

/** What is not understood, or does not fit, ends the list: a SYN without options is a good SYN. */
function parseOptions(bytes: Uint8Array): SynOptions {
  let mss: number | undefined
  let windowScale: number | undefined
  for (let at = 0; at < bytes.length && bytes[at] !== OPTION.end; ) {
    if (bytes[at] === OPTION.nothing) {
      at++
      continue
    }
    const length = bytes[at + 1] ?? 0
    if (length < 2 || at + length > bytes.length) break
    if (bytes[at] === OPTION.mss && length === 4) mss = get16(bytes, at + 2)
    if (bytes[at] === OPTION.windowScale && length === 3) {
      windowScale = Math.min(bytes[at + 2]!, WINDOW_SCALE_MAX)
    }
    at += length
  }
  return { mss, windowScale }
}

/** The length of the header with these options. */
export function tcpHeaderBytes(options: SynOptions | undefined): number {
  if (options === undefined) return TCP_BYTES
  return TCP_BYTES + 4 + (options.windowScale === undefined ? 0 : 4)
}

/** Writes the header behind IPv4's, and the checksum over it and the `payloadBytes` that already stand behind it. */
export function writeTcpHeader(
  frame: Uint8Array,
  source: number,
  destination: number,
  segment: Omit<TcpSegment, 'payload'>,
): void {
  const at = ETHERNET_BYTES + IPV4_BYTES
  const { options } = segment
  put16(frame, at, segment.sourcePort)
  put16(frame, at + 2, segment.destinationPort)
  put32(frame, at + 4, segment.sequence)
  put32(frame, at + 8, segment.acknowledgment)
  frame[at + 12] = (tcpHeaderBytes(options) / 4) << 4
  frame[at + 13] = segment.flags
  put16(frame, at + 14, segment.window)
  if (options !== undefined) writeOptions(frame, at + TCP_BYTES, options)
  const sum = sumPseudoHeader(source, destination, PROTOCOL_TCP, frame.length - at)
  put16(frame, at + 16, 0)
  put16(frame, at + 16, foldSum(sumWords(frame, at, frame.length, sum)))
}

function writeOptions(frame: Uint8Array, at: number, { mss, windowScale }: SynOptions): void {
  frame[at] = OPTION.mss
  frame[at + 1] = 4
  put16(frame, at + 2, mss ?? MSS_MAX)
  if (windowScale === undefined) return
  frame[at + 4] = OPTION.nothing
  frame[at + 5] = OPTION.windowScale
  frame[at + 6] = 3
  frame[at + 7] = windowScale
}

/** ICMP (RFC 792): answers to echo requests, and word that something cannot be reached. Type, code, checksum, rest. */
import { put16 } from './big_endian.ts'
import { foldSum, sumWords } from './internet_checksum.ts'
import { IPV4_BYTES, type Ipv4Packet } from './ipv4.ts'
import { type Refusal, refuse } from './refusal.ts'

const ICMP_BYTES = 8
const ECHO_REPLY = 0
const DESTINATION_UNREACHABLE = 3
const ECHO_REQUEST = 8

/** Codes of "destination unreachable" (RFC 1122 and 1812). */
const UNREACHABLE = { host: 1, port: 3, prohibited: 13 } as const

export type UnreachableReason = keyof typeof UNREACHABLE

/** The answer to an echo request; undefined for any other message, since nobody here has asked for one. */
export function echoReply(message: Uint8Array): Uint8Array | Refusal | undefined {
  if (message.length < ICMP_BYTES) return refuse('an ICMP message that is cut off')
  if (foldSum(sumWords(message, 0, message.length, 0)) !== 0) {
    return refuse('an ICMP message with a wrong checksum')
  }
  if (message[0] !== ECHO_REQUEST) return undefined
  const reply = message.slice()
  reply[0] = ECHO_REPLY
  return seal(reply)
}

export function isEchoRequest(message: Uint8Array): boolean {
  return message.length >= ICMP_BYTES && message[0] === ECHO_REQUEST
}

/** Says that what `packet` was for cannot be reached, with its header and first 8 bytes to know it by. */
export function unreachable(packet: Ipv4Packet, reason: UnreachableReason): Uint8Array {
  const headerBytes = packet.bytes.length - packet.payload.length
  const quoted = packet.bytes.subarray(0, Math.max(IPV4_BYTES, headerBytes) + 8)
  const message = new Uint8Array(ICMP_BYTES + quoted.length)
  message[0] = DESTINATION_UNREACHABLE
  message[1] = UNREACHABLE[reason]
  message.set(quoted, ICMP_BYTES)
  return seal(message)
}

function seal(message: Uint8Array): Uint8Array {
  put16(message, 2, 0)
  put16(message, 2, foldSum(sumWords(message, 0, message.length, 0)))
  return message
}

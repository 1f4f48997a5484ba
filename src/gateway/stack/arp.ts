/**
 * ARP for Ethernet and IPv4 (RFC 826).
 *
 *     hardware 2 = 1 | protocol 2 = 0800 | 6 | 4 | operation 2 | sender MAC 6 | sender IP 4 | target MAC 6 | target IP 4
 */
import { MAC_BYTES } from './address.ts'
import { get16, get32, put16, put32 } from './big_endian.ts'
import { ETHERNET_BYTES, TYPE_ARP, TYPE_IPV4, writeEthernet } from './ethernet.ts'
import { type Refusal, refuse } from './refusal.ts'

export const ARP_REQUEST = 1
export const ARP_REPLY = 2

const ARP_BYTES = 28

export interface ArpPacket {
  readonly operation: number
  readonly senderMac: Uint8Array
  readonly senderAddress: number
  readonly targetMac: Uint8Array
  readonly targetAddress: number
}

export function parseArp(frame: Uint8Array): ArpPacket | Refusal {
  if (frame.length < ETHERNET_BYTES + ARP_BYTES) return refuse('an ARP packet that is cut off')
  const packet = frame.subarray(ETHERNET_BYTES)
  const isKnown = get16(packet, 0) === 1 && get16(packet, 2) === TYPE_IPV4
  if (!isKnown || packet[4] !== MAC_BYTES || packet[5] !== 4)
    return refuse('an ARP packet of another network')
  return {
    operation: get16(packet, 6),
    senderMac: packet.slice(8, 14),
    senderAddress: get32(packet, 14),
    targetMac: packet.slice(18, 24),
    targetAddress: get32(packet, 24),
  }
}

/** The whole frame, to `destination`. */
export function arpFrame(destination: Uint8Array, packet: ArpPacket): Uint8Array {
  const frame = new Uint8Array(ETHERNET_BYTES + ARP_BYTES)
  writeEthernet(frame, destination, packet.senderMac, TYPE_ARP)
  const body = frame.subarray(ETHERNET_BYTES)
  put16(body, 0, 1)
  put16(body, 2, TYPE_IPV4)
  body[4] = MAC_BYTES
  body[5] = 4
  put16(body, 6, packet.operation)
  body.set(packet.senderMac, 8)
  put32(body, 14, packet.senderAddress)
  body.set(packet.targetMac, 18)
  put32(body, 24, packet.targetAddress)
  return frame
}

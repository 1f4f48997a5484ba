/** Ethernet II: destination 6, source 6, type 2, content. No check sequence: a virtual cable has no noise. */
import { MAC_BYTES } from './address.ts'
import { get16, put16 } from './big_endian.ts'

export const ETHERNET_BYTES = 14
/** A header and 1500 bytes. */
export const FRAME_BYTES_MAX = 1514
export const MTU_BYTES = FRAME_BYTES_MAX - ETHERNET_BYTES

export const TYPE_IPV4 = 0x0800
export const TYPE_ARP = 0x0806

export function etherType(frame: Uint8Array): number {
  return get16(frame, 12)
}

export function destinationMac(frame: Uint8Array): Uint8Array {
  return frame.subarray(0, MAC_BYTES)
}

export function sourceMac(frame: Uint8Array): Uint8Array {
  return frame.subarray(MAC_BYTES, 2 * MAC_BYTES)
}

export function writeEthernet(
  frame: Uint8Array,
  destination: Uint8Array,
  source: Uint8Array,
  type: number,
): void {
  frame.set(destination, 0)
  frame.set(source, MAC_BYTES)
  put16(frame, 12, type)
}

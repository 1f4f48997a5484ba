/** Addresses of Ethernet (six bytes) and of IPv4 (an unsigned 32-bit number), and their text. */

export const MAC_BYTES = 6
export const BROADCAST_ADDRESS = 0xffff_ffff
export const BROADCAST_MAC = new Uint8Array(MAC_BYTES).fill(0xff)

/** The number of a dotted IPv4 address; undefined if it is none. Leading zeros are refused: some read them as octal. */
export function ipv4FromText(text: string): number | undefined {
  const parts = text.split('.')
  if (parts.length !== 4) return undefined
  let address = 0
  for (const part of parts) {
    if (!/^(?:0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined
    address = address * 256 + Number(part)
  }
  return address
}

export function ipv4Text(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`
}

/** The addresses with the same first `prefix` bits. */
export function networkMask(prefix: number): number {
  return prefix === 0 ? 0 : (0xffff_ffff << (32 - prefix)) >>> 0
}

export function isSameMac(one: Uint8Array, other: Uint8Array): boolean {
  for (let i = 0; i < MAC_BYTES; i++) if (one[i] !== other[i]) return false
  return true
}

/** 224.0.0.0/4, and 240.0.0.0/4 with the broadcast address: no single host has one of these. */
export function isMulticastOrReserved(address: number): boolean {
  return address >= 0xe000_0000
}

/** 127.0.0.0/8, and 0.0.0.0/8, which systems take for themselves as well. */
export function isLoopback(address: number): boolean {
  return address >>> 24 === 127 || address >>> 24 === 0
}

/** 169.254.0.0/16 (RFC 3927): what is on the host's own link, as the metadata of a cloud's machines. */
export function isLinkLocal(address: number): boolean {
  return address >>> 16 === 0xa9fe
}

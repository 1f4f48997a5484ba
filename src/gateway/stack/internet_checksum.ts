/** The checksum of IPv4, ICMP, UDP and TCP (RFC 1071): the ones' complement of a sum of 16-bit words. */

/** From here on it pays to look at the bytes as words of this host. */
const FAST_BYTES_MIN = 128
const isLittleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1

/**
 * Adds the words of `bytes` from `start` up to `end` to `sum`; an odd last byte is the upper half of a word. Sums of up
 * to 64 KiB stay below 2^32.
 */
export function sumWords(bytes: Uint8Array, start: number, end: number, sum: number): number {
  const isEven = ((bytes.byteOffset + start) & 1) === 0
  if (isEven && isLittleEndian && end - start >= FAST_BYTES_MIN) return sumFast(bytes, start, end, sum)
  let total = sum
  const pairs = end - ((end - start) & 1)
  for (let at = start; at < pairs; at += 2) total += (bytes[at]! << 8) | bytes[at + 1]!
  if (pairs !== end) total += bytes[pairs]! << 8
  return total
}

/** The sum does not care for the order of bytes, if its own are exchanged in the end (RFC 1071, section 2). */
function sumFast(bytes: Uint8Array, start: number, end: number, sum: number): number {
  const count = (end - start) >>> 1
  const words = new Uint16Array(bytes.buffer, bytes.byteOffset + start, count)
  let total = 0
  for (let i = 0; i < count; i++) total += words[i]!
  const folded = ~foldSum(total) & 0xffff
  const last = ((end - start) & 1) === 0 ? 0 : bytes[end - 1]! << 8
  return sum + ((folded >>> 8) | ((folded & 0xff) << 8)) + last
}

/** The checksum that belongs to a sum. Over words that hold their own right checksum it is 0. */
export function foldSum(sum: number): number {
  let folded = (sum & 0xffff) + (sum >>> 16)
  folded = (folded & 0xffff) + (folded >>> 16)
  return ~folded & 0xffff
}

/** What UDP and TCP put before their own words (RFC 9293, section 3.1): both addresses, the protocol, the length. */
export function sumPseudoHeader(
  source: number,
  destination: number,
  protocol: number,
  length: number,
): number {
  const addresses = (source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff)
  return addresses + protocol + length
}

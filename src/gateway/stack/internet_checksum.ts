/** The checksum of IPv4, ICMP, UDP and TCP (RFC 1071): the ones' complement of a sum of 16-bit words. */

/**
 * Adds the words of `bytes` from `start` up to `end` to `sum`; an odd last byte is the upper half of a word. The sum is
 * exact up to some 60 KB, since a word is below 2^16 and the sum stays a small integer below 2^31.
 */
export function sumWords(bytes: Uint8Array, start: number, end: number, sum: number): number {
  let total = sum
  const pairs = end - ((end - start) & 1)
  for (let at = start; at < pairs; at += 2) total += (bytes[at]! << 8) | bytes[at + 1]!
  if (pairs !== end) total += bytes[pairs]! << 8
  return total
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

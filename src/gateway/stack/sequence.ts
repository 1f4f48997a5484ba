/**
 * TCP sequence numbers: unsigned, modulo 2^32 (RFC 9293, section 3.4). One is before another if it is less than 2^31
 * behind it, so the comparisons mean something only within a window, which is far smaller.
 */

export function add(sequence: number, count: number): number {
  return (sequence + count) >>> 0
}

/** How far `to` is ahead of `from`; negative if it is behind. */
export function distance(from: number, to: number): number {
  return (to - from) | 0
}

export function isBefore(one: number, other: number): boolean {
  return ((one - other) | 0) < 0
}

export function isAtOrBefore(one: number, other: number): boolean {
  return ((one - other) | 0) <= 0
}

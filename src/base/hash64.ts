/**
 * A fast 64-bit hash of content: digests of outputs and disk data, by which two copies compare what they did.
 *
 * Two 32-bit lanes take eight bytes a round. For a fixed block a round is a bijection of the state, and for a fixed
 * state a bijection of the block: inputs of one length that differ in one 8-byte block always leave different states,
 * others collide once in about 2^64. It is not cryptographic: whoever wants a collision can build one. That is enough
 * here, since it guards against faults and not against the guest. The value is part of the log's format: it never
 * changes without a new version there.
 */
const MULTIPLIER_A = 0x9e37_79b1
const MULTIPLIER_B = 0x85eb_ca77
const STEP_A = 0x2545_f491
const STEP_B = 0x61c8_8647

/** The hash of `bytes`, an unsigned 64-bit number. `seed` is an integer from 0 to 2^53 - 1. */
export function hash64(bytes: Uint8Array, seed = 0): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const length = bytes.length
  const whole = length & ~7
  let a = Math.imul(seed | 0, MULTIPLIER_A) ^ STEP_A
  let b = Math.imul((seed / 2 ** 32) | 0, MULTIPLIER_B) ^ STEP_B
  for (let i = 0; i < whole; i += 8) {
    a ^= Math.imul(view.getInt32(i, true), MULTIPLIER_A)
    a = Math.imul(((a << 13) | (a >>> 19)) + b, MULTIPLIER_B) + STEP_A
    b ^= Math.imul(view.getInt32(i + 4, true), MULTIPLIER_B)
    b = Math.imul(((b << 17) | (b >>> 15)) + a, MULTIPLIER_A) + STEP_B
  }
  // One more round for the rest, empty or not; written out, since a branch in the loop would slow down every round.
  a ^= Math.imul(tailWord(bytes, whole), MULTIPLIER_A)
  a = Math.imul(((a << 13) | (a >>> 19)) + b, MULTIPLIER_B) + STEP_A
  b ^= Math.imul(tailWord(bytes, whole + 4), MULTIPLIER_B)
  b = Math.imul(((b << 17) | (b >>> 15)) + a, MULTIPLIER_A) + STEP_B
  a = scramble(a ^ length) + b
  b = scramble(b) + a
  a = scramble(a) + b
  return (BigInt(a >>> 0) << 32n) | BigInt(scramble(b) >>> 0)
}

/** The up to four bytes from `start` on, filled up with zeros. The length, mixed in later, tells them apart. */
function tailWord(bytes: Uint8Array, start: number): number {
  let word = 0
  for (let i = Math.min(bytes.length, start + 4) - 1; i >= start; i--) word = (word << 8) | bytes[i]!
  return word
}

/** Spreads every bit over all 32. */
function scramble(value: number): number {
  let mixed = Math.imul(value ^ (value >>> 16), 0x7feb_352d)
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x846c_a68b)
  return mixed ^ (mixed >>> 16)
}

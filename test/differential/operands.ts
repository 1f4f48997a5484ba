/**
 * Hard operands: the integers, floats and doubles at which implementations go wrong. A third of the floating-point
 * values are made from the one before, so that a register file holds near neighbours, opposites, and values one
 * rounding position apart: cancellation, ties and sticky bits are then likely instead of nearly impossible.
 */
import type { Random } from '../../src/base/prng.ts'

const mask64 = 0xffff_ffff_ffff_ffffn

/** What a pool of operands is for. */
export type OperandKind = 'integer' | 'single' | 'double'

/** `count` 64-bit operands, four fifths of them of this kind. */
export function operandPool(random: Random, kind: OperandKind, count: number): BigUint64Array {
  const pool = new BigUint64Array(count)
  for (let index = 0; index < count; index++) {
    const chosen = random.chance(0.8) ? kind : random.pick(['integer', 'single', 'double'] as const)
    const before = pool[Math.max(0, index - random.between(1, 3))]!
    if (chosen === 'integer') pool[index] = integer(random)
    else if (chosen === 'single') pool[index] = boxed(random, float(random, SINGLE, before & 0xffff_ffffn))
    else pool[index] = float(random, DOUBLE, before)
  }
  return pool
}

/** A 64-bit integer, often at an edge of one of the widths. */
export function integer(random: Random): bigint {
  switch (random.below(8)) {
    case 0:
      return BigInt.asUintN(64, BigInt(random.between(-4, 4)))
    case 1:
      return (1n << BigInt(random.below(64))) & mask64
    case 2:
      return BigInt.asUintN(64, (1n << BigInt(random.below(65))) - BigInt(random.below(3)))
    case 3:
      return BigInt.asUintN(64, -(1n << BigInt(random.below(64))) + BigInt(random.between(-1, 1)))
    case 4:
      return BigInt.asUintN(64, BigInt.asIntN(32, BigInt(random.u32())))
    case 5:
      return random.u64() >> BigInt(random.below(64))
    case 6:
      return 0x0101_0101_0101_0101n * BigInt(random.below(256))
    default:
      return random.u64()
  }
}

interface FloatFormat {
  readonly exponentBits: number
  readonly fractionBits: number
}

const SINGLE: FloatFormat = { exponentBits: 8, fractionBits: 23 }
const DOUBLE: FloatFormat = { exponentBits: 11, fractionBits: 52 }

function float(random: Random, format: FloatFormat, before: bigint): bigint {
  if (random.chance(0.35)) return relative(random, format, before)
  const fractionBits = BigInt(format.fractionBits)
  const sign = BigInt(random.below(2)) << BigInt(format.exponentBits + format.fractionBits)
  return sign | (exponent(random, format) << fractionBits) | fraction(random, fractionBits)
}

/** A value that meets `before` in an addition, a comparison or a fused multiplication with some trouble. */
function relative(random: Random, format: FloatFormat, before: bigint): bigint {
  const width = format.exponentBits + format.fractionBits + 1
  const one = 1n << BigInt(format.fractionBits)
  switch (random.below(4)) {
    case 0:
      return before ^ (1n << BigInt(width - 1))
    case 1:
      return BigInt.asUintN(width, before + BigInt(random.between(-1, 1)))
    case 2:
      return BigInt.asUintN(width, before + one * BigInt(random.between(-2, 2) + format.fractionBits))
    default:
      return BigInt.asUintN(width, before ^ (1n << BigInt(width - 1))) + BigInt(random.between(0, 1))
  }
}

function exponent(random: Random, format: FloatFormat): bigint {
  const largest = (1 << format.exponentBits) - 1
  const bias = largest >> 1
  switch (random.below(6)) {
    case 0:
      return 0n
    case 1:
      return BigInt(random.pick([1, 2, largest - 1, largest - 2, largest]))
    case 2:
      return BigInt(random.between(bias - 2, bias + 2))
    case 3:
      // Around the ranges of the integer conversions.
      return BigInt(
        bias + random.pick([30, 31, 32, 62, 63, 64, format.fractionBits, format.fractionBits + 1]),
      )
    case 4:
      // Products and quotients of two such values fall around the smallest and the largest number.
      return BigInt(random.pick([bias >> 1, bias + (bias >> 1)]) + random.between(-2, 2))
    default:
      return BigInt(random.between(0, largest))
  }
}

function fraction(random: Random, bits: bigint): bigint {
  const all = (1n << bits) - 1n
  switch (random.below(6)) {
    case 0:
      return 0n
    case 1:
      return random.pick([1n, 2n, 3n, all, all - 1n])
    case 2:
      // A quiet NaN, if the exponent says NaN; else a half.
      return 1n << (bits - 1n)
    case 3:
      return 1n << BigInt(random.below(Number(bits)))
    case 4:
      return all ^ ((1n << BigInt(random.below(Number(bits)))) - 1n)
    default:
      return random.u64() & all
  }
}

/** A single in a 64-bit register; one in twelve is improperly boxed and counts as a NaN. */
function boxed(random: Random, single: bigint): bigint {
  const upper = random.chance(1 / 12) ? random.pick([0n, 0x7fff_ffffn, 0xffff_fffen]) : 0xffff_ffffn
  return (upper << 32n) | single
}

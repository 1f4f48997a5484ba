/**
 * Every function against the BigInt oracle: seeded operands that prefer the hard cases, all five rounding modes, values
 * and flags, with and without the fast paths' short cut. FLOAT_CASES sets the number of cases for each function.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../../host/engine.ts'
import type { EngineFunction } from '../../wasm/engine.ts'
import { ModuleBuilder } from '../../wasm/module.ts'
import { boxSingle, buildFloat, unboxSingle } from './float.ts'
import {
  ORACLE_DOUBLE,
  ORACLE_SINGLE,
  type OracleFormat,
  type Outcome,
  oracleAdd,
  oracleClassify,
  oracleCompare,
  oracleDiv,
  oracleExtremum,
  oracleFma,
  oracleFromInteger,
  oracleMul,
  oracleSqrt,
  oracleSub,
  oracleToFormat,
  oracleToInteger,
} from './float_oracle.ts'

const CASES = Number(process.env['FLOAT_CASES'] ?? 20_000)

/** The functions as exports, `add.s` to `fromLu.d`, and access to the flags. */
function instantiate(): Record<string, EngineFunction> {
  const module = new ModuleBuilder()
  const flags = module.global('i32', 0)
  const inexactAlready = module.global('i32', 0)
  const { single, double, ...between } = buildFloat(module, flags, { inexactAlready: () => inexactAlready })
  for (const [name, callee] of Object.entries(single)) module.exportFunction(callee, `${name}.s`)
  for (const [name, callee] of Object.entries(double)) module.exportFunction(callee, `${name}.d`)
  for (const [name, callee] of Object.entries(between)) module.exportFunction(callee, name)
  const takeFlags = module.function('takeFlags', ['i32'], ['i32'], (f) => {
    const taken = f.let(flags)
    f.setGlobal(flags, 0)
    f.setGlobal(inexactAlready, f.parameter(0, 'i32'))
    f.return(taken)
  })
  module.exportFunction(takeFlags)
  const unbox = module.function('unbox', ['i64'], ['i32'], (f) =>
    f.return(unboxSingle(f.parameter(0, 'i64'))),
  )
  module.exportFunction(unbox)
  const box = module.function('box', ['i32'], ['i64'], (f) => f.return(boxSingle(f.parameter(0, 'i32'))))
  module.exportFunction(box)
  return nodeEngine.instantiate(module.build(), {})
}

/** A generator of 32-bit numbers (xorshift), so that a failure can be run again. */
class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed | 1
  }

  next(): number {
    this.#state ^= this.#state << 13
    this.#state ^= this.#state >>> 17
    this.#state ^= this.#state << 5
    return this.#state >>> 0
  }

  below(limit: number): number {
    return this.next() % limit
  }

  bits(count: number): bigint {
    const whole = (BigInt(this.next()) << 32n) | BigInt(this.next())
    return whole & ((1n << BigInt(count)) - 1n)
  }
}

/** A fraction that is random, short, long, all ones or zeros, or nearly so: products and quotients that tie. */
function fraction(random: Random, bits: number): bigint {
  const all = (1n << BigInt(bits)) - 1n
  const shift = BigInt(random.below(bits))
  const shapes = [
    () => random.bits(bits),
    () => 0n,
    () => all,
    () => BigInt(random.below(4)),
    () => all - BigInt(random.below(4)),
    () => 1n << shift,
    () => (all << shift) & all,
    () => all >> shift,
    () => (random.bits(bits) << shift) & all,
    () => (1n << shift) + BigInt(random.below(3)) - 1n,
  ]
  return shapes[random.below(shapes.length)]!() & all
}

/** An exponent field: anything, the ends, around one, and where products and roots cross the ends. */
function exponentField(random: Random, format: OracleFormat): number {
  const bits = format.width - format.fractionBits - 1
  const max = 2 ** bits - 1
  const bias = (max - 1) / 2
  const near = (center: number, spread: number): number => center + random.below(2 * spread + 1) - spread
  const shapes = [
    () => random.below(max + 1),
    () => 0,
    () => random.below(4),
    () => max - random.below(4),
    () => near(bias, 3),
    () => near(bias, format.fractionBits + 4),
    () => near(bias + format.width, 36),
    () => near(bias >> 1, 6),
    () => near(bias + (bias >> 1), 6),
    () => random.below(format.fractionBits + 6),
    () => max - 1 - random.below(format.fractionBits),
  ]
  return Math.min(max, Math.max(0, shapes[random.below(shapes.length)]!()))
}

function operand(random: Random, format: OracleFormat): bigint {
  const sign = BigInt(random.below(2)) << BigInt(format.width - 1)
  const field = BigInt(exponentField(random, format)) << BigInt(format.fractionBits)
  return sign | field | fraction(random, format.fractionBits)
}

/** Another operand: independent, or close to `other` in exponent or value, so that sums cancel. */
function partner(random: Random, format: OracleFormat, other: bigint): bigint {
  const sign = BigInt(random.below(2)) << BigInt(format.width - 1)
  const mask = (1n << BigInt(format.width)) - 1n
  const step = BigInt(random.below(5) - 2)
  switch (random.below(5)) {
    case 0:
      return ((other ^ sign) + step) & mask
    case 1: {
      const kept = (other >> BigInt(format.fractionBits)) + step
      return (((kept << BigInt(format.fractionBits)) & mask) ^ sign) | fraction(random, format.fractionBits)
    }
    default:
      return operand(random, format)
  }
}

/** A third operand for a fused multiply-add: often the rounded product, negated, or near it. */
function addend(random: Random, format: OracleFormat, left: bigint, right: bigint): bigint {
  if (random.below(2) === 0) return operand(random, format)
  const product = oracleMul(format, left, right, random.below(5)).bits
  const sign = 1n << BigInt(format.width - 1)
  const gap = BigInt(random.below(2 * format.fractionBits + 6)) << BigInt(format.fractionBits)
  const candidates = [product ^ sign, product, (product ^ sign) + 1n, product - gap, product + gap]
  return BigInt.asUintN(format.width, candidates[random.below(candidates.length)]!)
}

/** An integer register: any length of bits, near a power of two, either sign, rubbish above a word. */
function integerOperand(random: Random): bigint {
  const length = random.below(64)
  const shapes = [
    () => random.bits(length + 1),
    () => (1n << BigInt(length)) + BigInt(random.below(5) - 2),
    () => fraction(random, 60) << BigInt(random.below(5)),
    () => (random.bits(25) << BigInt(length)) + BigInt(random.below(3)),
    () => random.bits(64),
  ]
  const value = shapes[random.below(shapes.length)]!()
  return BigInt.asUintN(64, random.below(2) === 0 ? value : -value)
}

/** A number near an integer type's limits or near a half. */
function nearInteger(random: Random, format: OracleFormat): bigint {
  if (random.below(3) === 0) return operand(random, format)
  const { bits } = oracleFromInteger(
    format,
    { width: 64, isSigned: true },
    integerOperand(random),
    random.below(5),
  )
  const halves = BigInt(random.below(3)) << BigInt(format.fractionBits)
  const moved = (bits & ((1n << BigInt(format.width - 1)) - 1n)) > halves ? bits - halves : bits
  return BigInt.asUintN(format.width, moved + BigInt(random.below(3) - 1))
}

const instance = instantiate()

/** What JavaScript gives and gets for a pattern: numbers for i32, BigInt for i64. */
function toArgument(format: OracleFormat, bits: bigint): number | bigint {
  return format.width === 32 ? Number(bits) | 0 : BigInt.asIntN(64, bits)
}

interface Case {
  readonly args: readonly (number | bigint)[]
  readonly expected: Outcome
}

function check(name: string, seed: number, next: (random: Random, rounding: number) => Case): void {
  const random = new Random(seed * 0x9e3779b1)
  const callee = instance[name]!
  const takeFlags = instance['takeFlags']!
  for (let index = 0; index < CASES; index++) {
    const rounding = index % 2 === 0 ? 0 : random.below(5)
    const already = random.below(2)
    const { args, expected } = next(random, rounding)
    takeFlags(already)
    const result = callee(...args) as number | bigint
    const flags = takeFlags(0) as number
    // With inexact raised already, raising it once more is allowed and leaving it out is too.
    const actual = BigInt.asUintN(typeof result === 'bigint' ? 64 : 32, BigInt(result))
    const same = actual === expected.bits && (flags | already) === (expected.flags | already)
    if (!same) assert.fail(describe(name, args, rounding, already, { bits: actual, flags }, expected))
  }
}

function describe(
  name: string,
  args: Case['args'],
  rounding: number,
  already: number,
  actual: Outcome,
  expected: Outcome,
): string {
  const hex = (value: number | bigint): string =>
    BigInt.asUintN(typeof value === 'bigint' ? 64 : 32, BigInt(value)).toString(16)
  const shown = ({ bits, flags }: Outcome): string => `${bits.toString(16)} flags ${flags}`
  const place = `${name}(${args.map(hex).join(', ')}) rounding ${rounding} inexact already ${already}`
  return `${place}: ${shown(actual)}, expected ${shown(expected)}`
}

const FORMATS = [
  { letter: 's', format: ORACLE_SINGLE },
  { letter: 'd', format: ORACLE_DOUBLE },
] as const

const INTEGERS = [
  { name: 'W', type: { width: 32, isSigned: true } },
  { name: 'Wu', type: { width: 32, isSigned: false } },
  { name: 'L', type: { width: 64, isSigned: true } },
  { name: 'Lu', type: { width: 64, isSigned: false } },
] as const

const ARITHMETIC = { add: oracleAdd, sub: oracleSub, mul: oracleMul, div: oracleDiv }

for (const { letter, format } of FORMATS) {
  const argument = (bits: bigint): number | bigint => toArgument(format, bits)

  for (const [name, oracle] of Object.entries(ARITHMETIC)) {
    test(`${name}.${letter} gives the rounded result and its flags`, () => {
      check(`${name}.${letter}`, 1, (random, rounding) => {
        const left = operand(random, format)
        const right = partner(random, format, left)
        const expected = oracle(format, left, right, rounding)
        return { args: [argument(left), argument(right), rounding], expected }
      })
    })
  }

  test(`div.${letter} is right where the quotient is exact or nearly so`, () => {
    check(`div.${letter}`, 2, (random, rounding) => {
      const right = operand(random, format)
      const { bits: product } = oracleMul(format, operand(random, format), right, rounding)
      const left = BigInt.asUintN(format.width, product + BigInt(random.below(3) - 1))
      const expected = oracleDiv(format, left, right, rounding)
      return { args: [argument(left), argument(right), rounding], expected }
    })
  })

  test(`sqrt.${letter} gives the rounded root and its flags`, () => {
    check(`sqrt.${letter}`, 3, (random, rounding) => {
      const value = operand(random, format)
      const square = oracleMul(format, value, value, random.below(5)).bits
      const bits =
        random.below(3) === 0 ? square : value & ~(BigInt(random.below(8) && 1) << BigInt(format.width - 1))
      return { args: [argument(bits), rounding], expected: oracleSqrt(format, bits, rounding) }
    })
  })

  test(`fma.${letter} rounds once`, () => {
    check(`fma.${letter}`, 4, (random, rounding) => {
      const left = operand(random, format)
      const right = partner(random, format, left)
      const third = addend(random, format, left, right)
      const expected = oracleFma(format, left, right, third, rounding)
      return { args: [argument(left), argument(right), argument(third), rounding], expected }
    })
  })

  for (const relation of ['eq', 'lt', 'le'] as const) {
    test(`${relation}.${letter} orders numbers and raises invalid for NaNs`, () => {
      check(`${relation}.${letter}`, 5, (random) => {
        const left = operand(random, format)
        const right = random.below(4) === 0 ? left : partner(random, format, left)
        const expected = oracleCompare(format, relation, left, right)
        return { args: [argument(left), argument(right)], expected }
      })
    })
  }

  for (const which of ['min', 'max'] as const) {
    test(`${which}.${letter} prefers numbers to NaNs and orders the zeros`, () => {
      check(`${which}.${letter}`, 6, (random) => {
        const left = operand(random, format)
        const right = partner(random, format, left)
        const expected = oracleExtremum(format, which, left, right)
        return { args: [argument(left), argument(right)], expected }
      })
    })
  }

  test(`classify.${letter} names the class`, () => {
    check(`classify.${letter}`, 7, (random) => {
      const bits = operand(random, format)
      return { args: [argument(bits)], expected: oracleClassify(format, bits) }
    })
  })

  for (const { name, type } of INTEGERS) {
    test(`to${name}.${letter} rounds, saturates and raises invalid`, () => {
      check(`to${name}.${letter}`, 8, (random, rounding) => {
        const bits = nearInteger(random, format)
        const expected = oracleToInteger(format, type, bits, rounding)
        return { args: [argument(bits), rounding], expected }
      })
    })

    test(`from${name}.${letter} rounds integers`, () => {
      check(`from${name}.${letter}`, 9, (random, rounding) => {
        const register = integerOperand(random)
        const expected = oracleFromInteger(format, type, register, rounding)
        return { args: [BigInt.asIntN(64, register), rounding], expected }
      })
    })
  }
}

test('singleToDouble is exact and makes NaNs canonical', () => {
  check('singleToDouble', 10, (random) => {
    const bits = operand(random, ORACLE_SINGLE)
    const expected = oracleToFormat(ORACLE_SINGLE, ORACLE_DOUBLE, bits, 0)
    return { args: [toArgument(ORACLE_SINGLE, bits)], expected }
  })
})

test('doubleToSingle rounds once, with overflow and underflow', () => {
  check('doubleToSingle', 11, (random, rounding) => {
    const { bits: near } = oracleToFormat(ORACLE_SINGLE, ORACLE_DOUBLE, operand(random, ORACLE_SINGLE), 0)
    const half = BigInt(random.below(4)) << 27n
    const bits =
      random.below(3) === 0 ? operand(random, ORACLE_DOUBLE) : near + half + BigInt(random.below(3)) - 1n
    const wide = BigInt.asUintN(64, bits)
    const expected = oracleToFormat(ORACLE_DOUBLE, ORACLE_SINGLE, wide, rounding)
    return { args: [toArgument(ORACLE_DOUBLE, wide), rounding], expected }
  })
})

test('a single that is not properly boxed reads as the canonical NaN', () => {
  assert.equal(instance['box']!(0x3f800000), BigInt.asIntN(64, 0xffffffff3f800000n))
  assert.equal(instance['box']!(-1), -1n)
  assert.equal(instance['unbox']!(BigInt.asIntN(64, 0xffffffff3f800000n)), 0x3f800000)
  assert.equal(instance['unbox']!(BigInt.asIntN(64, 0xfffffffe3f800000n)), 0x7fc00000)
  assert.equal(instance['unbox']!(0x3f800000n), 0x7fc00000)
})

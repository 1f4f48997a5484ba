/** The high halves of products, which WebAssembly has no instruction for, next to those of bigints. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Random } from '../base/prng.ts'
import { nodeEngine } from '../host/engine.ts'
import { BothWays } from './testing/both_ways.ts'
import { DATA } from './testing/program.ts'

const FACTORS = [0n, 1n, 2n, (1n << 32n) - 1n, 1n << 32n, (1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n]

/** Edges with each other, and with random numbers of all sizes. */
function pairs(random: Random): [bigint, bigint][] {
  const drawn = Array.from({ length: 40 }, () => random.u64() >> BigInt(random.below(64)))
  return [...FACTORS, ...drawn].flatMap((a) => [...FACTORS, ...drawn].map((b): [bigint, bigint] => [a, b]))
}

test('high halves of products are right, interpreted and translated', () => {
  const all = pairs(new Random(5))
  const both = new BothWays(
    nodeEngine,
    `li s0, ${DATA}; li s1, ${all.length}
   loop:
     ld t0, 0(s0); ld t1, 8(s0)
     mulhu t2, t0, t1; mulhsu t3, t0, t1; mulh t0, t0, t1
     sd t2, 16(s0); sd t3, 24(s0); sd t0, 32(s0)
     addi s0, s0, 40; addi s1, s1, -1; bnez s1, loop`,
  )
  both.each(({ machine }) => {
    const words = new BigUint64Array(all.flatMap(([a, b]) => [a, b, 0n, 0n, 0n]))
    machine.ram.write(DATA, new Uint8Array(words.buffer))
  })
  both.finish(100_003n)
  const bytes = both.translated.machine.ram.read(DATA, all.length * 40)
  const results = new BigUint64Array(bytes.buffer)
  const signed = (value: bigint): bigint => BigInt.asIntN(64, value)
  const high = (product: bigint): bigint => BigInt.asUintN(64, product >> 64n)
  for (const [i, [a, b]] of all.entries()) {
    const expected = [high(a * b), high(signed(a) * b), high(signed(a) * signed(b))]
    assert.deepEqual([...results.subarray(i * 5 + 2, i * 5 + 5)], expected, `${a} x ${b}`)
  }
})

import { deepEqual, equal, notDeepEqual } from 'node:assert/strict'
import { test } from 'node:test'
import { Random } from './prng.ts'

const draw = (random: Random, count: number) => Array.from({ length: count }, () => random.u32())

test('a seed gives the same numbers on every machine and in every year', () => {
  deepEqual(draw(new Random(1), 4), [2398378067, 2738048492, 802620993, 3134540180])
})

test('seeds and streams are independent', () => {
  notDeepEqual(draw(new Random(1), 4), draw(new Random(2), 4))
  notDeepEqual(draw(new Random(1, 0), 4), draw(new Random(1, 1), 4))
})

test('numbers stay within their limits and reach them', () => {
  const random = new Random(7)
  const seen = new Set(Array.from({ length: 1000 }, () => random.between(3, 6)))
  deepEqual([...seen].sort(), [3, 4, 5, 6])
  for (let i = 0; i < 1000; i++) {
    const fraction = random.fraction()
    equal(fraction >= 0 && fraction < 1, true)
  }
})

test('a chance of zero never comes and one of one always', () => {
  const random = new Random(7)
  for (let i = 0; i < 1000; i++) {
    equal(random.chance(0), false)
    equal(random.chance(1), true)
  }
})

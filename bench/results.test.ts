import assert from 'node:assert/strict'
import { test } from 'node:test'
import { figure, geometricMean, meanOf, table } from './results.ts'

test('the geometric mean of a ratio and its inverse is 1', () => {
  assert.ok(Math.abs(geometricMean([4, 0.25]) - 1) < 1e-12)
  assert.ok(Math.abs(geometricMean([2, 4, 8]) - 4) < 1e-12)
})

test('a mean counts times upwards and rates downwards, and only what was measured there', () => {
  const time = figure({ part: 'a', name: 'time', unit: 's' }, [1], { qemu: [2] })
  const rate = figure({ part: 'a', name: 'rate', unit: '1/s', isRate: true }, [8], {
    qemu: [1],
    native: [80],
  })
  const lone = figure({ part: 'a', name: 'lone', unit: 's' }, [3])
  const mean = meanOf([time, rate, lone], { qemu: 0.5 })
  assert.ok(Math.abs(mean.timesQemu! - 0.25) < 1e-12)
  assert.ok(Math.abs(mean.timesNative! - 10) < 1e-12)
})

test('the table has the columns that say something, and marks the goals that are missed', () => {
  const goals = { qemu: 1.2 }
  const slow = figure({ part: 'a', name: 'slow', unit: 's', goals }, [4, 5, 6], { qemu: [4] })
  const fast = figure({ part: 'a', name: 'fast', unit: 's', goals }, [2], { qemu: [4] })
  assert.deepEqual(table([slow, fast, meanOf([slow, fast], { qemu: 0.8 })]).split('\n'), [
    'part  what            unit  ours  spread  QEMU  x QEMU  goal QEMU',
    'a     slow            s        5     4-6     4    1.25     1.20 !',
    'a     fast            s        2             4    0.50     1.20',
    'a     geometric mean  x                           0.79     0.80',
  ])
})

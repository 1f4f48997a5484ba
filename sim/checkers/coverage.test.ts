import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Coverage } from './coverage.ts'
import { Stream } from './testing/stream.ts'

function coverageOf(faults: readonly (readonly [string, readonly string[]])[]): Coverage {
  const stream = new Stream()
  for (const [name, states] of faults) stream.fault(name, 'a', [...states])
  const coverage = new Coverage()
  for (const observation of stream.observations) coverage.onObservation(observation)
  return coverage
}

test('each fault is counted once for each state that it meets, over several runs', () => {
  const coverage = coverageOf([
    ['crash', ['primary', 'backup', 'backup']],
    ['crash', ['primary']],
  ])
  coverage.add(coverageOf([['pause', ['primary']]]))
  coverage.add(coverageOf([['crash', ['backup']]]))
  assert.equal(coverage.count({ fault: 'crash', state: 'primary' }), 2)
  assert.equal(coverage.count({ fault: 'crash', state: 'backup' }), 2)
  assert.equal(coverage.count({ fault: 'pause', state: 'backup' }), 0)
  assert.equal(
    coverage.table(),
    [
      '        1: crash',
      '        2: pause',
      '            1    2',
      'backup      2    .',
      'primary     2    1',
    ].join('\n'),
  )
})

test('pairs that never met are listed, but for those that are excluded', () => {
  const coverage = coverageOf([['crash', ['primary']]])
  const missing = coverage.missing(
    ['crash', 'pause'],
    ['primary', 'backup', 'off'],
    [{ fault: '*', state: 'off', reason: 'nothing is there' }],
  )
  assert.deepEqual(missing, [
    { fault: 'crash', state: 'backup' },
    { fault: 'pause', state: 'primary' },
    { fault: 'pause', state: 'backup' },
  ])
})

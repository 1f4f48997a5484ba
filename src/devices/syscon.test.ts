import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type PowerRequest, Syscon } from './syscon.ts'
import { restore, stateOf } from './testing/state.ts'

test('three commands ask for power-off, failure and reset, and nothing else does anything', () => {
  const requests: PowerRequest[] = []
  const syscon = new Syscon({ request: (request) => requests.push(request) })
  syscon.write(0, 4, 0x5555)
  syscon.write(0, 4, 0x002a_3333)
  syscon.write(0, 2, 0x7777)
  for (const value of [0, 0x1234, 0x5554, 0xffff_ffff]) syscon.write(0, 4, value)
  syscon.write(4, 4, 0x5555)
  syscon.write(0, 1, 0x55)
  assert.deepEqual(requests, [
    { kind: 'power-off', code: 0 },
    { kind: 'power-off', code: 42 },
    { kind: 'reset' },
  ])
  assert.equal(syscon.read(), 0)
})

test('its empty state is still checked', () => {
  const syscon = new Syscon({ request: () => {} })
  restore(syscon, stateOf(syscon))
  assert.throws(() => restore(new Syscon({ name: 'other', request: () => {} }), stateOf(syscon)), /other/)
})

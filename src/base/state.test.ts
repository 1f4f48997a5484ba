import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FormatError } from './errors.ts'
import { firstDifference, StateWriter } from './state.ts'

/** A state of two sections, one in the other. */
function state(register: bigint, received: Uint8Array, extra = false): Uint8Array {
  const writer = new StateWriter()
  writer.section('computer', 1, () => {
    writer.section('hart0', 1, () => writer.u64('x10', register))
    writer.bytes('received', received)
    if (extra) writer.u32('line', 1)
  })
  return writer.finish()
}

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values)

test('equal states do not differ', () => {
  assert.equal(firstDifference(state(1n, bytes(1, 2)), state(1n, bytes(1, 2))), undefined)
})

test('the first difference is named by the path of its sections', () => {
  const difference = firstDifference(state(1n, bytes(1)), state(0x20n, bytes(2)))
  assert.deepEqual(difference, { path: 'computer.hart0.x10', left: '0x1', right: '0x20' })
})

test('in a field of bytes the first byte that differs is named, and shown with those behind it', () => {
  const long = new Uint8Array(100)
  const other = long.with(50, 0xab)
  assert.deepEqual(firstDifference(state(1n, long), state(1n, other)), {
    path: 'computer.received[50]',
    left: '00 00 00 00 00 00 00 00 ...',
    right: 'ab 00 00 00 00 00 00 00 ...',
  })
})

test('a field of bytes that ends earlier differs at its end', () => {
  assert.deepEqual(firstDifference(state(1n, bytes(1, 2)), state(1n, bytes(1))), {
    path: 'computer.received[1]',
    left: '02',
    right: '(ends after 1 bytes)',
  })
})

test('a field that only one state has is named', () => {
  const shorter = state(1n, bytes(1))
  const longer = state(1n, bytes(1), true)
  assert.deepEqual(firstDifference(shorter, longer), {
    path: 'computer.line',
    left: '(absent)',
    right: '0x1',
  })
  assert.deepEqual(firstDifference(longer, shorter), {
    path: 'computer.line',
    left: '0x1',
    right: '(absent)',
  })
})

test('a state that is cut off within a field is refused', () => {
  const whole = state(1n, bytes(1, 2, 3))
  // Within the first name, the register's value, and the last mark.
  for (const length of [5, 25, whole.length - 1]) {
    const cut = whole.subarray(0, length)
    assert.throws(() => firstDifference(cut, cut), FormatError, `${length} bytes`)
  }
})

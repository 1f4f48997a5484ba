import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Random } from '../../base/prng.ts'
import { SendBuffer } from './send_buffer.ts'

describe('the buffer of what is sent', () => {
  it('holds what was pushed and not dropped, in order, by seed', () => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = new Random(seed)
      const buffer = new SendBuffer()
      let held: number[] = []
      for (let step = 0; step < 60; step++) {
        const bytes = random.bytes(random.below(random.pick([10, 3000, 9000])))
        buffer.push(bytes)
        held.push(...bytes)
        const count = random.chance(0.1) ? held.length : random.below(held.length + 1)
        buffer.drop(count)
        held = held.slice(count)
        assert.equal(buffer.length, held.length)
        const offset = random.below(held.length + 1)
        const length = random.below(held.length - offset + 1)
        const copy = new Uint8Array(length + 2)
        buffer.copy(offset, length, copy, 1)
        assert.deepEqual(copy, Uint8Array.of(0, ...held.slice(offset, offset + length), 0))
      }
    }
  })
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { StateReader, StateWriter } from '../base/state.ts'
import { VmGeneration } from './vm_generation.ts'

const ID = Uint8Array.from({ length: 16 }, (_, i) => 0xf0 + i)

test('a change of the generation id is read at every width and pulses the wire once', () => {
  const levels: boolean[] = []
  const device = new VmGeneration({ line: (level) => levels.push(level) })
  assert.equal(device.read(0, 4), 0)
  device.change(ID)
  assert.deepEqual(levels, [true, false])
  assert.equal(device.read(4, 4), 0xf7f6f5f4)
  assert.equal(device.read(14, 2), 0xfffe)
  assert.equal(device.read(15, 1), 0xff)
  assert.equal(device.read(16, 4), 0)
})

test('the generation id is kept over resets and snapshots', () => {
  const device = new VmGeneration({ line: () => {} })
  device.change(ID)
  device.reset()
  const writer = new StateWriter()
  device.save(writer)
  const restored = new VmGeneration({ line: () => assert.fail('a restore is no change') })
  restored.load(new StateReader(writer.finish()))
  assert.equal(restored.read(0, 4), 0xf3f2f1f0)
})

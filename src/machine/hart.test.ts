import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FormatError } from '../base/errors.ts'
import { nodeEngine } from '../host/engine.ts'
import type { Hart } from './hart.ts'
import { Program } from './testing/program.ts'

test('a saved hart that no machine could have left is refused', () => {
  const damage: ((hart: Hart) => void)[] = [
    (hart) => hart.set64('pc', 0x8000_0001n),
    (hart) => hart.set32('privilege', 2),
    (hart) => hart.set32('state', 4),
    (hart) => hart.set64('satp', 5n << 60n),
  ]
  for (const change of damage) {
    const { machine } = new Program(nodeEngine, 'nop')
    machine.loadState(machine.saveState())
    change(machine.harts[0]!)
    const state = machine.saveState()
    assert.throws(() => machine.loadState(state), FormatError)
  }
})

/** Saving and loading devices in tests. */
import { StateReader, StateWriter } from '../../base/state.ts'
import type { Device } from '../../machine/device.ts'

/** The saved state of a device. */
export function stateOf(device: Pick<Device, 'save'>): Uint8Array {
  const writer = new StateWriter()
  device.save(writer)
  return writer.finish()
}

/** Loads a saved state, all of it. */
export function restore(device: Pick<Device, 'load'>, state: Uint8Array): void {
  const reader = new StateReader(state)
  device.load(reader)
  reader.finish()
}

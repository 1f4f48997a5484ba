/**
 * Power control: the one register of SiFive's test finisher, which device trees describe as `syscon` with
 * `syscon-poweroff` and `syscon-reboot`.
 *
 * The low 16 bits of a write to register 0 choose, the high 16 bits are the exit code of a failure. Any other
 * value does nothing, and the register reads as zero.
 */
import type { StateReader, StateWriter } from '../base/state.ts'
import type { AccessSize, Device } from '../machine/device.ts'

const FAIL = 0x3333
const PASS = 0x5555
const RESET = 0x7777

export type PowerRequest = { readonly kind: 'power-off'; readonly code: number } | { readonly kind: 'reset' }

export interface SysconOptions {
  readonly name?: string
  /** What the guest asks for. The write has happened; what follows is the machine's to decide. */
  readonly request: (request: PowerRequest) => void
}

export class Syscon implements Device {
  readonly name: string
  readonly #request: SysconOptions['request']

  constructor(options: SysconOptions) {
    this.name = options.name ?? 'syscon'
    this.#request = options.request
  }

  read(): number {
    return 0
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (offset !== 0 || size === 1) return
    const command = value & 0xffff
    if (command === PASS) this.#request({ kind: 'power-off', code: 0 })
    else if (command === FAIL) this.#request({ kind: 'power-off', code: size === 4 ? value >>> 16 : 0 })
    else if (command === RESET) this.#request({ kind: 'reset' })
  }

  reset(): void {}

  /** An empty section: the device has no state, but its place in a snapshot is checked like any other. */
  save(writer: StateWriter): void {
    writer.section(this.name, 1, () => {})
  }

  load(reader: StateReader): void {
    reader.section(this.name, 1, () => {})
  }
}

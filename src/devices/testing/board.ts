/** All devices on one board, with everything that leaves them written down, for the fuzz test. */
import type { Device } from '../../machine/device.ts'
import { Aclint } from '../aclint.ts'
import { GoldfishRtc } from '../goldfish_rtc.ts'
import { Plic } from '../plic.ts'
import { Syscon } from '../syscon.ts'
import { Uart16550 } from '../uart16550.ts'
import { VirtioBlock } from '../virtio_block.ts'
import { VirtioConsole } from '../virtio_console.ts'
import { VirtioEntropy } from '../virtio_entropy.ts'
import { type VirtioFunction, VirtioMmio } from '../virtio_mmio.ts'
import { VirtioNet } from '../virtio_net.ts'
import { TestRam } from './ram.ts'
import { restore, stateOf } from './state.ts'

const RAM_BYTES = 0x8_0000
const DISK_SECTORS = 5000

export class TestBoard {
  readonly ram = new TestRam(RAM_BYTES)
  /** Every output, in order. */
  trace: string[] = []
  ticks = 0n
  readonly block: VirtioBlock
  readonly net: VirtioNet
  readonly console: VirtioConsole
  readonly entropy: VirtioEntropy
  readonly uart: Uart16550
  readonly rtc: GoldfishRtc
  readonly virtio: readonly VirtioMmio[]
  readonly devices: readonly Device[]
  readonly #levels = new Map<string, boolean>()

  constructor() {
    const plic = new Plic({
      harts: 2,
      sources: 40,
      line: (hart, mode, level) => this.#wire(`hart ${hart} ${mode}`, level),
    })
    const aclint = new Aclint({
      harts: 2,
      clock: () => this.ticks,
      softwareInterrupt: (hart, level) => this.#wire(`software ${hart}`, level),
      timerCompare: (hart, value) => this.#note(`timer ${hart} ${value}`),
    })
    const syscon = new Syscon({ request: (request) => this.#note(JSON.stringify(request)) })
    this.uart = new Uart16550({
      name: 'uart0',
      line: plic.source(10),
      transmit: (byte) => this.#note(`uart ${byte}`),
    })
    this.rtc = new GoldfishRtc({ clock: () => this.ticks, line: plic.source(11) })
    this.block = new VirtioBlock({
      sectors: DISK_SECTORS,
      serial: 'fuzz',
      submit: ({ data, ...request }) => this.#note(`disk ${JSON.stringify(request)} ${digest(data)}`),
    })
    this.net = new VirtioNet({
      mac: Uint8Array.of(2, 0, 0, 0, 0, 1),
      transmit: (frame) => this.#note(`frame ${digest(frame)}`),
    })
    this.console = new VirtioConsole({ transmit: (bytes) => this.#note(`console ${digest(bytes)}`) })
    this.entropy = new VirtioEntropy({ request: (bytes) => this.#note(`entropy ${bytes}`) })
    const functions: VirtioFunction[] = [this.block, this.net, this.console, this.entropy]
    this.virtio = functions.map(
      (device, index) =>
        new VirtioMmio({
          name: `virtio${index}`,
          memory: this.ram,
          line: plic.source(index + 1),
          function: device,
        }),
    )
    this.devices = [plic, aclint, syscon, this.uart, this.rtc, ...this.virtio]
  }

  states(): Uint8Array[] {
    return this.devices.map((device) => stateOf(device))
  }

  /** A board restored from this one's state and RAM. Its trace starts empty. */
  copy(): TestBoard {
    const copy = new TestBoard()
    copy.ticks = this.ticks
    copy.ram.bytes.set(this.ram.bytes)
    const states = this.states()
    copy.devices.forEach((device, index) => {
      restore(device, states[index]!)
    })
    copy.trace = []
    return copy
  }

  /** Wires are noted when they change. */
  #wire(name: string, level: boolean): void {
    if ((this.#levels.get(name) ?? false) !== level) this.#note(`${name} ${level}`)
    this.#levels.set(name, level)
  }

  #note(event: string): void {
    this.trace.push(event)
  }
}

/** Length and a hash (FNV-1a) of some bytes. */
function digest(bytes: Uint8Array | undefined): string {
  let hash = 0x811c_9dc5
  for (const byte of bytes ?? []) hash = Math.imul(hash ^ byte, 0x0100_0193)
  return `${bytes?.length ?? 0}:${(hash >>> 0).toString(16)}`
}

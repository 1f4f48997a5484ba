/**
 * A plain network by a TAP interface of Linux, which is a port of a bridge, say.
 *
 *     waiting --attach--> opening --the interface is had--> up --it is removed--> opening
 *
 * The interface is taken when the machine goes live at this host, and not before: two hosts on one computer may share one.
 * That it could be taken is checked at the start, when somebody looks.
 *
 * As with any plain network, what was written counts as left; what a failover repeats, TCP absorbs.
 */
import { UserError } from '../../base/errors.ts'
import { PORT } from '../../board/computer.ts'
import { Tap } from '../../host/tap.ts'
import { checkTap } from '../../host/tap_device.ts'
import type { MachineOutput } from '../../replication/ports.ts'
import type { Network, NetworkEvents } from '../replica/machine_process.ts'
import { Announcer } from './announcement.ts'

const RETRY_MS = 50
/** Shorter ones have no whole header. */
const FRAME_BYTES_MIN = 14

export interface TapNetworkOptions {
  readonly interface: string
  /** The machine's. */
  readonly mac: Uint8Array
  readonly ipAddress: string | undefined
  readonly onNotice: (text: string) => void
}

export class TapNetwork implements Network {
  readonly #options: TapNetworkOptions
  readonly #tap: Tap
  readonly #announcer: Announcer
  #epoch = 0
  #events: NetworkEvents | undefined
  #isUp = false
  #problem = ''
  #timer: NodeJS.Timeout | undefined
  /** Ordinals that have been written and not told. */
  readonly #written = new Map<number, bigint>()

  /** Throws a UserError if the interface could not be taken. */
  constructor(options: TapNetworkOptions) {
    checkTap(options.interface)
    this.#options = options
    this.#tap = new Tap(options.interface, {
      onFrame: (frame) => this.#onFrame(frame),
      onGone: () => this.#onGone(),
    })
    this.#announcer = new Announcer(options.mac, options.ipAddress, (frame) => this.#tap.write(frame))
  }

  attach({ epoch }: { readonly epoch: number; readonly life: number }, events: NetworkEvents): void {
    this.#epoch = epoch
    this.#events = events
    clearTimeout(this.#timer)
    this.#open()
  }

  put({ port, ordinal, bytes }: MachineOutput): void {
    if (!this.#isUp || port !== PORT.net) return
    this.#tap.write(bytes)
    if (this.#written.size === 0) setImmediate(() => this.#tellLeft())
    this.#written.set(port, ordinal)
  }

  holdInput(isHeld: boolean): void {
    this.#tap.hold(isHeld)
  }

  close(): void {
    this.#events = undefined
    this.#isUp = false
    clearTimeout(this.#timer)
    this.#announcer.stop()
    void this.#tap.close()
  }

  #open(): void {
    try {
      this.#tap.open()
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      return this.#retry(error.message)
    }
    this.#problem = ''
    this.#isUp = true
    this.#announcer.start(this.#epoch)
    this.#events?.onUp([])
  }

  #onFrame(frame: Uint8Array): void {
    if (!this.#isUp || frame.length < FRAME_BYTES_MIN) return
    this.#announcer.onFrame(frame)
    this.#events?.onInput(PORT.net, frame)
  }

  #onGone(): void {
    this.#isUp = false
    this.#announcer.stop()
    this.#retry(`interface ${this.#options.interface} was removed`)
  }

  #retry(problem: string): void {
    if (this.#events === undefined) return
    if (problem !== this.#problem) this.#options.onNotice(`no network: ${problem}`)
    this.#problem = problem
    this.#timer = setTimeout(() => this.#open(), RETRY_MS)
  }

  #tellLeft(): void {
    for (const [port, ordinal] of this.#written) this.#events?.onLeft(port, ordinal)
    this.#written.clear()
  }
}

/** A GuestNetwork with real sockets and a guest in memory, in one process: frames cross between two turns of the loop. */
import { GuestNetwork, type GuestNetworkOptions } from '../guest_network.ts'
import { MemoryGuest } from './memory_guest.ts'

export class LiveGuest {
  readonly guest: MemoryGuest
  readonly notices: string[] = []
  network!: GuestNetwork
  /** Sees each frame to the guest; false loses it. */
  filter: (frame: Uint8Array) => boolean = () => true
  framesToGuest = 0
  #toGuest: Uint8Array[] = []
  #toNetwork: Uint8Array[] = []
  #isScheduled = false
  #timer: NodeJS.Timeout | undefined
  #isAttached = false

  private constructor() {
    this.guest = new MemoryGuest((frame) => {
      this.#toNetwork.push(frame)
      this.#schedule()
    })
  }

  static async open(options: Omit<GuestNetworkOptions, 'transmit' | 'onNotice'>): Promise<LiveGuest> {
    const live = new LiveGuest()
    live.network = await GuestNetwork.open({
      ...options,
      transmit: (frame) => {
        live.framesToGuest++
        if (live.filter(frame)) live.#toGuest.push(frame)
        live.#schedule()
      },
      onNotice: (text) => live.notices.push(text),
    })
    return live
  }

  attach(): void {
    this.#isAttached = true
    this.network.attached()
    if (!this.guest.knowsGateway) this.guest.now = performance.now()
    this.#schedule()
  }

  /** The guest's host dies: what it had not taken yet is lost, what the guest had sent still leaves later. */
  detach(): void {
    this.#isAttached = false
    this.network.detached()
    this.#toGuest = []
  }

  async close(): Promise<void> {
    this.#isAttached = false
    clearTimeout(this.#timer)
    await this.network.close()
  }

  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(this.#turn)
  }

  readonly #turn = (): void => {
    this.#isScheduled = false
    if (!this.#isAttached) return
    this.guest.tick(performance.now())
    const toGuest = this.#toGuest
    this.#toGuest = []
    for (const frame of toGuest) this.guest.receive(frame)
    const toNetwork = this.#toNetwork
    this.#toNetwork = []
    for (const frame of toNetwork) this.network.receive(frame)
    clearTimeout(this.#timer)
    const wait = this.guest.timers.earliest - performance.now()
    if (wait < 1e6) this.#timer = setTimeout(this.#turn, Math.max(1, wait))
  }
}

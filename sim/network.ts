/** Where processes listen, and the channels between them. */
import type { Random } from '../src/base/prng.ts'
import { Channel, type EndHandler } from './channel.ts'
import type { SiteLinks } from './site_links.ts'
import type { World } from './world.ts'

/** A dial that nobody answers is given up after this long. */
const CONNECT_MS = 1500

export interface Listener {
  /** Someone connects: the handler of this end. */
  onAccept(channel: Channel): EndHandler
}

export interface Dialer extends EndHandler {
  onConnected(channel: Channel): void
  onFailed(isRefused: boolean): void
}

export interface Site {
  /** Whether its host has power. */
  readonly isUp: boolean
  readonly listener: Listener | undefined
}

export class Network {
  readonly #world: World
  readonly #links: SiteLinks
  readonly #random: Random
  readonly #sites = new Map<string, Site>()
  #channels: { readonly channel: Channel; readonly listeners: readonly [object, object] }[] = []

  constructor(world: World, links: SiteLinks, random: Random) {
    this.#world = world
    this.#links = links
    this.#random = random
  }

  addSite(name: string, site: Site): void {
    this.#sites.set(name, site)
  }

  /** Channels on which something can still happen. */
  get open(): Channel[] {
    this.#channels = this.#channels.filter(({ channel }) => !channel.isOver)
    return this.#channels.map(({ channel }) => channel)
  }

  /** `owner` is the process that dials: its channels end with it. */
  dial(owner: object, to: string, dialer: Dialer): void {
    const from = dialer.site
    this.#world.after(this.#links.delayMs(), () => {
      const site = this.#sites.get(to)
      const isReached =
        site?.isUp === true && !this.#links.isBlocked(from, to) && !this.#links.isBlocked(to, from)
      if (!isReached) {
        this.#world.after(CONNECT_MS, () => dialer.onFailed(false))
        return
      }
      const { listener } = site
      if (listener === undefined) {
        this.#world.after(this.#links.delayMs(), () => dialer.onFailed(true))
        return
      }
      this.#connect(owner, dialer, listener, to)
    })
  }

  /** A process has ended; `hasPower` tells whether its kernel is there to say so. */
  onProcessEnd(owner: object, hasPower: boolean): void {
    for (const { channel, listeners } of this.#channels) {
      for (const side of [0, 1] as const) {
        if (listeners[side] !== owner) continue
        if (hasPower) channel.onDeath(side, this.#random)
        else channel.onPowerLoss(side)
      }
    }
  }

  #connect(owner: object, dialer: Dialer, listener: Listener, to: string): void {
    // The end of the side that accepts is known only when it has accepted.
    let accepted: EndHandler | undefined
    const proxy: EndHandler = {
      site: to,
      onBytes: (bytes) => accepted!.onBytes(bytes),
      onEnd: () => accepted!.onEnd(),
    }
    const hasPower = (site: string) => this.#sites.get(site)?.isUp === true
    const channel = new Channel(this.#world, this.#links, [dialer, proxy], hasPower)
    accepted = listener.onAccept(channel)
    this.#channels.push({ channel, listeners: [owner, listener] })
    if (this.#channels.length > 40) this.#channels = this.#channels.filter((entry) => !entry.channel.isOver)
    this.#world.after(this.#links.delayMs(), () => dialer.onConnected(channel))
  }
}

/** One direction of a connection that carries whole values in order: what is between hosts, gateway and clients. */
import type { Event } from './event_queue.ts'
import { RETRANSMIT_MS, type SiteLinks } from './site_links.ts'
import type { World } from './world.ts'

export class Wire<T> {
  readonly #world: World
  readonly #links: SiteLinks
  readonly #from: string
  readonly #to: string
  readonly #arrive: (value: T) => void
  #onTheWay: { readonly arrivalMs: number; readonly value: T }[] = []
  #event: Event | undefined
  #lastMs = 0

  constructor(
    world: World,
    links: SiteLinks,
    [from, to]: readonly [string, string],
    arrive: (value: T) => void,
  ) {
    this.#world = world
    this.#links = links
    this.#from = from
    this.#to = to
    this.#arrive = arrive
  }

  send(value: T): void {
    const { nowMs } = this.#world
    this.#lastMs = Math.max(this.#lastMs, nowMs + this.#links.delayMs())
    this.#onTheWay.push({ arrivalMs: this.#lastMs, value })
    if (this.#event === undefined) this.#wait(this.#lastMs - nowMs)
  }

  /** Nothing that is on the way arrives. */
  cut(): void {
    this.#onTheWay = []
    if (this.#event !== undefined) this.#world.cancel(this.#event)
    this.#event = undefined
  }

  #wait(delayMs: number): void {
    this.#event = this.#world.after(delayMs, () => {
      this.#event = undefined
      this.#deliver()
    })
  }

  #deliver(): void {
    if (this.#links.isBlocked(this.#from, this.#to)) return this.#wait(RETRANSMIT_MS)
    const { value } = this.#onTheWay.shift()!
    const next = this.#onTheWay[0]
    if (next !== undefined) this.#wait(Math.max(0, next.arrivalMs - this.#world.nowMs))
    this.#arrive(value)
  }
}

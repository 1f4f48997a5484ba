/** Where time goes, by where the pc is at the ends of slices: which places are met often enough to be translated. */
import { PAGE_BYTES } from '../layout.ts'

/** A place of code in RAM. */
export interface Place {
  readonly page: number
  readonly inPage: number
}

/** Places of a loop, which are met at random, count as one if they are as near as this. */
const NEAR_BYTES = 64
/** Keeps the two ways of meeting a place apart. */
const ARRIVED = 2 ** 40
/** Then all is forgotten: what is hot is met again. */
const PLACES_MAX = 100_000

/** Changes of a page in as many slices count as one: what overwrites it takes its regions out one after the other. */
const SAME_CHANGE_SLICES = 64
/** After so many slices without a change a page needs half the meetings. */
const CALM_SLICES = 4096
/** A page that keeps changing needs no more than 2^this times the meetings. */
const CHANGES_MAX = 10

/** How often a page with translated code was stored to, as its regions fell. */
interface Changes {
  readonly count: number
  readonly last: number
}

export class Profile {
  readonly #meetings = new Map<number, number>()
  readonly #changes = new Map<number, Changes>()
  readonly #meetingsMin: number
  #slice = 0

  /** A place is worth a translation when it has been met `meetingsMin` times, and more often in a page that keeps changing. */
  constructor(meetingsMin: number) {
    this.#meetingsMin = meetingsMin
  }

  /** A slice has ended. */
  tick(): void {
    this.#slice++
  }

  /** The pc was at the place; whether it is time to translate it. */
  meet({ page, inPage }: Place): boolean {
    return this.#meet(page * PAGE_BYTES + inPage - (inPage % NEAR_BYTES), page)
  }

  /** The pc was behind the place, to which it had come by a jump from elsewhere. */
  meetArrival({ page, inPage }: Place): boolean {
    return this.#meet(ARRIVED + page * PAGE_BYTES + inPage, page)
  }

  /** Translated code of the page was stored to. */
  onChange(page: number): void {
    const changes = this.#changes.get(page)
    if (changes !== undefined && this.#slice - changes.last < SAME_CHANGE_SLICES) return
    if (this.#changes.size >= PLACES_MAX) this.#changes.clear()
    const count = Math.min(CHANGES_MAX, this.#changesOf(page) + 1)
    this.#changes.set(page, { count, last: this.#slice })
  }

  forget(): void {
    this.#meetings.clear()
    this.#changes.clear()
  }

  #changesOf(page: number): number {
    const changes = this.#changes.get(page)
    if (changes === undefined) return 0
    return Math.max(0, changes.count - Math.floor((this.#slice - changes.last) / CALM_SLICES))
  }

  #meet(key: number, page: number): boolean {
    const times = (this.#meetings.get(key) ?? 0) + 1
    if (this.#meetings.size >= PLACES_MAX) this.#meetings.clear()
    const isTime = times >= this.#meetingsMin * 2 ** this.#changesOf(page)
    this.#meetings.set(key, isTime ? 0 : times)
    return isTime
  }
}

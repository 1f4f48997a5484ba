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

export class Profile {
  readonly #meetings = new Map<number, number>()
  readonly #meetingsMin: number

  constructor(meetingsMin: number) {
    this.#meetingsMin = meetingsMin
  }

  /** The pc was at the place; whether it is time to translate it. */
  meet({ page, inPage }: Place): boolean {
    return this.#meet(page * PAGE_BYTES + inPage - (inPage % NEAR_BYTES))
  }

  /** The pc was behind the place, to which it had come by a jump from elsewhere. */
  meetArrival({ page, inPage }: Place): boolean {
    return this.#meet(ARRIVED + page * PAGE_BYTES + inPage)
  }

  forget(): void {
    this.#meetings.clear()
  }

  #meet(key: number): boolean {
    const times = (this.#meetings.get(key) ?? 0) + 1
    if (this.#meetings.size >= PLACES_MAX) this.#meetings.clear()
    this.#meetings.set(key, times < this.#meetingsMin ? times : 0)
    return times === this.#meetingsMin
  }
}

/** Where time goes, by where the pc is at the ends of slices: which places are met often enough to be translated. */
import { PAGE_BYTES } from '../layout.ts'

/** A place of code in RAM. */
export interface Place {
  readonly page: number
  readonly inPage: number
}

/** Places of a loop, which are met at random, count as one if they are as near as this. */
const NEAR_BYTES = 64
/** Keep the ways of meeting a place apart. */
const ARRIVED = 2 ** 40
const PASSED_BY = 2 ** 41
const MISSED = 2 ** 42
/** Of the meetings that are needed, what is enough for what regions have left out. */
const LEFT_OUT_SHARE = 0.25
/** So many meetings a place is refused for. */
const REFUSED_MEETINGS = 10_000
/** Then all is forgotten: what is hot is met again. */
const PLACES_MAX = 100_000
/**
 * After so many steps, some ten seconds, half of the meetings count. So what is met now and then is never translated, however long the
 * machine runs, and the memory for translations ends growing.
 */
const HALVING_STEPS = 10_000_000_000

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

/** More targets of a jump are not kept, nor more jumps. */
const TARGETS_MAX = 64
const JUMPS_MAX = 10_000
/** Up to so many targets, each new one is worth a translation; then each that doubles them. */
const FEW_TARGETS = 8

/** A place is worth a translation when it has been met so often; more often in a page that keeps changing. */
export interface MeetingsMin {
  /** By the pc, at the ends of slices. */
  readonly meetings: number
  /** By regions that found none to go on in. */
  readonly misses: number
}

export class Profile {
  /** Where jumps to an address in a register were seen to go within their page, by their places. */
  readonly #targets = new Map<number, number[]>()
  readonly #meetings = new Map<number, number>()
  readonly #changes = new Map<number, Changes>()
  /** How often regions were made anew since they were passed by there. */
  readonly #vain = new Map<number, number>()
  readonly #min: MeetingsMin
  #slice = 0
  /** Since meetings were halved. */
  #steps = 0

  constructor(min: MeetingsMin) {
    this.#min = min
  }

  /** A slice has ended. */
  tick(steps: number): void {
    this.#slice++
    this.#steps += steps
    if (this.#steps < HALVING_STEPS) return
    this.#steps = 0
    for (const [key, times] of this.#meetings) {
      if (Math.abs(times) < 2) this.#meetings.delete(key)
      else this.#meetings.set(key, times / 2)
    }
  }

  /** The pc was at the place; whether it is time to translate it. */
  meet({ page, inPage }: Place): boolean {
    return this.#meet(page * PAGE_BYTES + inPage - (inPage % NEAR_BYTES), page)
  }

  /**
   * The pc was behind the place, to which it had come by a jump from elsewhere. Fewer meetings are enough if it has come from a region
   * that could have had the place.
   */
  meetArrival({ page, inPage }: Place, isLeftOut: boolean): boolean {
    return this.#meet(ARRIVED + page * PAGE_BYTES + inPage, page, isLeftOut ? LEFT_OUT_SHARE : 1)
  }

  /**
   * The pc was at the place, which is in a region, and yet the interpreter has executed most of the slice: a loop, say, that the region
   * has only the first round of. Each time that helps nothing it takes twice as long.
   */
  meetPassedBy({ page, inPage }: Place): boolean {
    const key = PASSED_BY + page * PAGE_BYTES + inPage - (inPage % NEAR_BYTES)
    const isTime = this.#meet(key, page, 2 ** (this.#vain.get(key) ?? 0))
    if (this.#vain.size >= PLACES_MAX) this.#vain.clear()
    if (isTime) this.#vain.set(key, (this.#vain.get(key) ?? 0) + 1)
    return isTime
  }

  /** Regions have led to the place so many times and found none. */
  meetMiss({ page, inPage }: Place, times: number): boolean {
    const share = this.#min.misses / this.#min.meetings
    return this.#meet(MISSED + page * PAGE_BYTES + inPage, page, share, times)
  }

  /** There is nothing to translate at the place: it is met in vain for long. */
  refuse({ page, inPage }: Place): void {
    const { meetings, misses } = this.#min
    const place = page * PAGE_BYTES + inPage
    for (const key of [place - (inPage % NEAR_BYTES), ARRIVED + place])
      this.#meetings.set(key, -REFUSED_MEETINGS)
    this.#meetings.set(MISSED + place, (-REFUSED_MEETINGS * misses) / meetings)
  }

  /** Translated code of the page was stored to. */
  onChange(page: number): void {
    const changes = this.#changes.get(page)
    if (changes !== undefined && this.#slice - changes.last < SAME_CHANGE_SLICES) return
    if (this.#changes.size >= PLACES_MAX) this.#changes.clear()
    const count = Math.min(CHANGES_MAX, this.#changesOf(page) + 1)
    this.#changes.set(page, { count, last: this.#slice })
  }

  /** A jump has led to an offset of its page. Returns whether it is worth translating it again. */
  addTarget({ page, inPage }: Place, target: number): boolean {
    const key = page * PAGE_BYTES + inPage
    const targets = this.#targets.get(key) ?? []
    if (targets.includes(target) || targets.length === TARGETS_MAX) return false
    if (this.#targets.size >= JUMPS_MAX) this.#targets.clear()
    targets.push(target)
    this.#targets.set(key, targets)
    return targets.length <= FEW_TARGETS || Math.log2(targets.length) % 1 === 0
  }

  /** Nothing has been translated for a target: it is a new one when it is seen again. */
  forgetTarget({ page, inPage }: Place, target: number): void {
    const targets = this.#targets.get(page * PAGE_BYTES + inPage) ?? []
    const index = targets.indexOf(target)
    if (index >= 0) targets.splice(index, 1)
  }

  targetsOf({ page, inPage }: Place): readonly number[] {
    return this.#targets.get(page * PAGE_BYTES + inPage) ?? []
  }

  forget(): void {
    this.#targets.clear()
    this.#meetings.clear()
    this.#changes.clear()
    this.#vain.clear()
  }

  #changesOf(page: number): number {
    const changes = this.#changes.get(page)
    if (changes === undefined) return 0
    return Math.max(0, changes.count - Math.floor((this.#slice - changes.last) / CALM_SLICES))
  }

  #meet(key: number, page: number, share = 1, more = 1): boolean {
    const times = (this.#meetings.get(key) ?? 0) + more
    if (this.#meetings.size >= PLACES_MAX) this.#meetings.clear()
    const isTime = times >= this.#min.meetings * share * 2 ** this.#changesOf(page)
    this.#meetings.set(key, isTime ? 0 : times)
    return isTime
  }
}

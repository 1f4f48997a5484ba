/** Where time goes, by where the pc is at the ends of slices: which places are met often enough to be translated. */
import { PAGE_BYTES } from '../layout.ts'
import type { Place } from './place.ts'

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

/** More targets of a jump are not kept; and when there are more of all jumps, all are forgotten. */
const TARGETS_MAX = 64
const ALL_TARGETS_MAX = 20_000

/** A jump to an address in a register. */
interface Jump {
  /** How often it was seen to lead where its region did not expect it. */
  readonly targets: Map<number, number>
  /** How often that was since its region was made anew for it, and how often it was. */
  meetings: number
  timesMade: number
  /** The most frequent target when it was made anew first: of those that are expected since nothing is counted any more. */
  first: Place | undefined
}

/** Where a jump has led. */
export interface JumpTargets {
  readonly all: readonly Place[]
  /** What a call takes in, if that is small. */
  readonly first: Place | undefined
}

/** A place is worth a translation when it has been met so often; more often in a page that keeps changing. */
export interface MeetingsMin {
  /** By the pc, at the ends of slices. */
  readonly meetings: number
  /** By regions that found none to go on in. */
  readonly misses: number
}

export class Profile {
  /** By their pages, and the offsets in them. */
  readonly #jumps = new Map<number, Map<number, Jump>>()
  /** At most so many targets are in them. */
  #targets = 0
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

  /**
   * A jump of a region has led to a place that the region did not expect. Returns whether it is time to make it anew with what has been
   * met; each time that takes twice as many meetings.
   */
  meetTarget({ page, inPage }: Place, target: Place): boolean {
    if (this.#targets >= ALL_TARGETS_MAX) this.#forgetJumps()
    const jumps = this.#jumps.get(page) ?? new Map<number, Jump>()
    const jump = jumps.get(inPage) ?? { targets: new Map(), meetings: 0, timesMade: 0, first: undefined }
    this.#jumps.set(page, jumps)
    jumps.set(inPage, jump)
    const to = target.page * PAGE_BYTES + target.inPage
    const times = jump.targets.get(to)
    if (times === undefined) this.#targets++
    if (times !== undefined || jump.targets.size < TARGETS_MAX) jump.targets.set(to, (times ?? 0) + 1)
    if (++jump.meetings < this.#min.meetings * 2 ** jump.timesMade) return false
    jump.meetings = 0
    jump.first ??= mostFrequent(jump.targets)
    jump.timesMade++
    return true
  }

  /** Where the jumps of a page have led, by their offsets. */
  jumpsOf(page: number): ReadonlyMap<number, JumpTargets> {
    const jumps = [...(this.#jumps.get(page) ?? [])]
    return new Map(
      jumps.map(([inPage, { targets, first }]) => [inPage, { all: [...targets.keys()].map(placeOf), first }]),
    )
  }

  forget(): void {
    this.#forgetJumps()
    this.#meetings.clear()
    this.#changes.clear()
    this.#vain.clear()
  }

  #forgetJumps(): void {
    this.#jumps.clear()
    this.#targets = 0
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

/** A place from its page and offset in one number. */
const placeOf = (key: number): Place => ({ page: Math.floor(key / PAGE_BYTES), inPage: key % PAGE_BYTES })

function mostFrequent(targets: ReadonlyMap<number, number>): Place {
  const [[key]] = [...targets].sort(([, one], [, other]) => other - one) as [[number, number]]
  return placeOf(key)
}

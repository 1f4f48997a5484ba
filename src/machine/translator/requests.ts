/** What is to be translated and has not had its turn: the hottest first. */
import { type FoundPlace, NEAR_BYTES } from './profile.ts'
import type { Region } from './region_map.ts'

/**
 * A place that is to be translated: because the pc has been near, or because code comes just there by a jump; or that of a jump
 * whose region is to be made anew, since more has become known of where it goes.
 */
export interface Request {
  readonly place: FoundPlace
  readonly why: 'near' | 'arrival' | 'anew'
  /** Where the jump has been seen to go, as the last of its targets. */
  readonly target?: number
  /** The regions that lead to the place and are to be made anew with it, as far as they have not had their turn. */
  readonly left?: readonly Region[]
}

/** More is not waiting at once. */
const REQUESTS_MAX = 1000

export class Requests {
  /** With how often each has been asked for, the oldest first. */
  readonly #waiting = new Map<string, { readonly request: Request; times: number }>()

  /** What has had a part of its turn. */
  #begun: Request | undefined

  get size(): number {
    return this.#waiting.size + (this.#begun === undefined ? 0 : 1)
  }

  /** Takes a request in, or counts one that waits already for the same. Returns whether it waits now. */
  add(request: Request): boolean {
    const key = keyOf(request)
    const same = this.#waiting.get(key)
    if (same !== undefined) {
      same.times++
      // Made anew it has all targets that are known by then.
      return same.request.target !== undefined
    }
    if (this.#waiting.size === REQUESTS_MAX) return false
    this.#waiting.set(key, { request, times: 1 })
    return true
  }

  /** Takes back what is left of one that was taken: it comes next. */
  putBack(rest: Request): void {
    this.#begun = rest
  }

  /** Takes the one out that was asked for most often, if it was at least `timesMin` times. */
  take(timesMin: number): Request | undefined {
    const begun = this.#begun
    this.#begun = undefined
    if (begun !== undefined) return begun
    let hottest: { readonly request: Request; readonly times: number } | undefined
    for (const one of this.#waiting.values()) if (one.times > (hottest?.times ?? timesMin - 1)) hottest = one
    if (hottest !== undefined) this.#waiting.delete(keyOf(hottest.request))
    return hottest?.request
  }

  clear(): void {
    this.#waiting.clear()
    this.#begun = undefined
  }
}

/** Any place in a loop stands for it, where only where the pc was is known. */
function keyOf({ why, place: { page, inPage } }: Request): string {
  return why === 'near' ? `${page} near ${inPage - (inPage % NEAR_BYTES)}` : `${page} at ${inPage}`
}

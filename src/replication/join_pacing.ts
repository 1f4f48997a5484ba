/**
 * When the primary takes the next copy in, and why it lost the last one.
 *
 * A join stops the machine for a moment, and copies all of it. Where joins fail for a reason that stays, as a disk that is
 * full, each of them is for nothing: so the pause before the next doubles with every copy that is lost. It begins anew after
 * one that was the backup for longer than the pause would be, so that the machine is never left alone for longer than the
 * last copy was worth; and there is none after one that has been the backup for long.
 */
import type { Context } from './context.ts'
import type { Follower } from './follower.ts'
import type { Protection, ProtectionReason } from './protection.ts'

export class JoinPacing {
  readonly #context: Context
  #afterMs = 0
  /** The last pause; 0 before the first. */
  #pauseMs = 0
  #loss: string | undefined

  constructor(context: Context) {
    this.#context = context
  }

  /** Whether a copy may join now. */
  get mayJoin(): boolean {
    return this.#context.nowMs >= this.#afterMs
  }

  /** What a primary without a copy says: with which one was lost last, and why, if there was one. */
  protection(reason: ProtectionReason): Protection {
    return { state: 'not protected', reason, ...(this.#loss === undefined ? {} : { detail: this.#loss }) }
  }

  onLost(follower: Follower, why: string): void {
    const { nowMs, settings } = this.#context
    const { joinRetryMs, joinRetryMaxMs, joinGateMs } = settings
    this.#loss = `the copy at ${follower.member.host} was lost: ${why}`
    const { backupMs } = follower
    const doubledMs = Math.min(joinRetryMaxMs, Math.max(joinRetryMs, this.#pauseMs * 2))
    this.#pauseMs = backupMs >= joinRetryMaxMs ? 0 : backupMs > doubledMs ? joinRetryMs : doubledMs
    // Outputs have waited for one that was gating, in vain; they should not do so again and again.
    const pauseMs = follower.isGating ? Math.max(this.#pauseMs, joinGateMs) : this.#pauseMs
    this.#afterMs = nowMs + pauseMs
  }
}

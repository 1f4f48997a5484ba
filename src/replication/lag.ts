/**
 * How fast the primary may run: slowed gradually as the backup falls behind, and held when too much waits.
 *
 *     lag <= target / 3     full speed
 *     target / 3 .. target  falling linearly to the slowest pace
 *     bytes > bound         inputs wait outside;  > 2 x bound  nothing runs
 *
 * A backup at a part of the primary's speed is kept up with at the lag where the pace is that part: below the target.
 *
 * A copy that joins has all that happened during its transfer to make up for, and is no faster than the primary: so the
 * primary gives way while it catches up, more with time, until it has or is given up.
 *
 * The bytes are those of outputs that wait to leave and of records that the backup has not executed: so the bound holds
 * for the memory of either side (P70 to P72).
 */
import type { Context } from './context.ts'
import type { Follower } from './follower.ts'

/** The slowest pace of a primary whose backup is behind: it still gets somewhere, and is dropped in the end. */
const SLOWEST = 1 / 16

/** The part of the target below which the primary is not slowed: above what it takes to tell of execution on a busy host. */
const UNSLOWED = 1 / 3

/** The pace beside a copy that has been catching up for so long. */
const CATCH_UP = [
  { fromMs: 8000, pace: 1 / 4 },
  { fromMs: 4000, pace: 1 / 2 },
  { fromMs: 2000, pace: 3 / 4 },
  { fromMs: 0, pace: 1 },
] as const

export class Lag {
  readonly #context: Context
  #pace = 1
  #inputs: 'taken' | 'held' = 'taken'

  constructor(context: Context) {
    this.#context = context
  }

  /** Whether the machine is made to stand still. */
  get isStandingStill(): boolean {
    return this.#pace === 0
  }

  /** Sets the pace by what the backup owes and by what waits to leave. Nothing is set while the machine is stopped. */
  adjust(follower: Follower | undefined, gateBytes: number, isStopped: boolean): void {
    if (isStopped) return
    const backup = follower?.isBackup ? follower : undefined
    const bytes = gateBytes + (backup?.unexecutedBytes ?? 0)
    const { boundBytes } = this.#context.settings
    const inputs = bytes > boundBytes ? 'held' : 'taken'
    const pace = bytes > 2 * boundBytes ? 0 : this.#paceBeside(follower)
    if (pace === this.#pace && inputs === this.#inputs) return
    this.#set(pace, inputs)
  }

  /** The machine was stopped and goes on. */
  resume(): void {
    this.#set(1, 'taken')
  }

  #set(pace: number, inputs: 'taken' | 'held'): void {
    this.#pace = pace
    this.#inputs = inputs
    this.#context.emit({ kind: 'execution', pace, inputs })
  }

  #paceBeside(follower: Follower | undefined): number {
    switch (follower?.state) {
      case undefined:
      // Its machine is not there yet: nothing that this one does would make it faster.
      case 'snapshot':
      case 'transfer':
        return 1
      case 'catching up':
        return this.#paceAfter(follower!.catchingUpMs)
      default:
        return this.#paceFor(follower!.lagMs)
    }
  }

  #paceAfter(catchingUpMs: number): number {
    return CATCH_UP.find(({ fromMs }) => catchingUpMs >= fromMs)!.pace
  }

  /** In sixteenths, so that small changes of the lag change nothing. */
  #paceFor(lagMs: number): number {
    const { lagTargetMs } = this.#context.settings
    const unslowedMs = lagTargetMs * UNSLOWED
    const excess = (lagMs - unslowedMs) / (lagTargetMs - unslowedMs)
    return Math.min(1, Math.max(SLOWEST, Math.ceil((1 - excess) * 16) / 16))
  }
}

/** What the user may choose about replication. All times are in milliseconds, all sizes in bytes. */
import { UserError } from '../base/errors.ts'

export interface Settings {
  /** What an acknowledgement means: the records are in the backup's memory, or it has executed them. */
  readonly ack: 'received' | 'executed'
  /** Records wait this long for others to travel with; outputs do not wait. */
  readonly flushMs: number
  readonly heartbeatMs: number
  /** A peer that has been silent for this long is taken for dead. */
  readonly suspicionMs: number
  /**
   * A peer whose heart beats, but whose machine runs and gets nowhere for this long, is taken for dead; a channel that
   * does not come up for this long is dialled again.
   */
  readonly stallMs: number
  /** How far behind the backup should be at most: the primary is slowed from a third of it on, and most at all of it. */
  readonly lagTargetMs: number
  /** The lag that a backup must not have for long. */
  readonly lagLimitMs: number
  /** A backup whose lag stays above the limit for this long is dropped. */
  readonly slowBackupMs: number
  /**
   * Outputs held or unconfirmed, and records that the backup has not executed, before inputs are held; at twice as much
   * execution stops.
   */
  readonly boundBytes: number
  /** How often outputs that have left are logged as released. */
  readonly releasedMs: number
  /** How often the machine's digest is logged. */
  readonly digestMs: number
  /** A request to the arbiter is repeated after this long. */
  readonly arbiterRetryMs: number
  /** A channel that does not open, or that broke, is tried again after this long. */
  readonly dialRetryMs: number
  /** Chunks of a joining copy's image on their way at once. */
  readonly chunkWindow: number
  /**
   * A joining copy that makes outputs wait is given up after this long without becoming the backup; so is one that has
   * become it and does not acknowledge as such, since it cannot reach the arbiter.
   */
  readonly joinGateMs: number
  /**
   * A copy that joined in vain, or was lost soon after, is followed by no other for this long, doubled each time up to
   * `joinRetryMaxMs`: each join stops the machine for a moment. It is not doubled after a copy that was the backup for
   * longer than that, and there is no pause after one that was it for `joinRetryMaxMs`.
   */
  readonly joinRetryMs: number
  readonly joinRetryMaxMs: number
  /** A disk of which an operation takes longer has failed. */
  readonly diskLimitMs: number
  /** An end in order waits this long for its last outputs to leave. */
  readonly stopMs: number
  /** Who goes on after a divergence that convicts neither side. */
  readonly onDivergence: 'primary' | 'stop'
}

export const DEFAULT_SETTINGS: Settings = {
  ack: 'received',
  flushMs: 5,
  heartbeatMs: 50,
  suspicionMs: 500,
  stallMs: 10_000,
  lagTargetMs: 100,
  lagLimitMs: 1000,
  slowBackupMs: 30_000,
  boundBytes: 64 << 20,
  releasedMs: 50,
  digestMs: 1000,
  arbiterRetryMs: 200,
  dialRetryMs: 100,
  chunkWindow: 8,
  joinGateMs: 5000,
  joinRetryMs: 1000,
  joinRetryMaxMs: 60_000,
  diskLimitMs: 30_000,
  stopMs: 10_000,
  onDivergence: 'primary',
}

/**
 * Checks settings against each other.
 * @throws UserError naming the setting that cannot be
 */
export function checkSettings(settings: Settings): Settings {
  for (const [name, value] of Object.entries(settings) as [string, unknown][]) {
    if (typeof value !== 'number') continue
    if (!Number.isFinite(value) || value <= 0)
      throw new UserError(`setting ${name}: ${value} is not above zero`)
  }
  const { heartbeatMs, suspicionMs, stallMs, lagTargetMs, lagLimitMs } = settings
  if (suspicionMs < heartbeatMs * 3) {
    throw new UserError(`setting suspicionMs: ${suspicionMs} is less than three heartbeats of ${heartbeatMs}`)
  }
  if (stallMs < suspicionMs) throw new UserError(`setting stallMs: ${stallMs} is less than suspicionMs`)
  if (lagLimitMs <= lagTargetMs)
    throw new UserError(`setting lagLimitMs: ${lagLimitMs} is not above lagTargetMs`)
  return settings
}

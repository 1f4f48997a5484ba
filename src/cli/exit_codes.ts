/**
 * The statuses with which `understudy` itself ends. A command that runs a guest passes the guest's own status through,
 * so ours lie together where programs seldom end: above the small numbers, and below 124 to 165, which timeout(1) and
 * shells use. docs/exit-codes.md describes them; a test keeps the two equal.
 */
export const EXIT_CODE = {
  success: 0,
  /** The command line is wrong. */
  usage: 112,
  /** A file cannot be read or written, is damaged, or is not what the command needs. */
  file: 113,
  /** What was asked for is not possible here; the message says why and what to do. */
  failure: 114,
  /** The guest took as many instructions as it was allowed. */
  limit: 115,
  /** The guest waits for something that cannot happen. */
  idle: 116,
  /** Two executions that must be equal differ. */
  difference: 117,
  /** A mistake in Understudy. */
  internal: 118,
  /** A machine's process has ended otherwise than with its machine: whoever supervises it starts it again. */
  halted: 119,
  /** Stopped by SIGHUP (128 + 1): its terminal has gone. */
  hangup: 129,
  /** Stopped by SIGINT (128 + 2). */
  interrupted: 130,
  /** Whoever read the output has closed it (128 + SIGPIPE). */
  outputClosed: 141,
  /** Stopped by SIGTERM (128 + 15). */
  terminated: 143,
} as const

/** The highest status that a process can end with. */
const STATUS_MAX = 255

/** The status to end with for a guest's own: one that does not fit becomes 255, so that a failure stays one. */
export function processStatus(guestStatus: number): number {
  return guestStatus > STATUS_MAX || guestStatus < 0 ? STATUS_MAX : guestStatus
}

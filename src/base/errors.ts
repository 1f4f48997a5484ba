/**
 * An error that the outside caused (a file, a device, the user), in words for the user: one line that says what is
 * wrong, where, and what to do about it. The command line prints its message as it is, without a stack.
 */
export class UserError extends Error {
  override readonly name: string = 'UserError'
}

/** Stored or received bytes that are not what they claim to be: truncated, corrupted, or of another version. */
export class FormatError extends UserError {
  override readonly name: string = 'FormatError'
}

/** A machine's state has changed by itself: the host's memory is faulty, and nothing of that machine can be trusted. */
export class CorruptionError extends UserError {
  override readonly name: string = 'CorruptionError'
}

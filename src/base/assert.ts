/**
 * Assertions for our own mistakes. They stay on in production: a copy that has broken an invariant must stop,
 * since a copy that goes on wrongly is worse than one that is gone. Never catch an AssertionError.
 */
export class AssertionError extends Error {
  override readonly name = 'AssertionError'
}

/** Throws an AssertionError unless `condition` holds. A message that takes time to put together is given as a function. */
export function assert(condition: unknown, message: string | (() => string)): asserts condition {
  if (!condition) throw new AssertionError(typeof message === 'string' ? message : message())
}

/** Marks a branch that the types prove unreachable. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable: ${String(value)}`)
}

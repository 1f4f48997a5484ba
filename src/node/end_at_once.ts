/** The end of a process that has threads which do not end. */

/**
 * Ends this process without waiting for anything. `process.exit` waits for the operations of the system that run, as one
 * of a disk that hangs, which may be for ever. (What the kernel itself cannot interrupt goes on in a process that has
 * nothing else any more.)
 */
export function endAtOnce(): never {
  process.kill(process.pid, 'SIGKILL')
  // The signal comes before the call returns; the compiler does not know.
  throw new Error('a process that outlives SIGKILL')
}

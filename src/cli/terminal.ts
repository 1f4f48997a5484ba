/**
 * The user's terminal as a guest's console: raw, so that every key reaches the guest, but for Ctrl-], which leaves.
 * Where the standard input is no terminal, its bytes go to the guest as they are and as fast as it takes them, and its
 * end means nothing.
 */
import { writeOutput } from './standard_streams.ts'

/** Ctrl-] */
const ESCAPE = 0x1d

export interface Terminal {
  /** Whether a person sits there. */
  readonly isInteractive: boolean
  readonly size: { readonly columns: number; readonly rows: number } | undefined
  /** Begins to read keys. `onKeys` resolves when they have been taken; `leave` is called for Ctrl-]. */
  start(onKeys: (bytes: Uint8Array) => Promise<void>, leave: () => void): void
  write(bytes: Uint8Array): void
  /** Gives the terminal back as it was; may be called twice. */
  stop(): void
}

export function openTerminal(): Terminal {
  const { stdin, stdout } = process
  const isInteractive = stdin.isTTY === true && stdout.isTTY === true
  let onData: ((bytes: Uint8Array) => void) | undefined
  let isStopped = false
  return {
    isInteractive,
    // A terminal that does not know its size says 0.
    size: isInteractive && stdout.columns > 0 ? { columns: stdout.columns, rows: stdout.rows } : undefined,
    start: (onKeys, leave) => {
      if (stdin.isTTY === true) stdin.setRawMode(true)
      const onTyped = (bytes: Uint8Array): void => {
        const end = bytes.indexOf(ESCAPE)
        // Not waited for: Ctrl-] must be seen also while the guest reads nothing.
        void onKeys(end < 0 ? bytes : bytes.subarray(0, end))
        if (end >= 0) leave()
      }
      const onPiped = (bytes: Uint8Array): void => {
        stdin.pause()
        void onKeys(bytes).then(() => {
          if (!isStopped) stdin.resume()
        })
      }
      onData = stdin.isTTY === true ? onTyped : onPiped
      stdin.on('data', onData)
      // A terminal that is gone says so here, beside SIGHUP.
      stdin.on('error', leave)
    },
    write: writeOutput,
    stop: () => {
      isStopped = true
      if (onData !== undefined) stdin.off('data', onData)
      if (stdin.isTTY === true) stdin.setRawMode(false)
      stdin.pause()
    },
  }
}

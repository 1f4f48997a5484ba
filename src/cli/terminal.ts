/**
 * The user's terminal as a guest's console: raw, so that every key reaches the guest, but for Ctrl-], which leaves.
 * Where the standard input is no terminal, its bytes go to the guest as they are, and its end means nothing.
 */
import { writeOutput } from './standard_streams.ts'

/** Ctrl-] */
const ESCAPE = 0x1d

export interface Terminal {
  /** Whether a person sits there. */
  readonly isInteractive: boolean
  readonly size: { readonly columns: number; readonly rows: number } | undefined
  /** Begins to read keys. `leave` is called for Ctrl-]. */
  start(onKeys: (bytes: Uint8Array) => void, leave: () => void): void
  write(bytes: Uint8Array): void
  /** Gives the terminal back as it was; may be called twice. */
  stop(): void
}

export function openTerminal(): Terminal {
  const { stdin, stdout } = process
  const isInteractive = stdin.isTTY === true && stdout.isTTY === true
  let onData: ((bytes: Uint8Array) => void) | undefined
  return {
    isInteractive,
    // A terminal that does not know its size says 0.
    size: isInteractive && stdout.columns > 0 ? { columns: stdout.columns, rows: stdout.rows } : undefined,
    start: (onKeys, leave) => {
      if (stdin.isTTY === true) stdin.setRawMode(true)
      onData = (bytes) => {
        const end = stdin.isTTY === true ? bytes.indexOf(ESCAPE) : -1
        if (end !== 0) onKeys(end < 0 ? bytes : bytes.subarray(0, end))
        if (end >= 0) leave()
      }
      stdin.on('data', onData)
      // A terminal that is gone says so here, beside SIGHUP.
      stdin.on('error', leave)
    },
    write: writeOutput,
    stop: () => {
      if (onData !== undefined) stdin.off('data', onData)
      if (stdin.isTTY === true) stdin.setRawMode(false)
      stdin.pause()
    },
  }
}

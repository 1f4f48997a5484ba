/**
 * Starts over once what is loaded has been compiled for the first time.
 *
 * From a checkout, Node strips types from each module that its cache does not have yet, and what does that is itself a
 * program of WebAssembly that then stays: 17 MB for as long as the machine lives. The cache has everything by the time
 * that a command is loaded, so the process replaces itself, and takes as much memory as at every later start.
 */
import { statSync } from 'node:fs'
import { flushCompileCache, getCompileCacheDir } from 'node:module'

/** Set for the process that has started over; it never does so again. */
const MARK = 'UNDERSTUDY_STARTED_OVER'

/**
 * Replaces this process by a new one with the same arguments, if types were stripped in this one; else returns. To be
 * called before anything is opened or read.
 */
export function startOverIfCold(): void {
  const hasStartedOver = process.env[MARK] !== undefined
  delete process.env[MARK]
  if (hasStartedOver || !import.meta.url.endsWith('.ts') || !hasNewCacheEntries()) return
  const parameters = [...process.execArgv, ...process.argv.slice(1)]
  process.execve?.(process.execPath, [process.execPath, ...parameters], { ...process.env, [MARK]: '1' })
}

/** Writes what this process has compiled to the cache; true if the cache had lacked any of it. */
function hasNewCacheEntries(): boolean {
  const directory = getCompileCacheDir()
  if (directory === undefined) return false
  const before = changedAt(directory)
  flushCompileCache()
  return changedAt(directory) !== before
}

/** Entries are written under other names first: each changes the directory. */
function changedAt(directory: string): bigint | undefined {
  return statSync(directory, { bigint: true, throwIfNoEntry: false })?.mtimeNs
}

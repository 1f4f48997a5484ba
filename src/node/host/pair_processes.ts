/**
 * Which processes of a pair run, whether they answer or not: by the supervisor's lock, and by what it notes of each
 * process that it starts. A supervisor that was killed leaves them running, and the next one finds them so.
 */
import { readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { systemErrorCode } from '../../host/file_error.ts'
import { LockFile } from '../../host/lock_file.ts'
import { isNear, isRunning, type ProcessIdentity, processIdentity } from '../../host/process_identity.ts'
import type { Pair } from './pair.ts'

/** A process that answers nobody for so long after it was started does not start any more. */
const STARTING_MS = 20_000

const identitySchema = z.object({
  ...{ host: z.string(), boot: z.string(), pidNamespace: z.string(), startTime: z.string() },
  pid: z.int().min(2),
})

export const supervisorLockPath = (pair: Pair): string => join(pair.directory, 'lock')

/** Where the supervisor notes a process of this name. */
export const processPath = (pair: Pair, name: string): string => join(pair.directory, `${name}.pid`)

/**
 * Notes which process it is, for whoever looks for it later. What cannot be written is found by no one: whoever starts
 * processes must not end for that, on a full disk least of all.
 */
export function noteProcess(path: string, pid: number): void {
  unlessStorageFails(() => writeFileSync(path, `${JSON.stringify(processIdentity(pid))}\n`, { mode: 0o600 }))
}

export function forgetProcess(path: string): void {
  unlessStorageFails(() => rmSync(path, { force: true }))
}

function unlessStorageFails(action: () => void): void {
  try {
    action()
  } catch (error) {
    if (systemErrorCode(error) === undefined) throw error
  }
}

/**
 * The process that is noted there, if it still runs. Where the system does not say when a process was started, its pid may
 * be anybody's by now, and none is found.
 */
export function notedProcess(path: string): ProcessIdentity | undefined {
  try {
    const noted = identitySchema.parse(JSON.parse(readFileSync(path, 'utf8')))
    return noted.startTime !== '' && isNear(noted) && isRunning(noted) ? noted : undefined
  } catch {
    // None was noted, or not wholly: as if there were none.
    return undefined
  }
}

/** Whether a process supervises a pair: then nobody else can start it. */
export async function isSupervised(pair: Pair): Promise<boolean> {
  return LockFile.isHeld(supervisorLockPath(pair))
}

/** What a pair is of which no host answers. */
export async function unansweredState(pair: Pair): Promise<'stopped' | 'starting' | 'no answer'> {
  // A note may go at any moment, with its process.
  const startedMs = pair.hostNames.flatMap((host) => {
    const path = processPath(pair, host)
    const noted = statSync(path, { throwIfNoEntry: false })
    return noted !== undefined && notedProcess(path) !== undefined ? [noted.mtimeMs] : []
  })
  if (startedMs.length === 0) {
    if (!(await isSupervised(pair))) return 'stopped'
    // Nothing is seen from here of processes on other computers.
    return pair.file.daemons === undefined ? 'starting' : 'no answer'
  }
  return startedMs.some((started) => Date.now() - started < STARTING_MS) ? 'starting' : 'no answer'
}

/** What `--profile FILE` does, for each of the commands that execute a guest. */
import { resolve } from 'node:path'
import { UserError } from '../base/errors.ts'
import { checkOutputFile } from '../node/files.ts'
import type { GuestProfiler } from '../node/profile/guest_profiler.ts'
import { EXIT_CODE } from './exit_codes.ts'
import { CommandError } from './failure.ts'
import { writeError } from './standard_streams.ts'

/** The option, and what the help says of it. */
export const PROFILE_OPTION = ['--profile <FILE.json>', "write there where the guest's time went"] as const

/**
 * Loads the profiler only if one is asked for. Throws a UserError now if the file could not be written later, or is one of the `others`,
 * which the command reads or writes.
 */
export async function openProfiler(
  path: string | undefined,
  ...others: readonly (string | undefined)[]
): Promise<GuestProfiler | undefined> {
  if (path === undefined) return undefined
  const isOther = others.some((other) => other !== undefined && resolve(other) === resolve(path))
  if (isOther)
    throw new CommandError(`${path} is named twice: --profile needs a file of its own`, EXIT_CODE.usage)
  checkOutputFile(path)
  try {
    const { GuestProfiler } = await import('../node/profile/guest_profiler.ts')
    return new GuestProfiler()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_INSPECTOR_NOT_AVAILABLE') throw error
    const message = '--profile needs a Node.js with an inspector: use the one of package.json'
    throw new UserError(message, { cause: error })
  }
}

/** Writes what was found to `path`, and a table of it to the standard error. Does nothing without a profiler. */
export async function writeProfile(
  path: string | undefined,
  profiler: GuestProfiler | undefined,
): Promise<void> {
  if (path === undefined || profiler === undefined) return
  const { writeGuestProfile } = await import('../node/profile/guest_profiler.ts')
  const { profileTable } = await import('../node/profile/profile_table.ts')
  const profile = profiler.profile()
  await writeGuestProfile(path, profile)
  writeError(profileTable(profile))
}

/** What `--profile FILE` does, for each of the commands that execute a guest. */
import { UserError } from '../base/errors.ts'
import { checkOutputFile } from '../node/files.ts'
import type { GuestProfiler } from '../node/profile/guest_profiler.ts'
import { writeError } from './standard_streams.ts'

/** The option, and what the help says of it. */
export const PROFILE_OPTION = ['--profile <FILE.json>', "write there where the guest's time went"] as const

/** Loads the profiler only if one is asked for. Throws a UserError now if the file could not be written later. */
export async function openProfiler(path: string | undefined): Promise<GuestProfiler | undefined> {
  if (path === undefined) return undefined
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

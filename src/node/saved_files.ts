/** The files that a machine is saved in: a snapshot or recording, and the frozen overlay of its disk beside it. */
import { lstat, readdir, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { UserError } from '../base/errors.ts'
import { syncDirectory, temporaryName } from '../host/atomic_file.ts'
import { fileError, systemErrorCode } from '../host/file_error.ts'

/** Path of the frozen overlay that belongs to a snapshot or recording. */
export const diskBeside = (path: string): string => `${path}.disk`

/** Where the parts of a snapshot are written first. */
export interface StagedSnapshot {
  readonly snapshot: string
  readonly disk: string
}

/**
 * Writes a snapshot and its disk under temporary names and gives them theirs when both are complete, so that a failure
 * leaves an earlier pair as it was. A crash between the two renames leaves a pair of different generations, which
 * loading refuses. Throws a UserError if they cannot be written.
 */
export async function replaceSnapshot(
  path: string,
  write: (staged: StagedSnapshot) => Promise<void>,
): Promise<void> {
  const disk = diskBeside(path)
  const staged = { snapshot: temporaryName(path), disk: temporaryName(disk) }
  try {
    await requireReplaceableSnapshot(path)
    await write(staged)
    await rm(disk, { recursive: true, force: true })
    await rename(staged.disk, disk)
    await rename(staged.snapshot, path)
    await syncDirectory(dirname(path))
  } catch (error) {
    throw fileError(error, 'write snapshot', path)
  } finally {
    await rm(staged.snapshot, { force: true })
    await rm(staged.disk, { recursive: true, force: true })
  }
}

/** Throws a UserError unless a snapshot could be written to `path`: both places are free, or hold an earlier one's parts. */
export async function requireReplaceableSnapshot(path: string): Promise<void> {
  await requirePlainFile(path)
  await requireReplaceableDisk(diskBeside(path))
}

/** Throws a UserError unless `path` is free or a plain file; a rename would take a device away from everybody. */
export async function requirePlainFile(path: string): Promise<void> {
  if ((await entryAt(path))?.isFile() ?? true) return
  throw new UserError(`cannot write ${path}: it is not a plain file: name another place`)
}

/** Throws a UserError if what stands at `path` is anything but the disk of an earlier snapshot or recording. */
export async function requireReplaceableDisk(path: string): Promise<void> {
  const entry = await entryAt(path)
  if (entry === undefined) return
  const names = entry.isDirectory() ? await readdir(path) : []
  if (names.length === 2 && names.includes('index') && names.includes('data')) return
  throw new UserError(`${path} is in the way, and is not the disk of a snapshot: name another place`)
}

async function entryAt(path: string): Promise<Awaited<ReturnType<typeof lstat>> | undefined> {
  try {
    return await lstat(path)
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined
    throw fileError(error, 'write', path)
  }
}

/**
 * Files that are there whole or not at all, also after a crash: written under a temporary name in the same directory,
 * synced, renamed, and the directory synced. Whoever reads the path sees the old file or the new one.
 */
import { randomBytes } from 'node:crypto'
import { type FileHandle, lstat, open, realpath, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { UserError } from '../base/errors.ts'
import { fileError, systemErrorCode } from './file_error.ts'

/** Writes `content` as the whole file. Throws a UserError that names the file and the remedy. */
export async function writeFileAtomically(path: string, content: Uint8Array | string): Promise<void> {
  await replaceFile(path, (file) => file.writeFile(content))
}

/**
 * As writeFileAtomically, with `write` producing the content. The temporary file is removed if anything fails. Only a
 * plain file is ever replaced, the one that a symbolic link leads to rather than the link: as root, a rename would take
 * /dev/null away from everybody.
 */
export async function replaceFile(path: string, write: (file: FileHandle) => Promise<void>): Promise<void> {
  const target = await replaceableTarget(path)
  const temporary = temporaryName(target)
  try {
    const file = await open(temporary, 'wx')
    try {
      await write(file)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, target)
    await syncDirectory(dirname(target))
  } catch (error) {
    await rm(temporary, { force: true })
    throw fileError(error, 'write', path)
  }
}

/** The plain file, or free name, that a file at `path` would take the place of. Throws a UserError if it is neither. */
async function replaceableTarget(path: string): Promise<string> {
  try {
    const entry = await lstat(path)
    const target = entry.isSymbolicLink() ? await realpath(path) : path
    if (target === path ? entry.isFile() : (await lstat(target)).isFile()) return target
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw fileError(error, 'write', path)
    return path
  }
  throw new UserError(`cannot write ${path}: it is not a plain file: name another place`)
}

/** A name beside `path` that no other process uses. */
export function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.${process.pid}.${randomBytes(6).toString('hex')}.tmp`)
}

/** Makes the directory's entries durable. Does nothing where directories cannot be opened (Windows). */
export async function syncDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

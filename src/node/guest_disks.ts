/** The disks on which guests keep what they write, as far as nobody has named a place for them. */
import { existsSync, readdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileError } from '../host/file_error.ts'
import { LockFile } from '../host/lock_file.ts'
import { lockPath } from '../host/overlay_files.ts'

/** Digits of the base's digest in a disk's name. */
const DIGEST_DIGITS = 12

/** The disk in `directory` of guests of an image, whose own disk has this digest. An image built anew gets a new one. */
export function guestDisk(directory: string, image: string, baseDigest: string): string {
  return join(directory, `${image}-${baseDigest.slice(0, DIGEST_DIGITS)}`)
}

/** All disks in `directory` of guests of an image, those of its earlier builds included. */
export function guestDisks(directory: string, image: string): string[] {
  if (!existsSync(directory)) return []
  const isOne = (name: string): boolean =>
    name.startsWith(`${image}-`) && /^[0-9a-f]{12}$/.test(name.slice(image.length + 1))
  return readdirSync(directory)
    .filter(isOne)
    .sort()
    .map((name) => join(directory, name))
}

/** Removes a disk. Throws a UserError if a machine uses it, or it cannot be removed. */
export async function removeGuestDisk(path: string): Promise<void> {
  const lock = await LockFile.acquire(lockPath(path), `disk ${path}`)
  try {
    await rm(path, { recursive: true })
  } catch (error) {
    await lock.release()
    throw fileError(error, 'remove', path)
  }
}

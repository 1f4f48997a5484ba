/** Files that the user names on the command line. */
import {
  closeSync,
  existsSync,
  lstatSync,
  openSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { FormatError } from '../base/errors.ts'
import { temporaryName, writeFileAtomically } from '../host/atomic_file.ts'
import { fileError } from '../host/file_error.ts'

/** What one read can return. */
const READ_BYTES_MAX = 2 ** 31 - 1

/** Reads a whole file. Throws a UserError (a FormatError for what is no file) that names it and the remedy. */
export function readInputFile(path: string): Uint8Array {
  try {
    const found = statSync(path)
    if (found.isFile() && found.size > READ_BYTES_MAX) {
      throw new FormatError(`cannot read ${path}: it has ${found.size} bytes, more than ${READ_BYTES_MAX}`)
    }
    // A device such as /dev/zero never ends.
    if (found.isCharacterDevice()) throw new FormatError(`cannot read ${path}: it is a device: name a file`)
    return readFileSync(path)
  } catch (error) {
    throw fileError(error, 'read', path)
  }
}

/** Throws a UserError now if a file at `path` could not be written later, after hours of work. */
export function checkOutputFile(path: string): void {
  try {
    // Opening tells more than access rights do: a directory, for one, cannot be opened for writing.
    if (existsSync(path)) closeSync(openSync(path, 'r+'))
    if (isReplaceable(path)) tryToMakeFile(temporaryName(path))
  } catch (error) {
    throw fileError(error, 'write', path)
  }
}

/** Access rights do not tell everything: nobody can make a file in /proc, and root may write everywhere. */
function tryToMakeFile(path: string): void {
  closeSync(openSync(path, 'wx'))
  rmSync(path)
}

/**
 * Writes a file whole or not at all. What is not a plain file, as a pipe or the symbolic link /dev/stdout, is written
 * to as it is: a new file in its place would take it away from everybody else.
 */
export async function writeOutputFile(path: string, content: string): Promise<void> {
  if (isReplaceable(path)) return writeFileAtomically(path, content)
  try {
    // A descriptor's file is continued, as a shell's redirection is; any other file begins anew.
    const isDescriptor = /^\/(dev|proc)(\/|$)/.test(realpathSync(dirname(path)))
    writeFileSync(path, content, { flag: isDescriptor ? 'a' : 'w' })
  } catch (error) {
    throw fileError(error, 'write', path)
  }
}

/** Whether the entry itself is a plain file, or there is none. */
function isReplaceable(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isFile() ?? true
}

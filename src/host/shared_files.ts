/** Small files on storage that several hosts see, read and written by calls that block. */
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { UserError } from '../base/errors.ts'
import { fileError, systemErrorCode } from './file_error.ts'

/** What is stored is not what it has to be: nothing that it says may be acted on. */
export class UntrustedError extends UserError {
  override readonly name: string = 'UntrustedError'
}

/** Errors by which network file systems say that they cannot answer now. */
const NETWORK_ERRORS: Readonly<Record<string, string>> = {
  EHOSTDOWN: 'the storage does not answer',
  EHOSTUNREACH: 'the storage does not answer',
  ENOTCONN: 'the connection to the storage is closed',
  ESTALE: 'the storage has lost this directory: mount it again',
  ETIMEDOUT: 'the storage does not answer',
}

/** As fileError, for storage in the network too. */
export function storageError(error: unknown, action: string, path: string): unknown {
  const problem = NETWORK_ERRORS[systemErrorCode(error) ?? '']
  return problem === undefined
    ? fileError(error, action, path)
    : new UserError(`cannot ${action} ${path}: ${problem}`, { cause: error })
}

/** Runs `work` and puts what the system says against it into words. */
export function inWords<Result>(action: string, path: string, work: () => Result): Result {
  try {
    return work()
  } catch (error) {
    throw storageError(error, action, path)
  }
}

/** The content of a plain file; undefined if there is none. A longer one than `bytesMax` is not read. */
export function readWhole(path: string, bytesMax: number): Uint8Array | undefined {
  // Neither a link that leads elsewhere nor a pipe that never answers.
  const flags = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0)
  try {
    const file = openSync(path, flags)
    try {
      return readOpen(file, path, bytesMax)
    } finally {
      closeSync(file)
    }
  } catch (error) {
    const code = systemErrorCode(error)
    if (code === 'ENOENT') return undefined
    if (code === 'ELOOP') throw new UntrustedError(`${path}: not a plain file: restore it from a backup`)
    throw storageError(error, 'read', path)
  }
}

function readOpen(file: number, path: string, bytesMax: number): Uint8Array {
  const status = fstatSync(file)
  if (!status.isFile()) throw new UntrustedError(`${path}: not a plain file: restore it from a backup`)
  if (status.size > bytesMax) {
    throw new UntrustedError(`${path}: ${status.size} bytes are too many: restore it from a backup`)
  }
  const bytes = new Uint8Array(status.size)
  let length = 0
  while (length < bytes.length) {
    const count = readSync(file, bytes, length, bytes.length - length, null)
    if (count === 0) break
    length += count
  }
  return bytes.subarray(0, length)
}

/** Writes a new file, whole or not at all. Its content is durable when this returns; its entry in the folder is not yet. */
export function writeSynced(path: string, text: string): void {
  const file = openSync(path, 'wx')
  try {
    writeFileSync(file, text)
    fsyncSync(file)
  } catch (error) {
    rmSync(path, { force: true })
    throw error
  } finally {
    closeSync(file)
  }
}

/** Makes a folder's entries durable. Does nothing where folders cannot be opened (Windows). */
export function syncFolder(path: string): void {
  if (process.platform === 'win32') return
  inWords('sync', path, () => {
    const folder = openSync(path, 'r')
    try {
      fsyncSync(folder)
    } finally {
      closeSync(folder)
    }
  })
}

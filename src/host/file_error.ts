/** What the operating system says about files, in words for the user. */
import { UserError } from '../base/errors.ts'

const REMEDIES: Readonly<Record<string, string>> = {
  EACCES: 'permission denied: give this user access to it, or name another place',
  EDQUOT: 'the disk quota is used up: free some space, or name a place on another file system',
  EEXIST: 'it exists already: remove it, or name another place',
  EIO: 'the device reports an input/output error: check the disk, and restore from another copy',
  EISDIR: 'it is a directory: name a file',
  EMFILE: 'too many open files: raise the limit (ulimit -n)',
  ENOENT: 'no such file or directory: check the name',
  ENOSPC: 'the file system is full: free some space, or name a place on another file system',
  ENOTDIR: 'a part of its path is not a directory: check the name',
  EPERM: 'the operation is not permitted: give this user access to it, or name another place',
  EROFS: 'the file system is read-only: name a place on another file system',
}

/** The operating system's error code such as ENOSPC, or undefined for any other kind of error. */
export function systemErrorCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('syscall' in error) || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}

/** Whether the error says that there is no room. */
export function isFullError(error: unknown): boolean {
  const code = systemErrorCode(error)
  return code === 'ENOSPC' || code === 'EDQUOT'
}

/**
 * What a failed sync comes to: data were lost. Some file systems look for room only then, and say that there is none;
 * that room is found later brings nothing back, so it is not to be waited for.
 */
export function lossError(error: unknown): unknown {
  if (!isFullError(error)) return error
  const text = `written data were lost, since there was no room for them: ${(error as Error).message}`
  return Object.assign(new Error(text, { cause: error }), { code: 'EIO', syscall: 'fdatasync' })
}

/**
 * Turns an error of the operating system into one line that names the file and the remedy. `action` is what failed,
 * such as "write". Every other error comes back as it is.
 */
export function fileError(error: unknown, action: string, path: string): unknown {
  const code = systemErrorCode(error)
  if (code === undefined) return error
  const remedy = REMEDIES[code] ?? `the system reports ${code}: ${(error as Error).message}`
  return new UserError(`cannot ${action} ${path}: ${remedy}`, { cause: error })
}

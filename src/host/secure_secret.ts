/**
 * The secret that the hosts of a machine share: a file of 32 random bytes in hexadecimal, which only its owner may read.
 * The first process that needs it makes it; it is carried to the other hosts by hand.
 */
import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { link, open, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { UserError } from '../base/errors.ts'
import { syncDirectory, temporaryName } from './atomic_file.ts'
import { fileError, systemErrorCode } from './file_error.ts'

export const SECRET_BYTES = 32
const FILE_BYTES_MAX = 256
const HEXADECIMAL = /^[0-9A-Fa-f]{64}$/
const BASE64 = /^[A-Za-z0-9+/]{43}=?$/

/** Reads the secret, and makes it first if there is no file. Throws a UserError that names the file. */
export async function openSecret(path: string): Promise<Uint8Array> {
  const text = (await readPrivate(path)) ?? (await makeSecret(path))
  const secret = parseSecret(text)
  if (secret !== undefined) return secret
  throw new UserError(
    `${path}: not a secret of ${SECRET_BYTES} bytes in hexadecimal or base64: copy it again from the other host`,
  )
}

/** The secret in a file's text, undefined if it is none. */
export function parseSecret(text: string): Uint8Array | undefined {
  const trimmed = text.trim()
  if (HEXADECIMAL.test(trimmed)) return new Uint8Array(Buffer.from(trimmed, 'hex'))
  return BASE64.test(trimmed) ? new Uint8Array(Buffer.from(trimmed, 'base64')) : undefined
}

/** The text of a file that nobody else can read, undefined if there is none. */
async function readPrivate(path: string): Promise<string | undefined> {
  try {
    // A pipe would never answer.
    const file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
    try {
      const status = await file.stat()
      if (!status.isFile()) throw new UserError(`${path}: not a plain file: name another place`)
      // Windows has no such bits.
      if (process.platform !== 'win32' && (status.mode & 0o077) !== 0) {
        throw new UserError(
          `${path}: others may read or change this secret: make it anew, or chmod 600 ${path}`,
        )
      }
      const { buffer, bytesRead } = await file.read(Buffer.alloc(FILE_BYTES_MAX), 0, FILE_BYTES_MAX, 0)
      return buffer.toString('latin1', 0, bytesRead)
    } finally {
      await file.close()
    }
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined
    throw fileError(error, 'read', path)
  }
}

/** Makes the file, unless another process is first; returns the text of the one that is there then. */
async function makeSecret(path: string): Promise<string> {
  const temporary = temporaryName(path)
  try {
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(`${randomBytes(SECRET_BYTES).toString('hex')}\n`)
      await file.sync()
    } finally {
      await file.close()
    }
    // Unlike a rename, a link never takes the place of what another process has made in between.
    await link(temporary, path).catch((error: unknown) => {
      if (systemErrorCode(error) !== 'EEXIST') throw error
    })
    await rm(temporary)
    await syncDirectory(dirname(path))
  } catch (error) {
    await rm(temporary, { force: true })
    throw fileError(error, 'write', path)
  }
  const text = await readPrivate(path)
  if (text === undefined) throw new UserError(`${path} vanished as soon as it was made: name another place`)
  return text
}

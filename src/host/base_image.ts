/**
 * The immutable file under a disk, known by its SHA-256 digest: the digest, not the path, says which disk this is, to
 * overlays, snapshots and the other copy. Hashing gigabytes at each start would be slow, so the digest is kept beside
 * the file (`NAME.sha256`) together with the size, inode and time of change that it belongs to.
 */
import { createHash } from 'node:crypto'
import { type FileHandle, open, readFile } from 'node:fs/promises'
import { canonicalJson } from '../base/canonical_json.ts'
import { UserError } from '../base/errors.ts'
import { writeFileAtomically } from './atomic_file.ts'
import { fileError } from './file_error.ts'

export const SECTOR_BYTES = 512

/** Something sectors can be read from. */
export interface SectorSource {
  /** Its capacity. */
  readonly sectors: number
  /** Reads sectors; those beyond the capacity read as zeros. */
  read(sector: number, sectors: number): Promise<Uint8Array>
}

/** A disk image that nobody writes. */
export class BaseImage implements SectorSource {
  readonly path: string
  /** SHA-256 of the whole file, 64 hexadecimal digits. */
  readonly digest: string
  /** Whole sectors; the last one is filled up with zeros if the file ends within it. */
  readonly sectors: number
  readonly #file: FileHandle

  private constructor(path: string, digest: string, bytes: number, file: FileHandle) {
    this.path = path
    this.digest = digest
    this.sectors = Math.ceil(bytes / SECTOR_BYTES)
    this.#file = file
  }

  /** Opens an image. Throws a UserError if it cannot be read or changes while it is hashed. */
  static async open(path: string): Promise<BaseImage> {
    try {
      const file = await open(path, 'r')
      try {
        const state = await stateOf(file)
        const digest = (await cachedDigest(path, state)) ?? (await hashFile(path, file, state))
        return new BaseImage(path, digest, state.size, file)
      } catch (error) {
        await file.close()
        throw error
      }
    } catch (error) {
      throw fileError(error, 'read', path)
    }
  }

  async read(sector: number, sectors: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(sectors * SECTOR_BYTES)
    await readInto(this.#file, bytes, sector * SECTOR_BYTES)
    return bytes
  }

  async close(): Promise<void> {
    await this.#file.close()
  }
}

/** Fills `bytes` from `offset` on; what is behind the end of the file stays as it is. */
export async function readInto(file: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  for (let filled = 0; filled < bytes.length; ) {
    const { bytesRead } = await file.read(bytes, filled, bytes.length - filled, offset + filled)
    if (bytesRead === 0) return
    filled += bytesRead
  }
}

/** Writes all of `bytes` at `offset`. */
export async function writeAll(file: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    const step = await file.write(bytes, written, bytes.length - written, offset + written)
    written += step.bytesWritten
  }
}

interface FileState {
  readonly size: number
  /** Tells this content from what the path may hold at another time. */
  readonly identity: string
}

async function stateOf(file: FileHandle): Promise<FileState> {
  const { size, mtimeNs, ino } = await file.stat({ bigint: true })
  return { size: Number(size), identity: `${size}-${mtimeNs}-${ino}` }
}

async function cachedDigest(path: string, state: FileState): Promise<string | undefined> {
  try {
    const cached: unknown = JSON.parse(await readFile(`${path}.sha256`, 'utf8'))
    const { identity, sha256 } = cached as Record<string, unknown>
    return identity === state.identity && typeof sha256 === 'string' && /^[0-9a-f]{64}$/.test(sha256)
      ? sha256
      : undefined
  } catch {
    // Absent or unreadable: the image is hashed, which is slower and as good.
    return undefined
  }
}

async function hashFile(path: string, file: FileHandle, state: FileState): Promise<string> {
  const hash = createHash('sha256')
  const buffer = new Uint8Array(1 << 20)
  for (let offset = 0; offset < state.size; offset += buffer.length) {
    const piece = buffer.subarray(0, Math.min(buffer.length, state.size - offset))
    await readInto(file, piece, offset)
    hash.update(piece)
  }
  if ((await stateOf(file)).identity !== state.identity) {
    throw new UserError(
      `${path} changed while it was read: a base image must not be written, stop what writes it`,
    )
  }
  const sha256 = hash.digest('hex')
  const text = canonicalJson({ identity: state.identity, sha256 })
  // Where the directory cannot be written the digest is computed anew each time.
  await writeFileAtomically(`${path}.sha256`, text).catch(() => undefined)
  return sha256
}

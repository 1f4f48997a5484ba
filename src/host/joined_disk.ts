/**
 * A disk that arrives piece by piece, of a copy that joins.
 *
 *     nothing --begin--> PATH.joining --zeros, data--> PATH.joining --finish--> PATH
 *                             '--------------abandon--------------> nothing
 *
 * It is made beside the place it is for, and gets its generation when all of it is durable. To finish takes two renames,
 * each durable before the next step, so that a crash leaves one of three things at PATH, whole:
 *
 *     PATH = old disk                    PATH.joining = new disk
 *     PATH = nothing, PATH.old = old     PATH.joining = new disk     (the host has no disk: it joins again)
 *     PATH = new disk, PATH.old = old                                (its remains are removed)
 *
 * So an old disk never comes back once it has been replaced. What a crash leaves beside PATH is for `removeRemains`.
 *
 * The pieces come from another host: what lies outside the disk, or is no sectors, is refused with a FormatError. Zeros
 * cost memory, 4 bytes a block of 4 KiB as any block of an overlay: a thousandth of the disk, whatever is sent.
 *
 * The caller holds a lock on the place as a whole, since between the renames no overlay is locked.
 */
import { rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { assert } from '../base/assert.ts'
import { FormatError } from '../base/errors.ts'
import { syncDirectory } from './atomic_file.ts'
import { type BaseImage, SECTOR_BYTES } from './base_image.ts'
import { fileError, systemErrorCode } from './file_error.ts'
import { LockFile } from './lock_file.ts'
import { createOverlay, type OverlayDisk, openOverlay } from './overlay_disk.ts'
import { lockPath, randomIdentity } from './overlay_files.ts'

/** Where a disk is made that is to be at `path`. */
export function joiningPath(path: string): string {
  return `${path}.joining`
}

function oldPath(path: string): string {
  return `${path}.old`
}

/** Removes what an attempt that did not finish, or a crash after one that did, has left beside `path`. */
export async function removeRemains(path: string): Promise<void> {
  for (const remains of [joiningPath(path), oldPath(path)]) {
    await rm(remains, { recursive: true, force: true }).catch((error: unknown) => {
      throw fileError(error, 'remove', remains)
    })
  }
}

export class JoiningDisk {
  readonly path: string
  /** Capacity. */
  readonly sectors: number
  readonly #base: BaseImage
  /** Undefined when it is finished, or being so, or abandoned. */
  #disk: OverlayDisk | undefined
  #isFinished = false
  #isBusy = false

  private constructor(path: string, base: BaseImage, disk: OverlayDisk) {
    this.path = path
    this.sectors = disk.sectors
    this.#base = base
    this.#disk = disk
  }

  /**
   * Begins a disk that is to be at `path`, where another may be until then. `sectors` is its capacity, at least the
   * base's. Throws a UserError if it cannot be written.
   */
  static async begin(path: string, base: BaseImage, sectors: number): Promise<JoiningDisk> {
    await removeRemains(path)
    // Nobody learns this generation: until it is finished the disk is nobody's.
    await createOverlay(joiningPath(path), base, randomIdentity(), sectors)
    return new JoiningDisk(path, base, await openOverlay(joiningPath(path), base))
  }

  /** Takes sectors that are zeros. Throws FormatError if they are not of this disk. */
  async zeros(sector: number, sectors: number): Promise<void> {
    this.#check(sector, sectors)
    await this.#alone((disk) => disk.zeroes(sector, sectors))
  }

  /** Takes the content of whole sectors. Throws FormatError if they are not of this disk; a UserError if it cannot write. */
  async data(sector: number, bytes: Uint8Array): Promise<void> {
    this.#check(sector, bytes.length / SECTOR_BYTES)
    await this.#alone((disk) => disk.write(sector, bytes))
  }

  /**
   * Makes it all durable as the disk of this generation at `path`, and opens it. A disk that was there is gone from
   * then on; it must not be open. Throws a UserError if that fails: then there is the old disk, or none.
   */
  async finish(generation: string): Promise<OverlayDisk> {
    await this.#alone(async (disk) => {
      await disk.stamp(generation)
      this.#disk = undefined
      await disk.close()
      await this.#replace()
      this.#isFinished = true
    })
    return openOverlay(this.path, this.#base)
  }

  /** Gives it up, and the room that it takes; also after a finish that failed. Does nothing when it is finished. */
  async abandon(): Promise<void> {
    assert(!this.#isBusy, 'abandoning a disk that a piece is being written to')
    const disk = this.#disk
    this.#disk = undefined
    // Whether it could be flushed matters no more.
    await disk?.close().catch(() => undefined)
    if (!this.#isFinished) await removeRemains(this.path)
  }

  /** Puts the new disk in the place of the old one. */
  async #replace(): Promise<void> {
    const { path } = this
    const directory = dirname(path)
    try {
      if (await moveAside(path, oldPath(path))) await syncDirectory(directory)
      await rename(joiningPath(path), path)
      await syncDirectory(directory)
    } catch (error) {
      throw fileError(error, 'replace the disk', path)
    }
    await removeRemains(path)
  }

  /** One step at a time, since pieces may overlap. */
  async #alone(work: (disk: OverlayDisk) => Promise<void>): Promise<void> {
    assert(!this.#isBusy, 'two pieces of a joining disk at once')
    assert(this.#disk !== undefined, 'a piece of a disk that is finished or abandoned')
    this.#isBusy = true
    try {
      await work(this.#disk)
    } catch (error) {
      throw fileError(error, 'write overlay', joiningPath(this.path))
    } finally {
      this.#isBusy = false
    }
  }

  #check(sector: number, sectors: number): void {
    const isWhole = Number.isSafeInteger(sector) && Number.isInteger(sectors) && sector >= 0 && sectors > 0
    if (isWhole && sector + sectors <= this.sectors) return
    throw new FormatError(
      `joining disk ${this.path}: received ${sectors} sectors from sector ${sector} on, of a disk of ${this.sectors}`,
    )
  }
}

/** Renames an overlay, if it is there and nobody uses it. */
async function moveAside(path: string, target: string): Promise<boolean> {
  let lock: LockFile
  try {
    lock = await LockFile.acquire(lockPath(path), `overlay ${path}`)
  } catch (error) {
    if (isMissing(error)) return false
    throw error
  }
  try {
    await rename(path, target)
  } catch (error) {
    await lock.release()
    throw error
  }
  return true
}

function isMissing(error: unknown): boolean {
  return systemErrorCode(error instanceof Error ? error.cause : undefined) === 'ENOENT'
}

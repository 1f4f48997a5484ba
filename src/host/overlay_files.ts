/**
 * The files of an overlay: a directory with
 *
 *     index   where each block is (overlay_index.ts)
 *     data    slots of 4 KiB; slot 0 holds magic "UNDSTDAT", the overlay's identity and a CRC-32
 *     lock    names the process that uses it (lock_file.ts); absent in frozen overlays
 *
 * One directory, so that what belongs together is moved, copied and deleted together. It appears whole: built under a
 * temporary name, synced, renamed.
 */
import { randomBytes } from 'node:crypto'
import { constants, copyFile, type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { crc32 } from 'node:zlib'
import { ByteWriter } from '../base/bytes.ts'
import { FormatError } from '../base/errors.ts'
import { encodeAscii } from '../base/text.ts'
import { syncDirectory, temporaryName } from './atomic_file.ts'
import { readInto, SECTOR_BYTES, writeAll } from './base_image.ts'
import type { BlockMap } from './block_map.ts'
import { fileError } from './file_error.ts'
import { type OverlayHeader, OverlayIndex } from './overlay_index.ts'

/** The unit of copy-on-write: a guest's page and its file system's block, so that their writes need no reading. */
export const BLOCK_BYTES = 4096
export const BLOCK_SECTORS = BLOCK_BYTES / SECTOR_BYTES

const DATA_HEADER_BYTES = 28

export function indexPath(overlay: string): string {
  return join(overlay, 'index')
}

export function dataPath(overlay: string): string {
  return join(overlay, 'data')
}

export function lockPath(overlay: string): string {
  return join(overlay, 'lock')
}

/** A new random 128-bit number in hexadecimal. */
export function randomIdentity(): string {
  return randomBytes(16).toString('hex')
}

/** What a new overlay consists of. `writeData` makes its data file. */
export interface OverlayContent {
  readonly header: OverlayHeader
  readonly map: BlockMap
  readonly generation: string
  readonly writeData: (path: string) => Promise<void>
}

/** Makes an overlay's directory, whole or not at all. Throws a UserError if it exists or cannot be written. */
export async function buildOverlay(path: string, content: OverlayContent): Promise<void> {
  const building = temporaryName(path)
  try {
    await mkdir(building)
    await content.writeData(dataPath(building))
    await syncFile(dataPath(building))
    await OverlayIndex.write(indexPath(building), content.header, content.map, content.generation)
    await renameDirectory(building, path)
    await syncDirectory(dirname(path))
  } catch (error) {
    await rm(building, { recursive: true, force: true })
    throw fileError(error, 'create overlay', path)
  }
}

/** Writes the data file of an overlay that holds nothing yet. */
export async function writeEmptyData(path: string, identity: string): Promise<void> {
  const file = await open(path, 'wx')
  try {
    await writeAll(file, dataHeader(identity), 0)
  } finally {
    await file.close()
  }
}

/**
 * Checks that a data file belongs to the index with `identity` and holds its slots up to `lastSlot`. Throws
 * FormatError otherwise.
 */
export async function checkData(
  file: FileHandle,
  path: string,
  identity: string,
  lastSlot: number,
): Promise<void> {
  const found = new Uint8Array(DATA_HEADER_BYTES)
  await readInto(file, found, 0)
  if (Buffer.compare(found, dataHeader(identity).subarray(0, DATA_HEADER_BYTES)) !== 0) {
    throw new FormatError(`overlay data ${path}: byte 0: not the data of the index beside it`)
  }
  const { size } = await file.stat()
  if (size < (lastSlot + 1) * BLOCK_BYTES)
    throw new FormatError(`overlay data ${path}: byte ${size}: cut off`)
}

/** Copies a data file by its path: shares the blocks where the file system can (btrfs, XFS), else copies them. */
export async function cloneData(source: string, target: string): Promise<void> {
  await copyFile(source, target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
}

/** Copies an open data file that may have no name any more. */
export async function copyOpenData(source: FileHandle, target: string): Promise<void> {
  const { size } = await source.stat()
  const buffer = new Uint8Array(1 << 20)
  const file = await open(target, 'wx')
  try {
    for (let offset = 0; offset < size; offset += buffer.length) {
      const piece = buffer.subarray(0, Math.min(buffer.length, size - offset))
      await readInto(source, piece, offset)
      await writeAll(file, piece, offset)
    }
  } finally {
    await file.close()
  }
}

/** Opens a data file without a name, so that it ends with the process. Windows keeps the name until close. */
export async function openPrivateData(
  directory: string,
  write: (path: string) => Promise<void>,
): Promise<{ path: string; data: FileHandle }> {
  const path = temporaryName(join(directory, 'understudy-disk'))
  try {
    await write(path)
    const data = await open(path, 'r+')
    if (process.platform !== 'win32') await rm(path)
    return { path, data }
  } catch (error) {
    await rm(path, { force: true })
    throw fileError(error, 'write', path)
  }
}

function dataHeader(identity: string): Uint8Array {
  const writer = new ByteWriter(BLOCK_BYTES)
  writer.bytes(encodeAscii('UNDSTDAT'))
  writer.bytes(Buffer.from(identity, 'hex'))
  writer.u32(crc32(writer.written()))
  writer.bytes(new Uint8Array(BLOCK_BYTES - writer.length))
  return writer.finish()
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r+')
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Renames a directory to a name that must be free; rename(2) alone would replace an empty directory. */
async function renameDirectory(source: string, target: string): Promise<void> {
  await mkdir(target)
  await rename(source, target)
}

/**
 * The disk: an ext4 file system made from a directory by mke2fs, without mounting anything and without privileges. The
 * owners that an ordinary user cannot give to files are written into the inodes afterwards by debugfs. The tables are
 * initialised here and not by a thread of the guest, which would keep it busy and its disk changing for minutes.
 */
import { lstatSync, lutimesSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { UserError } from '../base/errors.ts'
import { commandError, requireCommand, runCommand } from './command.ts'
import type { Owner, RootDirectory } from './rootfs.ts'

const BLOCK_BYTES = 4096
const ROOT: Owner = { uid: 0, gid: 0 }
const SIZE_BYTES_MIN = 64 * 2 ** 20
const SIZE_BYTES_MAX = 2 ** 44
const UNITS: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 }

/** Reads a size as `512M` or `2G`, in bytes. Throws a UserError. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([KMGT])(?:i?B)?$/i.exec(text.trim())
  const bytes = match === null ? Number.NaN : Number(match[1]) * UNITS[match[2]!.toUpperCase()]!
  if (bytes >= SIZE_BYTES_MIN && bytes <= SIZE_BYTES_MAX) return Math.floor(bytes / BLOCK_BYTES) * BLOCK_BYTES
  throw new UserError(`--size ${text}: expected a size from 64M to 16T, as 1G`)
}

export interface FileSystemOptions {
  readonly sizeBytes: number
  /** Identity of the file system, and the seed of its directory hashes. */
  readonly uuid: string
  /** Seconds since 1970 that the file system says it was made at. */
  readonly epoch: number
}

/** Writes a sparse file with the content of `root` to `path`. Throws a UserError if it does not fit. */
export async function makeFileSystem(
  path: string,
  root: RootDirectory,
  options: FileSystemOptions,
): Promise<void> {
  const { sizeBytes, uuid, epoch } = options
  const extended = `root_owner=0:0,hash_seed=${uuid},lazy_itable_init=0,lazy_journal_init=0`
  const environment = { SOURCE_DATE_EPOCH: `${epoch}`, E2FSPROGS_FAKE_TIME: `${epoch}` }
  clampTimes(root.path, epoch)
  const result = await runCommand(
    'mke2fs',
    [
      ...[
        '-q',
        '-F',
        '-t',
        'ext4',
        '-b',
        `${BLOCK_BYTES}`,
        '-m',
        '1',
        '-L',
        'root',
        '-U',
        uuid,
        '-E',
        extended,
      ],
      ...['-d', root.path, path, `${sizeBytes / BLOCK_BYTES}`],
    ],
    { environment },
  )
  if (/Could not allocate|No free space|too small|not enough space/i.test(result.stderr)) {
    const megabytes = Math.ceil(directoryBytes(root.path) / 2 ** 20)
    throw new UserError(`the packages (${megabytes} MiB) do not fit on the disk: give a larger --size`)
  }
  if (result.status !== 0) throw commandError('mke2fs', result)
  await requireCommand('debugfs', ['-w', '-f', '-', path], { environment, input: inodeCommands(root, epoch) })
}

/** Makes nothing in `root` younger than `epoch`, so that equal packages give equal files. */
function clampTimes(root: string, epoch: number): void {
  for (const path of [...pathsBelow(root)].reverse()) {
    const found = lstatSync(join(root, path))
    if (found.mtimeMs > epoch * 1000) lutimesSync(join(root, path), epoch, epoch)
  }
}

/** debugfs commands that give every file its owner, where the directory's own is another, and the times of `epoch`. */
function inodeCommands(root: RootDirectory, epoch: number): string {
  const commands: string[] = []
  for (const path of pathsBelow(root.path)) {
    const wanted = root.owners.get(path) ?? ROOT
    const found = lstatSync(join(root.path, path))
    commands.push(`sif "${path}" atime @${epoch}`, `sif "${path}" ctime @${epoch}`)
    if (found.uid !== wanted.uid) commands.push(`sif "${path}" uid ${wanted.uid}`)
    if (found.gid !== wanted.gid) commands.push(`sif "${path}" gid ${wanted.gid}`)
  }
  return `${commands.join('\n')}\n`
}

function* pathsBelow(root: string): Generator<string> {
  for (const name of readdirSync(root, { recursive: true, encoding: 'utf8' })) yield `/${name}`
}

function directoryBytes(root: string): number {
  let bytes = 0
  for (const path of pathsBelow(root)) {
    const found = lstatSync(join(root, path))
    if (found.isFile()) bytes += Math.ceil(found.size / BLOCK_BYTES) * BLOCK_BYTES
  }
  return bytes
}

/** Bytes that a sparse file really takes. */
export function allocatedBytes(path: string): number {
  return statSync(path).blocks * 512
}

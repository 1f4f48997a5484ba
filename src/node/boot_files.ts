/** The files of an image: kernel and initramfs, read when a computer starts, and their digests. */
import { readFileSync } from 'node:fs'
import { UserError } from '../base/errors.ts'
import type { BootFiles } from '../board/boot_image.ts'
import type { BaseImage } from '../host/base_image.ts'
import { fileError } from '../host/file_error.ts'
import { type MachineRecord, sha256 } from './machine_record.ts'

/** An image's files on this machine. */
export interface ImageFiles {
  readonly name: string
  readonly kernel: string
  readonly initramfs: string
  readonly disk: string
}

/** What a machine was started from, by SHA-256. */
type FileDigests = Pick<MachineRecord, 'kernel' | 'initramfs' | 'disk'>

/**
 * A computer's source of kernel and initramfs. The files are read again when the guest restarts, and must still be the
 * ones that `digests` names: another kernel would be a hidden input. Throws a UserError if they are not, or cannot be
 * read. `later` calls something when the computer has taken over what was read.
 */
export function bootFilesOf(
  image: ImageFiles,
  digests: Omit<FileDigests, 'disk'>,
  later: (action: () => void) => void = setImmediate,
): () => BootFiles {
  let isRestart = false
  return () => {
    const files = readBootFiles(image)
    if (isRestart) requireUnchanged(image, files, digests)
    isRestart = true
    later(() => release(files))
    return files
  }
}

/** What tells an image from another one. Throws a UserError if its files cannot be read. */
export function digestsOf(image: ImageFiles, base: BaseImage): FileDigests {
  const files = readBootFiles(image)
  const digests = { kernel: sha256(files.kernel), initramfs: sha256(files.initramfs), disk: base.digest }
  release(files)
  return digests
}

function requireUnchanged(image: ImageFiles, files: LoadedFiles, digests: Omit<FileDigests, 'disk'>): void {
  for (const part of ['kernel', 'initramfs'] as const) {
    if (sha256(files[part]) === digests[part]) continue
    throw new UserError(
      `${image[part]} has changed while the machine runs: the guest cannot restart with another ${part}`,
    )
  }
}

interface LoadedFiles {
  readonly kernel: Uint8Array<ArrayBuffer>
  readonly initramfs: Uint8Array<ArrayBuffer>
}

function readBootFiles(image: ImageFiles): LoadedFiles {
  return { kernel: readOwned(image.kernel), initramfs: readOwned(image.initramfs) }
}

function readOwned(path: string): Uint8Array<ArrayBuffer> {
  try {
    return readFileSync(path)
  } catch (error) {
    throw fileError(error, 'read', path)
  }
}

/** Gives memory back that is tens of megabytes and used for a moment; the collector would be in no hurry. */
function release({ kernel, initramfs }: LoadedFiles): void {
  for (const { buffer, length } of [kernel, initramfs]) {
    // A small file stands in a buffer that it shares.
    if (buffer.byteLength === length) buffer.transfer(0)
  }
}

/** An image whose kernel is a few lines of assembly, and whose disk is a mebibyte of zeros. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { smallKernel } from '../../board/testing/small_computer.ts'
import type { ImageFiles } from '../boot_files.ts'

const DISK_BYTES = 2 ** 20

/** Writes the image's files to `folder`. */
export async function smallImage(folder: string, source: string): Promise<ImageFiles> {
  const file = (name: string): string => join(folder, name)
  const image = { name: 'small', kernel: file('kernel'), initramfs: file('initramfs'), disk: file('disk') }
  await writeFile(image.kernel, smallKernel(source))
  await writeFile(image.initramfs, 'none')
  await writeFile(image.disk, new Uint8Array(DISK_BYTES))
  return image
}

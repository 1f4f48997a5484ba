/** A guest's disk with files of ours on it: a copy of the image's, so that ours and QEMU's machine get the same. */
import { join } from 'node:path'
import { requireCommand } from '../src/image/command.ts'
import type { ImageFiles } from '../src/node/session.ts'

/** Where the guest finds the files. */
export const GUEST_FOLDER = '/bench'

/** Writes a copy of the image's disk into `folder`, with the files `names` of that folder in GUEST_FOLDER. */
export async function imageWithFiles(
  image: ImageFiles,
  folder: string,
  names: readonly string[],
): Promise<ImageFiles> {
  const disk = join(folder, 'disk.ext4')
  await requireCommand('cp', ['--sparse=always', image.disk, disk])
  const writes = names.map((name) => `write ${join(folder, name)} ${name}`)
  const input = [`mkdir ${GUEST_FOLDER}`, `cd ${GUEST_FOLDER}`, ...writes, 'quit', ''].join('\n')
  await requireCommand('debugfs', ['-w', '-f', '-', disk], { input })
  return { ...image, disk }
}

/** Images by name, as the machine wants them: the files, and the kernel parameters that they need. */
import { dirname, join } from 'node:path'
import { imagesDirectory, openImage, type StoredImage } from '../image/store.ts'
import type { ImageFiles } from '../node/session.ts'

/** The files of a stored image. */
export function imageFiles({ manifest, paths }: StoredImage): ImageFiles {
  return { name: manifest.name, kernel: paths.kernel, initramfs: paths.initramfs, disk: paths.disk }
}

/** Finds an image's files by its name. Throws a UserError that lists what there is. */
export function findImageFiles(name: string): ImageFiles {
  return imageFiles(openImage(name))
}

/**
 * Where an image's disk is kept unless the user says otherwise. The digest in the name gives an image that is built
 * again a new disk.
 */
export function defaultDisk({ manifest }: StoredImage): string {
  const digest = manifest.files.disk.sha256.slice(0, 12)
  return join(dirname(imagesDirectory()), 'disks', `${manifest.name}-${digest}`)
}

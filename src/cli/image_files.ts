/** Images by name, as the machine wants them: the files, and the kernel parameters that they need. */
import { dirname, join } from 'node:path'
import { imagesDirectory, openImage, type StoredImage } from '../image/store.ts'
import { guestDisk } from '../node/guest_disks.ts'
import { describeImage, type ImageDescription } from '../node/image_description.ts'
import type { ImageFiles } from '../node/session.ts'

/** The files of a stored image. */
export function imageFiles({ manifest, paths }: StoredImage): ImageFiles {
  return { name: manifest.name, kernel: paths.kernel, initramfs: paths.initramfs, disk: paths.disk }
}

/** Finds an image's files by its name. Throws a UserError that lists what there is. */
export function findImageFiles(name: string): ImageFiles {
  return imageFiles(openImage(name))
}

/** What an image is, by its name. Rejects with a UserError that lists what there is. */
export async function describeStoredImage(name: string): Promise<ImageDescription> {
  const image = openImage(name)
  return describeImage(imageFiles(image), image.manifest.commandLine)
}

/** Where the disks of guests are kept, unless the user says otherwise. */
export function disksDirectory(): string {
  return join(dirname(imagesDirectory()), 'disks')
}

/** The disk of this image's guests, unless the user says otherwise. */
export function defaultDisk({ manifest }: StoredImage): string {
  return guestDisk(disksDirectory(), manifest.name, manifest.files.disk.sha256)
}

/** Where what has been translated of this image's programs is kept. */
export function translationsDirectory({ directory }: StoredImage): string {
  return join(directory, 'translations')
}

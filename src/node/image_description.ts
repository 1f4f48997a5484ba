/** What an image is, wherever its files are: hosts on several computers compare it, and a machine is made by it. */
import { BaseImage } from '../host/base_image.ts'
import { digestsOf, type ImageFiles } from './boot_files.ts'

export interface ImageDescription {
  /** SHA-256, hexadecimal. */
  readonly kernel: string
  readonly initramfs: string
  readonly disk: string
  readonly diskSectors: number
  /** Kernel parameters that the image needs. */
  readonly commandLine: string
}

/** Throws a UserError if the files cannot be read. */
export async function describeImage(image: ImageFiles, commandLine: string): Promise<ImageDescription> {
  const base = await BaseImage.open(image.disk)
  try {
    return { ...digestsOf(image, base), diskSectors: base.sectors, commandLine }
  } finally {
    await base.close()
  }
}

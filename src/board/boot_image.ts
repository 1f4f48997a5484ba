/**
 * Putting a Linux kernel, its initial RAM disk and the device tree into RAM (Linux, "RISC-V boot image header").
 *
 *     RAM + text offset   kernel, with room for its image size
 *     ... towards the end of RAM, page-aligned:   initial RAM disk | device tree
 */
import { FormatError, UserError } from '../base/errors.ts'
import type { GuestMemory } from '../machine/device.ts'
import { deviceTree } from './device_tree.ts'
import { RAM_ADDRESS } from './memory_map.ts'

const MAGIC_OFFSET = 56
/** "RSC\x05" */
const MAGIC = 0x0543_5352
const HEADER_BYTES = 64
const PAGE = 4096

/** What an operating system is started from. */
export interface BootFiles {
  readonly kernel: Uint8Array
  readonly initramfs: Uint8Array | undefined
}

export interface BootOptions extends BootFiles {
  readonly harts: number
  readonly ramBytes: number
  readonly bootArguments: string
  readonly rngSeed: Uint8Array
  readonly virtioSlots: number
}

/** Where the first hart starts, and where it finds the device tree. */
export interface BootEntry {
  readonly kernel: number
  readonly deviceTree: number
}

/** Loads everything. Throws FormatError if the kernel is no RISC-V image, UserError if RAM is too small. */
export function loadBootImage(memory: GuestMemory, options: BootOptions): BootEntry {
  const { kernel, initramfs, ramBytes } = options
  const { textOffset, imageBytes } = readHeader(kernel)
  const ramEnd = RAM_ADDRESS + ramBytes
  const tree = (initrd?: { start: number; end: number }): Uint8Array =>
    deviceTree({ ...options, ...(initrd === undefined ? {} : { initrd }) })
  const treeStart = alignDown(ramEnd - tree({ start: ramEnd, end: ramEnd }).length - PAGE)
  const initrdStart = alignDown(treeStart - (initramfs?.length ?? 0))
  const kernelStart = RAM_ADDRESS + textOffset
  if (kernelStart + Math.max(imageBytes, kernel.length) > initrdStart) {
    const needed = Math.ceil((kernelStart - RAM_ADDRESS + imageBytes + ramEnd - initrdStart) / 2 ** 20)
    throw new UserError(
      `the kernel and its initial RAM disk need ${needed} MiB of memory, but the machine has ${ramBytes / 2 ** 20} MiB; give it more with --memory`,
    )
  }
  memory.write(kernelStart, kernel)
  if (initramfs !== undefined) memory.write(initrdStart, initramfs)
  const initrd = initramfs && { start: initrdStart, end: initrdStart + initramfs.length }
  memory.write(treeStart, tree(initrd))
  return { kernel: kernelStart, deviceTree: treeStart }
}

const alignDown = (address: number): number => Math.floor(address / PAGE) * PAGE

function readHeader(kernel: Uint8Array): { textOffset: number; imageBytes: number } {
  const view = new DataView(kernel.buffer, kernel.byteOffset, kernel.byteLength)
  if (kernel.length < HEADER_BYTES || view.getUint32(MAGIC_OFFSET, true) !== MAGIC) {
    throw new FormatError('kernel: not an uncompressed RISC-V Linux image (no RSC magic at byte 56)')
  }
  const textOffset = Number(view.getBigUint64(8, true))
  const imageBytes = Number(view.getBigUint64(16, true))
  if (textOffset > 2 ** 30 || imageBytes > 2 ** 31) {
    throw new FormatError(`kernel: implausible image header (offset ${textOffset}, size ${imageBytes})`)
  }
  return { textOffset, imageBytes }
}

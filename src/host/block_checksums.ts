/**
 * What each block of a disk held when it was last written, as a CRC-32, so that a block that has changed by itself is
 * noticed. A checksum is known for blocks that were written whole since the disk was opened, and is forgotten while
 * something writes to the block.
 *
 * Cost: 4 bytes a block, in leaves of 1024 blocks, so a thousandth of what was written; and a CRC of every block
 * written, some 2 microseconds.
 */
import { crc32 } from 'node:zlib'
import { SECTOR_BYTES } from './base_image.ts'
import type { QueuedDisk } from './disk_queue.ts'
import { BLOCK_BYTES, BLOCK_SECTORS } from './overlay_files.ts'

const LEAF_BLOCKS = 1024
/** No checksum is known. A block whose checksum is this number goes unchecked: one in four thousand million. */
const UNKNOWN = 0

export class BlockChecksums {
  readonly #leaves = new Map<number, Int32Array>()

  /** The checksum of a block, or undefined if none is known. */
  get(block: number): number | undefined {
    const checksum = this.#leaves.get(Math.floor(block / LEAF_BLOCKS))?.[block % LEAF_BLOCKS] ?? UNKNOWN
    return checksum === UNKNOWN ? undefined : checksum
  }

  /** Keeps the checksums of all blocks that lie in `bytes` as a whole. */
  keep(sector: number, bytes: Uint8Array): void {
    const first = Math.ceil(sector / BLOCK_SECTORS)
    const end = Math.floor((sector + bytes.length / SECTOR_BYTES) / BLOCK_SECTORS)
    for (let block = first; block < end; block++) {
      const start = (block * BLOCK_SECTORS - sector) * SECTOR_BYTES
      this.#set(block, checksumOfBlock(bytes.subarray(start, start + BLOCK_BYTES)))
    }
  }

  /** Forgets all blocks that the sectors touch. */
  forget(sector: number, sectors: number): void {
    const end = Math.ceil((sector + sectors) / BLOCK_SECTORS)
    for (let block = Math.floor(sector / BLOCK_SECTORS); block < end; block++) {
      if (this.get(block) !== undefined) this.#set(block, UNKNOWN)
    }
  }

  /** The first run of blocks with a known checksum that lies at or behind `block`, cut to `limit` blocks. */
  next(block: number, limit: number): { readonly block: number; readonly count: number } | undefined {
    for (const key of [...this.#leaves.keys()].sort((a, b) => a - b)) {
      const start = Math.max(block, key * LEAF_BLOCKS)
      for (let first = start; first < (key + 1) * LEAF_BLOCKS; first++) {
        if (this.get(first) === undefined) continue
        let count = 1
        while (count < limit && this.get(first + count) !== undefined) count++
        return { block: first, count }
      }
    }
    return undefined
  }

  #set(block: number, checksum: number): void {
    const key = Math.floor(block / LEAF_BLOCKS)
    let leaf = this.#leaves.get(key)
    if (leaf === undefined) {
      leaf = new Int32Array(LEAF_BLOCKS)
      this.#leaves.set(key, leaf)
    }
    leaf[block % LEAF_BLOCKS] = checksum
  }
}

/** A block's checksum, as `BlockChecksums` keeps it. */
export function checksumOfBlock(bytes: Uint8Array): number {
  return crc32(bytes) | 0
}

/** The disk, with the checksums of what is written to it kept. */
export function withChecksums(disk: QueuedDisk, checksums: BlockChecksums): QueuedDisk {
  const changing = async (sector: number, sectors: number, change: () => Promise<void>): Promise<void> => {
    checksums.forget(sector, sectors)
    await change()
  }
  return {
    read: (sector, sectors) => disk.read(sector, sectors),
    write: async (sector, bytes) => {
      await changing(sector, bytes.length / SECTOR_BYTES, () => disk.write(sector, bytes))
      checksums.keep(sector, bytes)
    },
    discard: (sector, sectors) => changing(sector, sectors, () => disk.discard(sector, sectors)),
    zeroes: (sector, sectors) => changing(sector, sectors, () => disk.zeroes(sector, sectors)),
    flush: () => disk.flush(),
  }
}

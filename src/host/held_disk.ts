/**
 * A disk as it was at one moment, while its machine goes on writing: what a joining copy is sent.
 *
 * Holding copies no data: a block that is written meanwhile gets another slot (`OverlayDisk.hold`). So a hold costs the
 * block map once more in memory (4 bytes a block, in leaves of 1024), and of the host's disk what the machine writes
 * over while it lasts: at most what the overlay held when it began. That room is used again after the release, and not
 * given back to the file system.
 */
import { assert } from '../base/assert.ts'
import type { SectorSource } from './base_image.ts'
import type { SlotRetirement } from './slot_retirement.ts'
import { extentsOf, type OverlayExtent, readStored, type StoredBlocks } from './stored_blocks.ts'

export class HeldDisk implements SectorSource {
  /** Capacity. */
  readonly sectors: number
  /** SHA-256 of the base image. */
  readonly baseDigest: string
  readonly #blocks: StoredBlocks
  readonly #retirement: SlotRetirement
  #isReleased = false

  /** Use `OverlayDisk.hold`. */
  constructor(
    disk: { readonly sectors: number; readonly baseDigest: string },
    blocks: StoredBlocks,
    retirement: SlotRetirement,
  ) {
    this.sectors = disk.sectors
    this.baseDigest = disk.baseDigest
    this.#blocks = blocks
    this.#retirement = retirement
    retirement.hold(blocks.map)
  }

  /** What the overlay held, in order of sectors: what a copy that has the base already still needs. */
  *extents(): Generator<OverlayExtent> {
    for (const extent of extentsOf(this.#blocks.map, this.sectors)) {
      this.#checkHeld()
      yield extent
    }
  }

  /** Reads what the disk held, the base's part too. Errors of the system come out as they are. */
  async read(sector: number, sectors: number): Promise<Uint8Array> {
    this.#checkHeld()
    return this.#retirement.reading(readStored(this.#blocks, sector, sectors))
  }

  /** Lets the disk use the room again. Reads that have begun still find what was held; others are a mistake. */
  release(): void {
    if (this.#isReleased) return
    this.#isReleased = true
    this.#retirement.release()
  }

  #checkHeld(): void {
    assert(!this.#isReleased, 'reading a hold that was released')
  }
}

/**
 * Reads a disk's blocks again in the background, in rotation and at a bounded rate, and compares them with what was
 * written (block_checksums.ts). It reads beside the requests and holds none of them up.
 *
 * A block that something writes to meanwhile has no checksum while it is written: what was read is judged only if its
 * checksum was the same before and after. The operating system may answer from its cache: then it is the cache that was
 * checked, and the medium only once the block has been dropped from there.
 */

import { type BlockChecksums, checksumOfBlock } from './block_checksums.ts'
import { systemErrorCode } from './file_error.ts'
import { BLOCK_BYTES, BLOCK_SECTORS } from './overlay_files.ts'

/** A run of sectors. */
export interface SectorExtent {
  readonly sector: number
  readonly sectors: number
}

export interface ScrubEvents {
  /** A block has changed without being written: the disk is not to be trusted. Told once for each write to the block. */
  readonly onCorrupt: (extent: SectorExtent) => void
  /** An error of the system: whether the block is sound is not known. */
  readonly onUnreadable: (extent: SectorExtent, error: Error) => void
}

/** What it reads from. */
export interface ScrubbedDisk {
  read(sector: number, sectors: number): Promise<Uint8Array>
}

/** All of 10 GiB in three quarters of an hour, for a quarter of a percent of a processor. */
const BYTES_PER_SECOND = 4 << 20
const STEP_MS = 100

export class DiskScrubber {
  readonly #disk: ScrubbedDisk
  readonly #checksums: BlockChecksums
  readonly #events: ScrubEvents
  readonly #stepBlocks: number
  #next = 0
  #timer: NodeJS.Timeout | undefined
  #step: Promise<void> | undefined

  constructor(
    disk: ScrubbedDisk,
    checksums: BlockChecksums,
    events: ScrubEvents,
    bytesPerSecond = BYTES_PER_SECOND,
  ) {
    this.#disk = disk
    this.#checksums = checksums
    this.#events = events
    this.#stepBlocks = Math.max(1, Math.floor((bytesPerSecond * STEP_MS) / 1000 / BLOCK_BYTES))
  }

  /** Begins, or goes on where it was stopped. Does not keep the process from ending. */
  start(): void {
    this.#timer ??= setInterval(() => {
      // A slow disk is given no second step before the first is done.
      this.#step ??= this.step().finally(() => {
        this.#step = undefined
      })
    }, STEP_MS).unref()
  }

  /** Stops; when the promise is fulfilled nothing is read any more. */
  async stop(): Promise<void> {
    clearInterval(this.#timer)
    this.#timer = undefined
    await this.#step
  }

  /** Checks the next blocks, as many as are due in a tenth of a second, in one run. */
  async step(): Promise<void> {
    const run =
      this.#checksums.next(this.#next, this.#stepBlocks) ?? this.#checksums.next(0, this.#stepBlocks)
    if (run === undefined) return
    this.#next = run.block + run.count
    const expected = Array.from({ length: run.count }, (_, i) => this.#checksums.get(run.block + i))
    const bytes = await this.#read({ sector: run.block * BLOCK_SECTORS, sectors: run.count * BLOCK_SECTORS })
    if (bytes === undefined) return
    for (const [i, checksum] of expected.entries()) {
      const block = run.block + i
      if (checksum !== this.#checksums.get(block)) continue
      if (checksum === checksumOfBlock(bytes.subarray(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES))) continue
      const extent = { sector: block * BLOCK_SECTORS, sectors: BLOCK_SECTORS }
      this.#checksums.forget(extent.sector, extent.sectors)
      this.#events.onCorrupt(extent)
    }
  }

  async #read(extent: SectorExtent): Promise<Uint8Array | undefined> {
    try {
      return await this.#disk.read(extent.sector, extent.sectors)
    } catch (error) {
      if (!(error instanceof Error) || systemErrorCode(error) === undefined) throw error
      this.#events.onUnreadable(extent, error)
      return undefined
    }
  }
}

/** The content of a disk as a block map describes it: what is in the data file, what is zeros, what the layer below has. */
import type { FileHandle } from 'node:fs/promises'
import { readInto, SECTOR_BYTES, type SectorSource } from './base_image.ts'
import { ABSENT, type BlockMap, ZERO } from './block_map.ts'
import { BLOCK_BYTES, BLOCK_SECTORS } from './overlay_files.ts'

/** A run of sectors that the overlay holds: zeros, or data. */
export interface OverlayExtent {
  readonly sector: number
  readonly sectors: number
  readonly zeros: boolean
}

export interface StoredBlocks {
  readonly map: BlockMap
  readonly data: FileHandle
  /** Has the blocks that are absent from the map. */
  readonly lower: SectorSource
}

/** Reads sectors, through to the layer below. */
export async function readStored(
  { map, data, lower }: StoredBlocks,
  sector: number,
  sectors: number,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(sectors * SECTOR_BYTES)
  const end = sector + sectors
  for (let from = sector; from < end; ) {
    const block = Math.floor(from / BLOCK_SECTORS)
    const run = map.runAt(block, Math.ceil(end / BLOCK_SECTORS) - block)
    const to = Math.min(end, (block + run.count) * BLOCK_SECTORS)
    const piece = bytes.subarray((from - sector) * SECTOR_BYTES, (to - sector) * SECTOR_BYTES)
    if (run.slot > 0) {
      await readInto(data, piece, run.slot * BLOCK_BYTES + (from % BLOCK_SECTORS) * SECTOR_BYTES)
    } else if (run.slot === ABSENT) {
      piece.set(await lower.read(from, to - from))
    }
    from = to
  }
  return bytes
}

/** What a map holds of a disk of so many sectors, in their order. */
export function* extentsOf(map: BlockMap, diskSectors: number): Generator<OverlayExtent> {
  for (const { block, count, slot } of map.runs()) {
    const sector = block * BLOCK_SECTORS
    const sectors = Math.min(count * BLOCK_SECTORS, diskSectors - sector)
    yield { sector, sectors, zeros: slot === ZERO }
  }
}

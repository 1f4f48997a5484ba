/** The frozen overlay of a snapshot, made of a disk that is held while its machine writes on. */
import { type FileHandle, open } from 'node:fs/promises'
import { SECTOR_BYTES, writeAll } from './base_image.ts'
import { BlockMap, ZERO } from './block_map.ts'
import type { HeldDisk } from './held_disk.ts'
import { BLOCK_BYTES, BLOCK_SECTORS, buildOverlay, randomIdentity, writeEmptyData } from './overlay_files.ts'
import type { OverlayExtent } from './stored_blocks.ts'

/** Sectors copied at a time. */
const PIECE_SECTORS = 2048

/**
 * Writes what is held as a frozen overlay at `path`, of the given generation, whole or not at all; its blocks stand in
 * their order. Throws a UserError if it cannot be written.
 */
export async function copyFrozen(held: HeldDisk, path: string, generation: string): Promise<void> {
  const { sectors, baseDigest } = held
  const identity = randomIdentity()
  const map = new BlockMap()
  const writeData = async (data: string): Promise<void> => {
    await writeEmptyData(data, identity)
    const file = await open(data, 'r+')
    try {
      let slot = 1
      for (const extent of held.extents()) slot = await copyExtent(held, extent, { file, map, slot })
    } finally {
      await file.close()
    }
  }
  const header = { identity, baseDigest, sectors, frozen: true }
  await buildOverlay(path, { header, map, generation, writeData })
}

/** Copies an extent to the slots from `slot` on; returns the next free one. */
async function copyExtent(
  held: HeldDisk,
  { sector, sectors, zeros }: OverlayExtent,
  { file, map, slot }: { readonly file: FileHandle; readonly map: BlockMap; readonly slot: number },
): Promise<number> {
  const block = sector / BLOCK_SECTORS
  const count = Math.ceil(sectors / BLOCK_SECTORS)
  if (zeros) {
    map.set({ block, count, slot: ZERO })
    return slot
  }
  map.set({ block, count, slot })
  for (let at = 0; at < sectors; at += PIECE_SECTORS) {
    const bytes = await held.read(sector + at, Math.min(PIECE_SECTORS, sectors - at))
    await writeAll(file, bytes, (slot + at / BLOCK_SECTORS) * BLOCK_BYTES)
  }
  // A slot is whole, also where the disk ends within its block.
  const rest = count * BLOCK_BYTES - sectors * SECTOR_BYTES
  if (rest > 0) await writeAll(file, new Uint8Array(rest), (slot + count) * BLOCK_BYTES - rest)
  return slot + count
}

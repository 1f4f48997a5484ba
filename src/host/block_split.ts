/** Ranges of sectors, cut where an overlay's blocks begin. */
import { BLOCK_SECTORS } from './overlay_files.ts'

/** What is done with the parts of a range: with part of one block, by its sectors, and with whole blocks. */
export interface BlockParts {
  readonly partial: (from: number, to: number) => Promise<void>
  readonly blocks: (block: number, count: number) => Promise<void>
}

/** Cuts sectors `start` to `end` (exclusive) into a partial block, whole blocks, and a partial block. */
export async function splitAtBlocks(start: number, end: number, parts: BlockParts): Promise<void> {
  const firstWhole = Math.ceil(start / BLOCK_SECTORS)
  const endWhole = Math.floor(end / BLOCK_SECTORS)
  if (firstWhole > endWhole) {
    await parts.partial(start, end)
    return
  }
  if (start < firstWhole * BLOCK_SECTORS) await parts.partial(start, firstWhole * BLOCK_SECTORS)
  if (firstWhole < endWhole) await parts.blocks(firstWhole, endWhole - firstWhole)
  if (endWhole * BLOCK_SECTORS < end) await parts.partial(endWhole * BLOCK_SECTORS, end)
}

/**
 * Where each block of a disk is: a sparse array in leaves of 1024 blocks, so that a large disk costs memory only
 * where it has been written (4 bytes a block there).
 */
const LEAF_BLOCKS = 1024

/** The block has never been written: the layer below has it. */
export const ABSENT = 0
/** The block holds zeros and has no place in the data file. */
export const ZERO = -1

/** Consecutive blocks in consecutive slots of the data file (`slot` > 0), or all ZERO, or all ABSENT. */
export interface BlockRun {
  readonly block: number
  readonly count: number
  /** The first block's slot, ZERO or ABSENT. */
  readonly slot: number
}

/** Whether `slot` goes on a run of `count` blocks that starts with `first`. */
function continues(first: number, count: number, slot: number): boolean {
  return first > 0 ? slot === first + count : slot === first
}

/** Appends a run to a list, joined with the last one where it goes on from there. */
export function appendRun(runs: BlockRun[], run: BlockRun): void {
  const last = runs.at(-1)
  const joins =
    last !== undefined && last.block + last.count === run.block && continues(last.slot, last.count, run.slot)
  if (joins) runs[runs.length - 1] = { ...last, count: last.count + run.count }
  else runs.push(run)
}

export class BlockMap {
  readonly #leaves = new Map<number, Int32Array>()

  /** The slot of a block, or ZERO or ABSENT. */
  get(block: number): number {
    const leaf = this.#leaves.get(Math.floor(block / LEAF_BLOCKS))
    return leaf === undefined ? ABSENT : leaf[block % LEAF_BLOCKS]!
  }

  /** Puts a whole run. */
  set(run: BlockRun): void {
    for (let i = 0; i < run.count; i++) {
      const block = run.block + i
      const key = Math.floor(block / LEAF_BLOCKS)
      let leaf = this.#leaves.get(key)
      if (leaf === undefined) {
        leaf = new Int32Array(LEAF_BLOCKS)
        this.#leaves.set(key, leaf)
      }
      leaf[block % LEAF_BLOCKS] = run.slot > 0 ? run.slot + i : run.slot
    }
  }

  /** The longest run that starts at `block`, up to `limit` blocks. */
  runAt(block: number, limit: number): BlockRun {
    const slot = this.get(block)
    let count = 1
    while (count < limit && continues(slot, count, this.get(block + count))) count++
    return { block, count, slot }
  }

  /** All runs of blocks that are not absent, in order. */
  *runs(): Generator<BlockRun> {
    let run: BlockRun | undefined
    for (const key of [...this.#leaves.keys()].sort((a, b) => a - b)) {
      const leaf = this.#leaves.get(key)!
      for (let i = 0; i < LEAF_BLOCKS; i++) {
        const slot = leaf[i]!
        const block = key * LEAF_BLOCKS + i
        if (run !== undefined && run.block + run.count === block && continues(run.slot, run.count, slot)) {
          run = { ...run, count: run.count + 1 }
          continue
        }
        if (run !== undefined) yield run
        run = slot === ABSENT ? undefined : { block, count: 1, slot }
      }
    }
    if (run !== undefined) yield run
  }

  /** The highest slot in use, or 0. */
  lastSlot(): number {
    let last = 0
    for (const { slot, count } of this.runs()) if (slot > 0) last = Math.max(last, slot + count - 1)
    return last
  }

  clone(): BlockMap {
    const copy = new BlockMap()
    for (const [key, leaf] of this.#leaves) copy.#leaves.set(key, leaf.slice())
    return copy
  }
}

/** Which slots of a data file are free. Slot 0 is the file's header; behind the last used slot all are free. */
import { assert } from '../base/assert.ts'
import { FormatError } from '../base/errors.ts'
import type { BlockMap } from './block_map.ts'

/** Consecutive slots. */
export interface SlotRun {
  readonly slot: number
  readonly count: number
}

/** 8 TiB of blocks; slots are 32-bit. */
const SLOT_MAX = 0x7fff_ffff

export class SlotAllocator {
  /** Free slots before `#next`; the last is taken first. */
  readonly #free: number[] = []
  #next: number

  /** Finds the free slots between those that `map` uses. Throws FormatError if two blocks share one. */
  constructor(map: BlockMap, path: string) {
    const runs = [...map.runs()].filter((run) => run.slot > 0).sort((a, b) => a.slot - b.slot)
    let next = 1
    for (const { slot, count, block } of runs) {
      if (slot < next)
        throw new FormatError(`overlay ${path}: block ${block} has the slot of another block, ${slot}`)
      while (next < slot) this.#free.push(next++)
      next = slot + count
    }
    this.#next = next
    this.#free.reverse()
  }

  /** Takes `count` slots, in as few runs as free slots allow. */
  take(count: number): SlotRun[] {
    const runs: SlotRun[] = []
    let rest = count
    for (; rest > 0 && this.#free.length > 0; rest--) {
      const slot = this.#free.pop()!
      const last = runs.at(-1)
      if (last !== undefined && last.slot + last.count === slot) {
        runs[runs.length - 1] = { slot: last.slot, count: last.count + 1 }
      } else {
        runs.push({ slot, count: 1 })
      }
    }
    if (rest > 0) {
      assert(this.#next + rest <= SLOT_MAX, 'an overlay of more than 8 TiB')
      runs.push({ slot: this.#next, count: rest })
      this.#next += rest
    }
    return runs
  }

  /** Gives slots back. */
  give(run: SlotRun): void {
    for (let i = run.count - 1; i >= 0; i--) this.#free.push(run.slot + i)
  }
}

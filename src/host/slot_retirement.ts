/**
 * When a slot that the map has left may be used again.
 *
 *     named by the map --left, and durably so--> retired --no hold names it, no read that began before runs--> free
 *
 * That it has left durably is the caller's to know. A *hold* keeps a map of the past: a slot that it names stays as it
 * is until the hold is released. A slot is named by one block only, and is not used again while it is held; so the
 * held map and the present one agree about a block exactly where its slot is held.
 */
import { assert } from '../base/assert.ts'
import type { BlockMap, BlockRun } from './block_map.ts'
import type { SlotAllocator } from './slot_allocator.ts'

export class SlotRetirement {
  readonly #slots: SlotAllocator
  #held: BlockMap | undefined
  /** Retired, but for the hold. */
  #kept: BlockRun[] = []
  readonly #reading = new Set<Promise<unknown>>()

  constructor(slots: SlotAllocator) {
    this.#slots = slots
  }

  get isHolding(): boolean {
    return this.#held !== undefined
  }

  /** Keeps every slot that `map` names. */
  hold(map: BlockMap): void {
    assert(this.#held === undefined, 'a second hold of a disk')
    this.#held = map
  }

  release(): void {
    assert(this.#held !== undefined, 'releasing a hold that there is not')
    this.#held = undefined
    const kept = this.#kept
    this.#kept = []
    for (const run of kept) this.#free(run)
  }

  /** Whether a block that the present map has in `slot` must not be written there. */
  isHeld(block: number, slot: number): boolean {
    return slot > 0 && this.#held?.get(block) === slot
  }

  /** How many blocks of a run, from its first on, are held like the first, or not held like it. */
  beginningOf({ block, count, slot }: BlockRun): { readonly isHeld: boolean; readonly count: number } {
    const isHeld = this.isHeld(block, slot)
    if (this.#held === undefined || slot <= 0) return { isHeld, count }
    let alike = 1
    while (alike < count && this.isHeld(block + alike, slot + alike) === isHeld) alike++
    return { isHeld, count: alike }
  }

  /** Takes slots that no durable map names any more. */
  retire({ block, slot, count }: BlockRun): void {
    for (let done = 0; done < count; ) {
      const rest = { block: block + done, slot: slot + done, count: count - done }
      const beginning = this.beginningOf(rest)
      const part = { ...rest, count: beginning.count }
      if (beginning.isHeld) this.#kept.push(part)
      else this.#free(part)
      done += part.count
    }
  }

  /** A read of slots: what it may be reading is not used again before it ends. */
  async reading<T>(read: Promise<T>): Promise<T> {
    this.#reading.add(read)
    try {
      return await read
    } finally {
      this.#reading.delete(read)
    }
  }

  /** Waits for all reads that have begun. */
  async readsDone(): Promise<void> {
    await Promise.allSettled(this.#reading)
  }

  #free(run: BlockRun): void {
    if (this.#reading.size === 0) this.#slots.give(run)
    else void this.readsDone().then(() => this.#slots.give(run))
  }
}

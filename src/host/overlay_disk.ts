/**
 * A disk: an immutable base and an overlay that holds every block written since, copy-on-write in blocks of 4 KiB.
 *
 * A block is absent (the base has it), zeros (discarded or zeroed: no data), or in a slot of the data file. A fresh
 * block is written to a free slot first and enters the map when it is there; `flush` syncs the data, then the index:
 * the index never names a slot whose data are not durable, and a slot that was freed is used again only when the index
 * that freed it is durable. A crash at any instant leaves the last finished flush plus some later writes to blocks
 * that had a slot before, as any disk does. Discarding reads as zeros afterwards, on every copy.
 *
 * A hold (held_disk.ts) keeps the disk of one moment readable: a block that it names is written to a fresh slot, as if
 * it had none, and its old slot is not used again before the hold is released. What a crash leaves is the same with a
 * hold as without: the hold is in memory only, and the index names what the machine has.
 *
 * **Generations.** An overlay has one generation at a time, a random number that the caller gives. A machine's
 * snapshot must never meet a disk that has moved on. Therefore `snapshotTo` makes a *frozen* copy beside the snapshot,
 * stamped with the snapshot's generation, and the machine goes on with its own overlay. A frozen overlay is never
 * written: loading a snapshot gives the machine a new overlay cloned from it (`cloneTo`), replaying reads it through a
 * private one (`forkPrivate`). Copies share blocks where the file system can; elsewhere they cost the overlay's size.
 * `stamp` is for disks that become a new generation in place, as when a backup joins.
 *
 * A *private* overlay has no index, no lock and no name; it ends with the process or `close`.
 *
 * Callers keep requests apart that overlap in sectors and of which one changes them (DiskQueue does). Errors of the
 * system come out of `read`, `write` and `flush` as they are, with their codes.
 */
import { existsSync } from 'node:fs'
import { type FileHandle, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname } from 'node:path'
import { assert } from '../base/assert.ts'
import { FormatError, UserError } from '../base/errors.ts'
import { type BaseImage, SECTOR_BYTES, type SectorSource, writeAll } from './base_image.ts'
import { appendRun, BlockMap, type BlockRun, ZERO } from './block_map.ts'
import { type BlockParts, splitAtBlocks } from './block_split.ts'
import { fileError, lossError } from './file_error.ts'
import { HeldDisk } from './held_disk.ts'
import { LockFile } from './lock_file.ts'
import {
  BLOCK_BYTES,
  BLOCK_SECTORS,
  buildOverlay,
  checkData,
  cloneData,
  copyOpenData,
  dataPath,
  indexPath,
  lockPath,
  openPrivateData,
  randomIdentity,
  writeEmptyData,
} from './overlay_files.ts'
import { OverlayIndex } from './overlay_index.ts'
import { SlotAllocator } from './slot_allocator.ts'
import { SlotRetirement } from './slot_retirement.ts'
import { extentsOf, type OverlayExtent, readStored, type StoredBlocks } from './stored_blocks.ts'

/** What an overlay is made of; see the class. */
interface OverlayParts {
  /** Its directory, or where a private one's data are. */
  readonly path: string
  /** In the data file's header. */
  readonly identity: string
  readonly lower: SectorSource
  readonly baseDigest: string
  readonly sectors: number
  readonly map: BlockMap
  readonly generation: string
  readonly data: FileHandle
  /** Absent in private overlays. */
  readonly index: OverlayIndex | undefined
  readonly lock: LockFile | undefined
}

/** Makes an overlay that holds nothing yet. `sectors` may exceed the base's; the rest reads as zeros. */
export async function createOverlay(
  path: string,
  base: BaseImage,
  generation: string,
  sectors = base.sectors,
): Promise<void> {
  assert(sectors >= base.sectors, 'a disk smaller than its base')
  const header = { identity: randomIdentity(), baseDigest: base.digest, sectors, frozen: false }
  const writeData = (data: string): Promise<void> => writeEmptyData(data, header.identity)
  await buildOverlay(path, { header, map: new BlockMap(), generation, writeData })
}

/**
 * Opens an overlay for writing, locked against every other process. Throws a UserError if it is in use, frozen, or
 * made for another base; FormatError if it is damaged.
 */
export async function openOverlay(path: string, base: BaseImage): Promise<OverlayDisk> {
  let lock: LockFile | undefined
  try {
    const what = `overlay ${path}`
    if (!existsSync(indexPath(path)))
      throw new FormatError(`${what} is not the disk of a guest: name another place`)
    lock = await LockFile.acquire(lockPath(path), what)
    return await openFiles(path, base, lock)
  } catch (error) {
    await lock?.release()
    throw fileError(error, 'open overlay', path)
  }
}

/** Opens the frozen overlay of a snapshot, to read, clone and fork it. Any number of processes may. */
export async function openFrozenOverlay(path: string, base: BaseImage): Promise<OverlayDisk> {
  try {
    return await openFiles(path, base, undefined)
  } catch (error) {
    throw fileError(error, 'open overlay', path)
  }
}

/** A disk whose writes are dropped at close. Its data go to an unnamed file in `directory`. */
export async function openEphemeral(
  base: BaseImage,
  generation: string,
  directory = tmpdir(),
): Promise<OverlayDisk> {
  const { sectors, digest } = base
  const identity = randomIdentity()
  const file = await openPrivateData(directory, (path) => writeEmptyData(path, identity))
  const kept = { identity, lower: base, sectors, baseDigest: digest, map: new BlockMap(), generation }
  return new OverlayDisk({ ...file, ...kept, index: undefined, lock: undefined })
}

async function openFiles(path: string, base: BaseImage, lock: LockFile | undefined): Promise<OverlayDisk> {
  const writable = lock !== undefined
  const { index, map, generation } = await OverlayIndex.open(indexPath(path), writable)
  let data: FileHandle | undefined
  try {
    const { frozen, baseDigest, sectors, identity } = index.header
    if (frozen && writable) {
      throw new UserError(
        `overlay ${path} belongs to a snapshot and is never written: load the snapshot instead`,
      )
    }
    if (!frozen && !writable) throw new UserError(`overlay ${path} does not belong to a snapshot`)
    if (baseDigest !== base.digest) {
      throw new UserError(
        `overlay ${path} was made for another base than ${base.path}: name the base ${baseDigest}`,
      )
    }
    data = await open(dataPath(path), writable ? 'r+' : 'r')
    await checkData(data, dataPath(path), identity, map.lastSlot())
    const content = { identity, lower: base, baseDigest, sectors, map, generation, data }
    return new OverlayDisk({ path, ...content, index, lock })
  } catch (error) {
    await data?.close()
    await index.close()
    throw error
  }
}

export class OverlayDisk implements SectorSource {
  readonly path: string
  /** Capacity. */
  readonly sectors: number
  /** SHA-256 of the base image. */
  readonly baseDigest: string
  readonly #identity: string
  readonly #lower: SectorSource
  readonly #map: BlockMap
  readonly #data: FileHandle
  readonly #index: OverlayIndex | undefined
  readonly #lock: LockFile | undefined
  readonly #slots: SlotAllocator
  readonly #retirement: SlotRetirement
  readonly #blocks: StoredBlocks
  #generation: string
  /** In the map and not in the index, in the order of writing. */
  #pending: BlockRun[] = []
  /** Slots of the map's past that the durable index may still name. */
  #freed: BlockRun[] = []
  /** Data may have been written since the last sync: also by a process that died, before this one opened the disk. */
  #unsynced = true
  /** Partial writes that are making a block; a second one to the same block waits. */
  readonly #filling = new Map<number, Promise<void>>()
  /** Writes, discards and zeroes that run. */
  #changing = 0
  #syncing: Promise<void> = Promise.resolve()
  /** After a failed sync nobody knows what is durable: every further flush fails as well. */
  #failure: unknown

  /** Use `openOverlay`, `openFrozenOverlay`, `openEphemeral` or `forkPrivate`. */
  constructor(parts: OverlayParts) {
    this.path = parts.path
    this.sectors = parts.sectors
    this.baseDigest = parts.baseDigest
    this.#identity = parts.identity
    this.#lower = parts.lower
    this.#map = parts.map
    this.#data = parts.data
    this.#index = parts.index
    this.#lock = parts.lock
    this.#generation = parts.generation
    this.#slots = new SlotAllocator(parts.map, parts.path)
    this.#retirement = new SlotRetirement(this.#slots)
    this.#blocks = { map: parts.map, data: parts.data, lower: parts.lower }
  }

  /** Where the data take room: the overlay, or the directory of a private disk, whose file has no name. */
  get place(): string {
    return this.#index === undefined ? dirname(this.path) : this.path
  }

  get generation(): string {
    return this.#generation
  }

  /** Whether the disk belongs to a snapshot and cannot be written. */
  get frozen(): boolean {
    return this.#index?.header.frozen ?? false
  }

  /** Throws a UserError unless the disk is of this generation. */
  requireGeneration(generation: string): void {
    if (this.#generation === generation) return
    const remedy = this.frozen
      ? 'it was saved with another snapshot than the one beside it'
      : 'it has moved on since the snapshot: name a new place, where the disk begins as it was saved'
    throw new UserError(
      `overlay ${this.path} is of generation ${this.#generation}, not ${generation}: ${remedy}`,
    )
  }

  async read(sector: number, sectors: number): Promise<Uint8Array> {
    return this.#retirement.reading(readStored(this.#blocks, sector, sectors))
  }

  /** Writes whole sectors. Until a flush they may be lost in a crash. A failed call can be repeated. */
  async write(sector: number, bytes: Uint8Array): Promise<void> {
    this.#checkWritable(sector, bytes.length / SECTOR_BYTES)
    const part = (from: number, to: number): Uint8Array =>
      bytes.subarray((from - sector) * SECTOR_BYTES, (to - sector) * SECTOR_BYTES)
    await this.#change(sector, sector + bytes.length / SECTOR_BYTES, {
      partial: (from, to) => this.#writePartial(from, part(from, to)),
      blocks: (block, count) =>
        this.#writeBlocks(block, part(block * BLOCK_SECTORS, (block + count) * BLOCK_SECTORS)),
    })
  }

  /** Makes sectors zeros, and gives up the room of whole blocks. */
  async zeroes(sector: number, sectors: number): Promise<void> {
    this.#checkWritable(sector, sectors)
    await this.#change(sector, sector + sectors, {
      partial: async (from, to) => {
        if (this.#map.get(Math.floor(from / BLOCK_SECTORS)) === ZERO) return
        await this.#writePartial(from, new Uint8Array((to - from) * SECTOR_BYTES))
      },
      blocks: async (block, count) => this.#zeroBlocks(block, count),
    })
  }

  /** Discards sectors. They read as zeros from now on: what a guest sees must not depend on the host. */
  async discard(sector: number, sectors: number): Promise<void> {
    await this.zeroes(sector, sectors)
  }

  /** Makes everything durable that was written before the call. Does nothing on a private overlay. */
  async flush(): Promise<void> {
    const index = this.#index
    if (index === undefined || this.frozen) return
    await this.#oneAtATime(() => this.#sync(index))
  }

  /** Makes everything durable, as a new generation (32 hexadecimal digits). Throws a UserError if it cannot be written. */
  async stamp(generation: string): Promise<void> {
    assert(!this.frozen, 'stamping a frozen overlay')
    const index = this.#index
    if (index !== undefined) {
      const stamping = this.#oneAtATime(async () => {
        await this.#sync(index)
        await index.stamp(generation)
      })
      await stamping.catch((error: unknown) => this.#fail(error))
    }
    this.#generation = generation
  }

  /** Makes a frozen copy of the disk, of the given generation, for a snapshot. No request may be running. */
  async snapshotTo(path: string, generation: string): Promise<void> {
    await this.#copyTo(path, generation, true)
  }

  /** Makes a copy that a machine can go on with, of the given generation. No request may be running. */
  async cloneTo(path: string, generation: string): Promise<void> {
    await this.#copyTo(path, generation, false)
  }

  /**
   * A private disk that starts with this one's content, for a replay. Of a frozen disk it reads the blocks that it has
   * not written; keep this one open. Of any other it takes a copy. No request may be running.
   */
  async forkPrivate(directory = tmpdir()): Promise<OverlayDisk> {
    if (!this.frozen) return this.clonePrivate(directory)
    const { sectors, baseDigest } = this
    const kept = { sectors, baseDigest, identity: this.#identity, generation: this.#generation }
    const file = await openPrivateData(directory, (path) => writeEmptyData(path, this.#identity))
    const rest = { lower: this, map: new BlockMap(), index: undefined, lock: undefined }
    return new OverlayDisk({ ...file, ...kept, ...rest })
  }

  /** As forkPrivate, with all that this overlay holds copied, so that this one can be closed. */
  async clonePrivate(directory = tmpdir()): Promise<OverlayDisk> {
    const { sectors, baseDigest } = this
    const kept = { sectors, baseDigest, identity: this.#identity, generation: this.#generation }
    const file = await openPrivateData(directory, (path) => this.#copyData(path))
    const rest = { lower: this.#lower, map: this.#map.clone(), index: undefined, lock: undefined }
    return new OverlayDisk({ ...file, ...kept, ...rest })
  }

  /** What the overlay holds, in order of sectors: what a copy that has the base already still needs. */
  *extents(): Generator<OverlayExtent> {
    yield* extentsOf(this.#map, this.sectors)
  }

  /**
   * The disk as it is now, until it is released, while writing goes on. One at a time, and no request that changes
   * something may be running.
   */
  hold(): HeldDisk {
    assert(!(this.#lower instanceof OverlayDisk), 'holding the private disk of a replay')
    assert(this.#changing === 0, 'holding a disk that is being written')
    return new HeldDisk(this, { ...this.#blocks, map: this.#map.clone() }, this.#retirement)
  }

  /** Flushes and gives the overlay free. Throws a UserError if it cannot be flushed, and is free all the same. */
  async close(): Promise<void> {
    try {
      if (this.#failure === undefined) await this.flush().catch((error: unknown) => this.#fail(error))
    } finally {
      await this.#retirement.readsDone()
      await this.#data.close()
      await this.#index?.close()
      await this.#lock?.release()
      if (this.#index === undefined) await rm(this.path, { force: true })
    }
  }

  /** Throws an error of the system as the user's. */
  #fail(error: unknown): never {
    throw fileError(error, 'write overlay', this.path)
  }

  #checkWritable(sector: number, sectors: number): void {
    assert(!this.frozen, 'writing a frozen overlay')
    assert(
      Number.isInteger(sectors) && sector >= 0 && sector + sectors <= this.sectors,
      'writing beyond the disk',
    )
  }

  async #change(start: number, end: number, parts: BlockParts): Promise<void> {
    this.#changing++
    try {
      await splitAtBlocks(start, end, parts)
    } finally {
      this.#changing--
    }
  }

  async #writePartial(sector: number, bytes: Uint8Array): Promise<void> {
    const block = Math.floor(sector / BLOCK_SECTORS)
    const offset = (sector % BLOCK_SECTORS) * SECTOR_BYTES
    while (this.#filling.has(block)) await this.#filling.get(block)!.catch(() => undefined)
    const slot = this.#map.get(block)
    if (slot > 0 && !this.#retirement.isHeld(block, slot)) {
      await this.#writeData(bytes, slot * BLOCK_BYTES + offset)
      return
    }
    const filling = this.#fill(block, offset, bytes)
    this.#filling.set(block, filling)
    try {
      await filling
    } finally {
      this.#filling.delete(block)
    }
  }

  /** Gives a block that has no slot, or a held one, a slot with its content, changed by `bytes`. */
  async #fill(block: number, offset: number, bytes: Uint8Array): Promise<void> {
    const content = await this.read(block * BLOCK_SECTORS, BLOCK_SECTORS)
    content.set(bytes, offset)
    await this.#writeFresh(block, content)
  }

  async #writeBlocks(block: number, bytes: Uint8Array): Promise<void> {
    const count = bytes.length / BLOCK_BYTES
    for (let done = 0; done < count; ) {
      const run = this.#map.runAt(block + done, count - done)
      const { isHeld, count: alike } = this.#retirement.beginningOf(run)
      const piece = bytes.subarray(done * BLOCK_BYTES, (done + alike) * BLOCK_BYTES)
      if (run.slot > 0 && !isHeld) await this.#writeData(piece, run.slot * BLOCK_BYTES)
      else await this.#writeFresh(run.block, piece)
      done += alike
    }
  }

  /** Writes blocks to free slots, and only then enters them in the map. */
  async #writeFresh(block: number, bytes: Uint8Array): Promise<void> {
    const taken = this.#slots.take(bytes.length / BLOCK_BYTES)
    let done = 0
    while (taken.length > 0) {
      const { slot, count } = taken[0]!
      try {
        const piece = bytes.subarray(done * BLOCK_BYTES, (done + count) * BLOCK_BYTES)
        await this.#writeData(piece, slot * BLOCK_BYTES)
      } catch (error) {
        for (const run of taken) this.#slots.give(run)
        throw error
      }
      this.#enter({ block: block + done, count, slot })
      done += count
      taken.shift()
    }
  }

  #zeroBlocks(block: number, count: number): void {
    for (let done = 0; done < count; ) {
      const run = this.#map.runAt(block + done, count - done)
      if (run.slot !== ZERO) this.#enter({ ...run, slot: ZERO })
      done += run.count
    }
  }

  #enter(run: BlockRun): void {
    for (let done = 0; done < run.count; ) {
      const old = this.#map.runAt(run.block + done, run.count - done)
      if (old.slot > 0 && this.#index === undefined) this.#retirement.retire(old)
      else if (old.slot > 0) this.#freed.push(old)
      done += old.count
    }
    this.#map.set(run)
    if (this.#index !== undefined) appendRun(this.#pending, run)
  }

  async #writeData(bytes: Uint8Array, offset: number): Promise<void> {
    try {
      await writeAll(this.#data, bytes, offset)
    } finally {
      // After the write, and also after half of one: what a sync has to cover is what was written before it.
      this.#unsynced = true
    }
  }

  async #oneAtATime(work: () => Promise<void>): Promise<void> {
    const mine = this.#syncing.then(work)
    this.#syncing = mine.catch(() => undefined)
    await mine
  }

  /** First the data, then the index. */
  async #sync(index: OverlayIndex): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    const pending = this.#pending
    const freed = this.#freed
    this.#pending = []
    this.#freed = []
    try {
      await this.#syncData()
      await index.append(pending)
    } catch (error) {
      // Appending the runs again does no harm, if some of them are there already.
      this.#pending = [...pending, ...this.#pending]
      this.#freed = [...freed, ...this.#freed]
      throw error
    }
    for (const run of freed) this.#retirement.retire(run)
    if (index.wasteful && this.#pending.length === 0) await index.rewrite(this.#map, this.#generation)
  }

  async #syncData(): Promise<void> {
    if (!this.#unsynced) return
    this.#unsynced = false
    try {
      await this.#data.datasync()
    } catch (error) {
      this.#failure = lossError(error)
      throw this.#failure
    }
  }

  async #copyTo(path: string, generation: string, frozen: boolean): Promise<void> {
    assert(!(this.#lower instanceof OverlayDisk), 'keeping the private disk of a replay')
    await this.flush().catch((error: unknown) => this.#fail(error))
    const header = { identity: this.#identity, baseDigest: this.baseDigest, sectors: this.sectors, frozen }
    const writeData = (data: string): Promise<void> => this.#copyData(data)
    await buildOverlay(path, { header, map: this.#map, generation, writeData })
  }

  async #copyData(path: string): Promise<void> {
    if (this.#index === undefined) await copyOpenData(this.#data, path)
    else await cloneData(dataPath(this.path), path)
  }
}

/**
 * Where a host keeps what is its own of a machine:
 *
 *     ROOT/MACHINE/lock          names the process that runs the machine here (lock_file.ts): one at a time
 *                  disk/         its disk: an overlay, of the generation of one copy
 *                  disk.joining/ a disk that is being received (joined_disk.ts)
 *                  disk.old/     the one it replaces
 *                  disk.void.*   a disk that nothing may start from any more
 *                  arbiter.json  what was seen of the arbiter (arbiter_memory_file.ts)
 *
 * Whoever opens the directory has the lock until `close`, so all that the last process left unfinished may be removed,
 * and is. `disk` appears and disappears by renames only: it is whole or not there.
 */
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readdir, rename, rm, rmdir } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { FormatError, UserError } from '../base/errors.ts'
import type { ArbiterPast, Known } from './arbiter_memory.ts'
import { readArbiterMemory, writeArbiterMemory } from './arbiter_memory_file.ts'
import { syncDirectory } from './atomic_file.ts'
import type { BaseImage } from './base_image.ts'
import { checkMachineName } from './decision_record.ts'
import { fileError, systemErrorCode } from './file_error.ts'
import { JoiningDisk, removeRemains } from './joined_disk.ts'
import { LockFile } from './lock_file.ts'
import { createOverlay, type OverlayDisk, openOverlay } from './overlay_disk.ts'

export class MachineDirectory {
  readonly path: string
  readonly machine: string
  readonly #lock: LockFile
  readonly #onNotice: (text: string) => void
  /** The arbiter's memory is written in the order in which it was learned. */
  #writing: Promise<void> = Promise.resolve()

  private constructor(path: string, machine: string, lock: LockFile, onNotice: (text: string) => void) {
    this.path = path
    this.machine = machine
    this.#lock = lock
    this.#onNotice = onNotice
  }

  /**
   * Opens a machine's directory under `root`, makes it if it is not there, and clears away what a dead process left.
   * `onNotice` gets what people should know. Throws an InUseError if a process of this machine runs on this host, a
   * UserError if the name cannot be one or the directory cannot be used.
   */
  static async open(
    root: string,
    machine: string,
    onNotice: (text: string) => void,
  ): Promise<MachineDirectory> {
    checkMachineName(machine)
    const path = join(resolve(root), machine)
    await makeDirectory(path)
    const lock = await LockFile.acquire(join(path, 'lock'), `machine ${machine} in ${root}`)
    const directory = new MachineDirectory(path, machine, lock, onNotice)
    try {
      await directory.#clear()
      // What a dead process renamed last is found now: a power cut must not take it back any more.
      await syncDirectory(path)
    } catch (error) {
      await lock.release()
      throw fileError(error, 'use', path)
    }
    return directory
  }

  get diskPath(): string {
    return join(this.path, 'disk')
  }

  /**
   * The generation of the disk, if there is one that is whole. One that is damaged is as good as none, with a notice.
   * Throws a UserError if it is in use or belongs to another base.
   */
  async diskGeneration(base: BaseImage): Promise<string | undefined> {
    if (!existsSync(this.diskPath)) return undefined
    try {
      const disk = await openOverlay(this.diskPath, base)
      await disk.close()
      return disk.generation
    } catch (error) {
      if (!(error instanceof FormatError)) throw error
      this.#onNotice(`the disk of machine ${this.machine} counts as none: ${error.message}`)
      return undefined
    }
  }

  /** Opens the disk. Throws a UserError if there is none; see also openOverlay. */
  async openDisk(base: BaseImage): Promise<OverlayDisk> {
    return openOverlay(this.diskPath, base)
  }

  /** Makes the disk of a new machine: the base, and room to `sectors`. Throws a UserError if there is one already. */
  async createDisk(base: BaseImage, generation: string, sectors = base.sectors): Promise<OverlayDisk> {
    await createOverlay(this.diskPath, base, generation, sectors)
    return openOverlay(this.diskPath, base)
  }

  /** Begins to receive a disk, which replaces the one there is when it is finished. */
  async beginJoin(base: BaseImage, sectors: number): Promise<JoiningDisk> {
    return JoiningDisk.begin(this.diskPath, base, sectors)
  }

  /**
   * Takes the disk's generation away, durably: it was convicted, and no process may start from it again. It may be open,
   * and goes on to work until it is closed. Does nothing if there is none. Throws a UserError if it cannot be done.
   */
  async voidGeneration(): Promise<void> {
    try {
      // A rename, since that needs nothing of the disk itself and no room.
      await rename(this.diskPath, join(this.path, `${voidPrefix}${randomBytes(6).toString('hex')}`))
    } catch (error) {
      if (systemErrorCode(error) !== 'ENOENT') throw fileError(error, 'void the disk', this.diskPath)
    }
    // Also if it was not there: whoever moved it may have died before this.
    await syncDirectory(this.path).catch((error: unknown) => {
      throw fileError(error, 'void the disk', this.diskPath)
    })
  }

  /**
   * What was seen of the arbiter by earlier processes; what this one sees is kept, too. Throws FormatError if it is
   * damaged. That it cannot be written is a notice: an arbiter that forgets is noticed later, or not at all.
   */
  async arbiterPast(): Promise<ArbiterPast> {
    const path = join(this.path, 'arbiter.json')
    const known = (await readArbiterMemory(path, this.machine)) ?? {
      identity: undefined,
      decision: undefined,
    }
    const onLearn = (learned: Known): void => {
      this.#writing = this.#writing
        .then(() => writeArbiterMemory(path, this.machine, learned))
        .catch((error: unknown) => {
          if (!(error instanceof UserError)) throw error
          this.#onNotice(error.message)
        })
    }
    return { known, onLearn }
  }

  /** Gives the lock back. What uses the directory must be closed before. */
  async close(): Promise<void> {
    await this.#writing
    await this.#lock.release()
  }

  async #clear(): Promise<void> {
    await removeRemains(this.diskPath)
    for (const name of await readdir(this.path)) {
      const isUnfinished = /^\.(disk|arbiter\.json)\..*\.tmp$/.test(name)
      if (!isUnfinished && !name.startsWith(voidPrefix)) continue
      await rm(join(this.path, name), { recursive: true, force: true })
    }
    // A name that was taken for a disk which never came: createOverlay died between its last two steps.
    await rmdir(this.diskPath).catch((error: unknown) => {
      if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(systemErrorCode(error) ?? '')) throw error
    })
  }
}

const voidPrefix = 'disk.void.'

/** Makes a directory and those above it, durably. What is in it is for this user alone. */
async function makeDirectory(path: string): Promise<void> {
  try {
    const first = await mkdir(path, { recursive: true, mode: 0o700 })
    if (first === undefined) return
    for (let made = path; ; made = dirname(made)) {
      await syncDirectory(dirname(made))
      if (made === first || dirname(made) === made) return
    }
  } catch (error) {
    throw fileError(error, 'create', path)
  }
}

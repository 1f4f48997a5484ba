/**
 * The log of a life, kept for `understudy replay`: begun by the process that starts the machine cold, and complete as long
 * as that process is the primary. A copy that joined has not seen the beginning, so it records nothing.
 *
 * That it cannot be written stops no machine: people are told, and the recording ends with its last whole batch.
 */
import { mkdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { UserError } from '../../base/errors.ts'
import type { OverlayDisk } from '../../host/overlay_disk.ts'
import { randomIdentity } from '../../host/overlay_files.ts'
import type { Frontier } from '../../replication/ports.ts'
import { encodeMachineRecord, type MachineRecord } from '../machine_record.ts'
import { RecordingWriter } from '../recording_file.ts'
import { diskBeside } from '../saved_files.ts'

export interface RecordingOptions {
  readonly directory: string
  readonly machine: MachineRecord
}

export class LifeRecording {
  readonly #writer: RecordingWriter
  readonly #onNotice: (text: string) => void
  #end: Frontier = { nextIndex: 0n, position: 0n }
  #isOver = false

  private constructor(writer: RecordingWriter, onNotice: (text: string) => void) {
    this.#writer = writer
    this.#onNotice = onNotice
  }

  /** Begins the recording of a life on this disk, of which no request runs; undefined (and a notice) if that fails. */
  static async begin(
    { directory, machine }: RecordingOptions,
    life: number,
    disk: OverlayDisk,
    onNotice: (text: string) => void,
  ): Promise<LifeRecording | undefined> {
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 })
      const path = join(directory, `life-${life}.rec`)
      await rm(diskBeside(path), { recursive: true, force: true })
      const isEmpty = disk.extents().next().done === true
      const generation = isEmpty ? undefined : randomIdentity()
      if (generation !== undefined) await disk.snapshotTo(diskBeside(path), generation)
      const start = { snapshot: undefined, position: 0n, nextIndex: 0n, disk: generation }
      const header = { machine: encodeMachineRecord(machine), life, start }
      return new LifeRecording(new RecordingWriter(path, header), onNotice)
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      onNotice(`nothing is recorded: ${error.message}`)
      return undefined
    }
  }

  append(batch: Uint8Array, frontier: Frontier): void {
    if (this.#isOver) return
    this.#attempt(() => this.#writer.append(batch))
    this.#end = frontier
  }

  finish(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#attempt(() => this.#writer.finish(this.#end))
  }

  #attempt(write: () => void): void {
    try {
      write()
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      this.#isOver = true
      this.#onNotice(`the recording ends: ${error.message}`)
    }
  }
}

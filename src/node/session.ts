/**
 * A session: one computer with its files - kernel, initramfs, disk, recording, snapshots - from opening to closing.
 *
 * The disk's generation ties RAM and disk together. A snapshot and the frozen copy of the overlay beside it
 * (SNAPSHOT.disk) have the same one. Whenever a machine starts to run on an overlay, the overlay gets a new one, so
 * that no snapshot is ever loaded over a disk that has moved on.
 */
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { JsonObject, JsonValue } from '../base/canonical_json.ts'
import { UserError } from '../base/errors.ts'
import { Computer, type ComputerSpecification, type Output, PORT } from '../board/computer.ts'
import { type DigestSample, Recorder } from '../board/recorder.ts'
import { GENERATION_BYTES } from '../devices/vm_generation.ts'
import { BaseImage } from '../host/base_image.ts'
import { DiskQueue } from '../host/disk_queue.ts'
import { nodeEngine } from '../host/engine.ts'
import { onHugePages } from '../host/huge_pages.ts'
import { InUseError } from '../host/lock_file.ts'
import {
  createOverlay,
  type OverlayDisk,
  openEphemeral,
  openFrozenOverlay,
  openOverlay,
} from '../host/overlay_disk.ts'
import { randomIdentity } from '../host/overlay_files.ts'
import { loadSnapshot, readSnapshotPreamble, writeSnapshot } from '../host/snapshot_file.ts'
import { PAGE_BYTES } from '../machine/layout.ts'
import type { Translation } from '../machine/machine_options.ts'
import type { TranslationObserver } from '../machine/translator/observer.ts'
import { bootFilesOf, digestsOf, type ImageFiles } from './boot_files.ts'
import { KeepingEmission } from './emission_worker.ts'
import {
  decodeMachineRecord,
  encodeMachineRecord,
  type MachineRecord,
  requireSameFiles,
} from './machine_record.ts'
import { RecordingWriter } from './recording_file.ts'
import { type RunEnd, Runner } from './runner.ts'
import { diskBeside, replaceSnapshot, requireReplaceableDisk } from './saved_files.ts'
import { requireReplaceableWitnesses, WitnessWriter, witnessBeside } from './witness_file.ts'

export type { ImageFiles } from './boot_files.ts'
export { InUseError, PORT }

export interface SessionOptions {
  readonly image: ImageFiles
  readonly harts: number
  readonly ramBytes: number
  readonly bootArguments: string
  /** Where the overlay is kept; without it writes are dropped at the end. */
  readonly overlay?: string
  /** Records to this file. */
  readonly record?: string
  /** Starts from this snapshot instead of power-on. */
  readonly load?: string
  readonly mac?: Uint8Array
  /** Which code is translated; none by default. */
  readonly translation?: Translation
  /** The directory in which translated code is kept for the next start; without it none is. */
  readonly translations?: string
  /** Hears of what is translated, for a profile. */
  readonly observer?: TranslationObserver
  readonly onOutput: (output: Output) => void
  /** Tells people about something (a full disk, say). */
  readonly onNotice: (text: string) => void
  /** The guest has reset itself and starts anew. */
  readonly onRestart?: () => void
}

/** The snapshot header's part that this module knows. */
interface SnapshotHeader {
  readonly machine: MachineRecord
  readonly position: bigint
  readonly nextIndex: bigint
  readonly life: number
  readonly generation: string
}

export class Session {
  readonly computer: Computer
  readonly recorder: Recorder
  readonly runner: Runner
  readonly #emission: KeepingEmission
  readonly #machine: MachineRecord
  readonly #disk: OverlayDisk
  /** The disk has the generation of a snapshot, which must be its last moment as that. */
  #isSaved = false
  /** The guest sees nothing any more. */
  #isClosing = false
  readonly #queue: DiskQueue
  readonly #base: BaseImage
  readonly #recording: RecordingWriter | undefined
  readonly #witnesses: WitnessWriter | undefined
  readonly #life: number

  private constructor(parts: SessionParts, options: SessionOptions) {
    this.computer = parts.computer
    this.#emission = parts.emission
    this.#machine = parts.machine
    this.#disk = parts.disk
    this.#base = parts.base
    this.#life = parts.life
    this.#recording = parts.recording
    this.#witnesses = parts.witnesses
    const { computer, witnesses, recording, life, nextIndex } = parts
    const onDigest = (sample: DigestSample): void => witnesses?.add(sample, computer.machine.ram)
    this.recorder = new Recorder(computer, { life, nextIndex, position: computer.position }, onDigest)
    this.#queue = new DiskQueue(this.#disk, {
      onDone: (id, status, data) => this.runner.complete(id, status, data),
      onFull: (isFull) => {
        if (this.#isClosing) return
        const full = `no room for the guest's disk at ${parts.disk.place}: the machine waits until some is freed there`
        options.onNotice(isFull ? full : 'there is room again: the machine goes on')
        this.runner.pause(isFull)
      },
      onError: (request, error) => {
        if (this.#isClosing) return
        options.onNotice(`disk ${request.kind} failed, the guest sees an error: ${error.message}`)
      },
    })
    this.runner = new Runner(this.computer, this.recorder, {
      submitDisk: (request) => this.#queue.submit(request),
      output: options.onOutput,
      ...(options.onRestart === undefined ? {} : { restarted: options.onRestart }),
      ...(recording === undefined ? {} : { log: (batch: Uint8Array) => recording.append(batch) }),
      recordDigests: recording !== undefined,
    })
  }

  /** Opens everything; whatever fails closes what was opened before. */
  static async open(options: SessionOptions): Promise<Session> {
    if (options.record !== undefined) await requireReplaceableRecording(options.record)
    const emission = new KeepingEmission(options.translation === 'hot' ? options.translations : undefined)
    const base = await BaseImage.open(options.image.disk)
    let disk: OverlayDisk | undefined
    try {
      const digests = digestsOf(options.image, base)
      const header = options.load === undefined ? undefined : await readHeader(options.load)
      if (header !== undefined) requireSameFiles(header.machine, digests, `snapshot ${options.load}`)
      disk = await openDisk(options, base, header)
      const specification = header?.machine.specification ?? specify(options, base)
      const machine = { specification, image: options.image.name, ...digests }
      const bootFiles = bootFilesOf(options.image, digests)
      const { translation = 'off', observer } = options
      const computer = new Computer({
        ...{ engine: onHugePages(nodeEngine), specification, bootFiles, translation, observer },
        emission: emission.start,
      })
      if (options.load === undefined) computer.start()
      else await restore(computer, options.load)
      // A machine made from a snapshot has a history of its own from there on: a life of its own.
      const place = { life: randomBytes(4).readUInt32LE(), nextIndex: 0n }
      await disk.stamp(randomIdentity())
      const files =
        options.record === undefined ? {} : await startRecording(options, computer, disk, machine, place)
      const session = new Session(
        { ...{ computer, emission, machine, disk, base, ...files }, ...place },
        options,
      )
      if (options.load !== undefined) session.#announceLife()
      return session
    } catch (error) {
      await disk?.close()
      await base.close()
      throw error
    }
  }

  /** Tells the guest that this is another life, so that no two share their random numbers. */
  #announceLife(): void {
    const bytes = Uint8Array.from(randomBytes(GENERATION_BYTES))
    this.runner.deliver({ kind: 'input', port: PORT.generation, bytes })
  }

  /** Runs until the guest powers off or the runner is stopped; after a stop it can go on. */
  async run(): Promise<RunEnd> {
    if (this.#isSaved) await this.#disk.stamp(randomIdentity())
    this.#isSaved = false
    return this.runner.run()
  }

  /**
   * Writes a snapshot and the frozen overlay beside it, whole or not at all. The machine must not be running. Throws a
   * UserError if they cannot be written.
   */
  async save(path: string): Promise<void> {
    await this.#queue.drain()
    this.runner.settle()
    await this.#queue.drain()
    const generation = randomIdentity()
    const { nextIndex, position } = this.recorder.place
    const header = {
      machine: encodeMachineRecord(this.#machine),
      ...{ position: `${position}`, nextIndex: `${nextIndex}`, life: this.#life, generation },
    }
    const { ram, layout } = this.computer.machine
    const sections = new Map([['computer', this.computer.saveState()]])
    await replaceSnapshot(path, async (staged) => {
      await this.#disk.snapshotTo(staged.disk, generation)
      const pages = { pageBytes: PAGE_BYTES, pageCount: layout.ramPages, pages: ram.pages() } as const
      await writeSnapshot(staged.snapshot, { header, sections, ram: pages })
    })
    await this.#disk.stamp(generation)
    this.#isSaved = true
  }

  /** Finishes the recording and releases the disk. */
  async close(): Promise<void> {
    this.#isClosing = true
    this.#queue.abandon()
    await this.#queue.drain()
    try {
      if (this.#recording !== undefined) this.#finishRecording(this.#recording)
    } finally {
      // Nothing depends on what it keeps.
      await this.#emission.close().catch(() => undefined)
      await this.#disk.close()
      await this.#base.close()
    }
  }

  #finishRecording(recording: RecordingWriter): void {
    try {
      this.#recordLast(recording)
    } finally {
      const { nextIndex, position } = this.recorder.place
      this.#witnesses?.close()
      recording.finish({ nextIndex, position })
    }
  }

  #recordLast(recording: RecordingWriter): void {
    try {
      this.recorder.recordDigest()
    } finally {
      const batch = this.recorder.takeBatch()
      if (batch !== undefined) recording.append(batch)
    }
  }
}

interface SessionParts {
  readonly computer: Computer
  readonly emission: KeepingEmission
  readonly machine: MachineRecord
  readonly disk: OverlayDisk
  readonly base: BaseImage
  readonly recording?: RecordingWriter
  readonly witnesses?: WitnessWriter
  readonly life: number
  readonly nextIndex: bigint
}

function specify(options: SessionOptions, base: BaseImage): ComputerSpecification {
  const { harts, ramBytes, bootArguments, mac } = options
  return {
    ...{
      harts,
      ramBytes,
      bootArguments,
      rngSeed: Uint8Array.from(randomBytes(32)),
      diskSectors: base.sectors,
    },
    ...(mac === undefined ? {} : { mac }),
  }
}

/** The disk that the machine writes to: private, or the named overlay, made if it does not exist. */
async function openDisk(
  options: SessionOptions,
  base: BaseImage,
  header: SnapshotHeader | undefined,
): Promise<OverlayDisk> {
  const { overlay, load } = options
  if (header === undefined || load === undefined) {
    if (overlay === undefined) return openEphemeral(base, randomIdentity())
    if (!existsSync(overlay)) await createOverlay(overlay, base, randomIdentity())
    return openOverlay(overlay, base)
  }
  if (overlay !== undefined && existsSync(overlay)) {
    const disk = await openOverlay(overlay, base)
    try {
      disk.requireGeneration(header.generation)
    } catch (error) {
      await disk.close()
      throw error
    }
    return disk
  }
  const frozen = await openFrozenOverlay(diskBeside(load), base)
  try {
    frozen.requireGeneration(header.generation)
    // A copy, which can itself be saved and recorded from.
    if (overlay === undefined) return await frozen.clonePrivate()
    await frozen.cloneTo(overlay, header.generation)
  } finally {
    await frozen.close()
  }
  return openOverlay(overlay, base)
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** What a snapshot file says about itself. */
export async function readHeader(path: string): Promise<SnapshotHeader> {
  const { header } = await readSnapshotPreamble(path)
  const { machine, position, nextIndex, life, generation } = header
  const numbers = [position, nextIndex].every(
    (value) => typeof value === 'string' && /^\d{1,20}$/.test(value),
  )
  if (!isObject(machine) || !numbers || typeof life !== 'number' || typeof generation !== 'string') {
    throw new UserError(
      `snapshot ${path}: the header lacks what a computer needs; it was made by something else`,
    )
  }
  return {
    machine: decodeMachineRecord(machine, `snapshot ${path}`),
    position: BigInt(position as string),
    nextIndex: BigInt(nextIndex as string),
    ...{ life, generation },
  }
}

/** Loads RAM and state of a snapshot into a computer that has not run. */
export async function restore(computer: Computer, path: string): Promise<void> {
  const { ram, layout } = computer.machine
  const { sections } = await loadSnapshot(path, ({ pageCount }) => {
    if (pageCount !== layout.ramPages) throw new UserError(`snapshot ${path}: its RAM is of another size`)
    return (page, bytes) => ram.restorePage(page, bytes)
  })
  const state = sections.get('computer')
  if (state === undefined) throw new UserError(`snapshot ${path}: has no state of a computer`)
  computer.loadState(state)
}

/** Throws a UserError if something is in the way of what stands beside a recording. */
async function requireReplaceableRecording(path: string): Promise<void> {
  await requireReplaceableDisk(diskBeside(path))
  await requireReplaceableWitnesses(witnessBeside(path))
}

/** Begins a recording and its witnesses; a disk that holds something already is kept beside it for the replay. */
async function startRecording(
  options: SessionOptions,
  computer: Computer,
  disk: OverlayDisk,
  machine: MachineRecord,
  place: { life: number; nextIndex: bigint },
): Promise<Pick<SessionParts, 'recording' | 'witnesses'>> {
  const path = options.record!
  const kept = diskBeside(path)
  await rm(kept, { recursive: true, force: true })
  const isEmpty = disk.extents().next().done === true
  const generation = isEmpty ? undefined : randomIdentity()
  if (generation !== undefined) await disk.snapshotTo(kept, generation)
  const snapshot = options.load && resolve(options.load)
  const { position } = computer
  const start = { snapshot, position, nextIndex: place.nextIndex, disk: generation }
  try {
    const { life } = place
    const recording = new RecordingWriter(path, { machine: encodeMachineRecord(machine), life, start })
    return { recording, ...(recording.isPlain ? startWitnesses(options, computer, life) : {}) }
  } catch (error) {
    await rm(kept, { recursive: true, force: true })
    throw error
  }
}

/** Opens the file of witnesses. They are for diagnosis: without them the recording is as good, so people are told. */
function startWitnesses(
  options: SessionOptions,
  computer: Computer,
  life: number,
): Pick<SessionParts, 'witnesses'> {
  const onFailure = (error: unknown): void => {
    const effect = 'a replay will find differences, but not name the register or page'
    options.onNotice(`${(error as Error).message}; ${effect}`)
  }
  try {
    const header = { life, ramPages: computer.machine.layout.ramPages }
    return { witnesses: new WitnessWriter(witnessBeside(options.record!), header, onFailure) }
  } catch (error) {
    onFailure(error)
    return {}
  }
}

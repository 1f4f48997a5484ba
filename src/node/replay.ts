/**
 * Replays a recording file: executes its history again, on a private disk, and compares what can be compared.
 */
import { existsSync } from 'node:fs'
import { canonicalJson } from '../base/canonical_json.ts'
import { FormatError, UserError } from '../base/errors.ts'
import { Computer } from '../board/computer.ts'
import { type CompletedRead, type Divergence, Replayer } from '../board/replayer.ts'
import { compareWithWitness, type MachineDifference } from '../board/witness.ts'
import { BaseImage } from '../host/base_image.ts'
import { DiskQueue, type DiskRequest } from '../host/disk_queue.ts'
import { nodeEngine } from '../host/engine.ts'
import { onHugePages } from '../host/huge_pages.ts'
import { type OverlayDisk, openEphemeral, openFrozenOverlay } from '../host/overlay_disk.ts'
import { randomIdentity } from '../host/overlay_files.ts'
import type { LogRecord } from '../log/record.ts'
import type { RecordingHeader } from '../log/recording.ts'
import type { Translation } from '../machine/machine_options.ts'
import { bootFilesOf, digestsOf, type ImageFiles } from './boot_files.ts'
import { emissionWorker } from './emission_worker.ts'
import { decodeMachineRecord, encodeMachineRecord, requireSameFiles } from './machine_record.ts'
import type { GuestProfiler } from './profile/guest_profiler.ts'
import { RecordingReader } from './recording_file.ts'
import { diskBeside } from './saved_files.ts'
import { readHeader, restore } from './session.ts'
import { readWitness, witnessBeside } from './witness_file.ts'

export interface ReplayOptions {
  readonly path: string
  /** Finds the files of an image by its name. */
  readonly findImage: (name: string) => ImageFiles
  /** Stops at this position instead of the recording's end. */
  readonly to?: bigint
  /** Begins at this snapshot, taken while the recording was made, instead of at the recording's start. */
  readonly from?: string
  /** Cuts execution into slices of this many steps, which may depend on the position. */
  readonly sliceSteps?: bigint | ((position: bigint) => bigint)
  /** Which code is translated; none by default. */
  readonly translation?: Translation
  /** Finds out where the time goes. */
  readonly profiler?: GuestProfiler | undefined
  /** Called before and between pieces of execution, whenever the computer stands still. */
  readonly onProgress?: (computer: Computer) => void
  /** Tells people about something (a full disk, say). */
  readonly onNotice?: (text: string) => void
}

/** What of the machine differs where a digest does. */
export type Explanation =
  | MachineDifference
  /** Why nobody knows: the recording's witnesses are missing or damaged, say. */
  | { readonly unknown: string }

export interface ReplayResult {
  readonly position: bigint
  readonly digest: bigint
  readonly divergence: Divergence | undefined
  /** For a divergence of digests. */
  readonly explanation: Explanation | undefined
  /** What was executed and compared. */
  readonly counts: { readonly records: number; readonly outputs: number; readonly digests: number }
  /** False if the recording ends without its end mark: its writer was killed. */
  readonly isComplete: boolean
  readonly wallMs: number
}

/** Steps between looks at the event loop. */
const CHUNK_STEPS = 20_000_000n

export async function replay(options: ReplayOptions): Promise<ReplayResult> {
  const header = await RecordingReader.header(options.path)
  const machine = decodeMachineRecord(header.machine, `recording ${options.path}`)
  const image = options.findImage(machine.image)
  const base = await BaseImage.open(image.disk)
  const disks: OverlayDisk[] = []
  try {
    requireSameFiles(machine, digestsOf(image, base), `recording ${options.path}`)
    const snapshot = options.from ?? header.start.snapshot
    if (options.from === undefined && snapshot !== undefined) await requireStart(snapshot, header)
    const computer = new Computer({
      engine: onHugePages(nodeEngine),
      translation: options.translation ?? 'off',
      observer: options.profiler?.observer,
      emission: emissionWorker,
      specification: machine.specification,
      bootFiles: bootFilesOf(image, machine),
    })
    const disk = await openReplayDisk(options, header, base, disks)
    if (snapshot === undefined) computer.start()
    else await restore(computer, snapshot)
    requireAhead(options, computer.position)
    const firstIndex =
      options.from === undefined ? header.start.nextIndex : await indexOf(options.from, header)
    const place = { life: header.life, firstIndex }
    const replaying = new Replay(options, computer, disk, place)
    try {
      options.profiler?.start(computer.machine)
      return await replaying.run()
    } finally {
      options.profiler?.stop()
      await replaying.end()
    }
  } finally {
    for (const disk of disks.reverse()) await disk.close()
    await base.close()
  }
}

/** A private disk with the content that the machine's disk had at the start. */
async function openReplayDisk(
  { path, from }: ReplayOptions,
  { start }: RecordingHeader,
  base: BaseImage,
  opened: OverlayDisk[],
): Promise<OverlayDisk> {
  const generation = from === undefined ? start.disk : (await readHeader(from)).generation
  if (generation === undefined) {
    opened.push(await openEphemeral(base, randomIdentity()))
    return opened[0]!
  }
  const what = from === undefined ? `recording ${path}` : `snapshot ${from}`
  const kept = diskBeside(from ?? path)
  if (!existsSync(kept))
    throw new FormatError(
      `${what}: its disk ${kept} is missing: put it back, the replay has to begin with it`,
    )
  const frozen = await openFrozenOverlay(kept, base)
  opened.push(frozen)
  frozen.requireGeneration(generation)
  const disk = await frozen.forkPrivate()
  opened.push(disk)
  return disk
}

function requireAhead({ to }: ReplayOptions, position: bigint): void {
  if (to === undefined || to >= position) return
  throw new UserError(`position ${to} is before the start of the replay, ${position}: name a later one`)
}

/** Throws a UserError unless the snapshot is the one that the recording began with. */
async function requireStart(path: string, { machine, start }: RecordingHeader): Promise<void> {
  const snapshot = await readHeader(path)
  const isSameMachine = canonicalJson(encodeMachineRecord(snapshot.machine)) === canonicalJson(machine)
  if (isSameMachine && snapshot.position === start.position) return
  throw new UserError(
    `snapshot ${path} is another one than the recording began with: it has been replaced since`,
  )
}

/** The index of the first record behind a snapshot, which must be of the recording's life. */
async function indexOf(path: string, header: RecordingHeader): Promise<bigint> {
  const snapshot = await readHeader(path)
  if (snapshot.life !== header.life) {
    throw new UserError(`snapshot ${path} was not taken while this recording was made (another life)`)
  }
  return snapshot.nextIndex
}

class Replay {
  readonly #options: ReplayOptions
  readonly #computer: Computer
  readonly #replayer: Replayer
  readonly #queue: DiskQueue
  readonly #life: number
  readonly #firstIndex: bigint
  /** Requests that this replay's disk has done, until the recording says that the machine's had. */
  readonly #done = new Map<number, CompletedRead>()
  /** Requests that it is still busy with. */
  readonly #running = new Set<number>()
  #waiting: (() => void) | undefined
  /** An error of this replay's disk, which is no difference. */
  #diskError: Error | undefined
  #divergence: Divergence | undefined
  #explanation: Explanation | undefined

  constructor(
    options: ReplayOptions,
    computer: Computer,
    disk: OverlayDisk,
    place: { life: number; firstIndex: bigint },
  ) {
    this.#options = options
    this.#computer = computer
    this.#life = place.life
    this.#firstIndex = place.firstIndex
    this.#replayer = new Replayer(computer, options.sliceSteps)
    this.#queue = new DiskQueue(disk, {
      onDone: (id, status, data) => {
        this.#done.set(id, { status, data })
        this.#running.delete(id)
        this.#waiting?.()
      },
      onFull: (isFull) => {
        const full = `no room for the replay's disk in ${disk.place}: waiting until some is freed there, or end it and set TMPDIR`
        options.onNotice?.(isFull ? full : 'there is room again: the replay goes on')
      },
      onError: ({ kind }, error) => {
        this.#diskError ??= new UserError(
          `the replay's disk in ${disk.place} failed (${kind}): ${error.message}`,
          { cause: error },
        )
      },
    })
  }

  async run(): Promise<ReplayResult> {
    const start = performance.now()
    this.#options.onProgress?.(this.#computer)
    this.#submit(this.#computer.diskRequestsInFlight)
    const reader = new RecordingReader(this.#options.path)
    const isAtEnd = await this.#execute(reader)
    await this.#queue.drain()
    const { outcome } = reader
    if (isAtEnd && outcome?.complete === true)
      await this.#advance(this.#limit(outcome.end.position), outcome.end.nextIndex)
    return {
      position: this.#computer.position,
      digest: this.#computer.digest(),
      ...{ divergence: this.#divergence, explanation: this.#explanation },
      counts: this.#replayer.counts,
      isComplete: outcome === undefined || outcome.complete,
      wallMs: performance.now() - start,
    }
  }

  /** Waits for what the disk is doing; gives up what waits for room. */
  async end(): Promise<void> {
    this.#queue.abandon()
    await this.#queue.drain()
  }

  /** Goes through the records; true if all of them were. */
  async #execute(reader: RecordingReader): Promise<boolean> {
    for await (const { records } of reader.batches()) {
      for (const record of records) {
        if (record.index < this.#firstIndex) continue
        if (!(await this.#advance(this.#limit(record.position), record.index))) return false
        if (record.position > this.#limit(record.position)) return false
        this.#divergence = this.#replayer.apply(record, await this.#completion(record))
        if (this.#divergence === undefined) continue
        if (record.kind === 'digest') this.#explanation = await this.#explain(record.index, record.digest)
        return false
      }
    }
    return true
  }

  /** What differs, since the digest at `index` does. */
  async #explain(index: bigint, digest: bigint): Promise<Explanation | undefined> {
    const { ramPages } = this.#computer.machine.layout
    try {
      const path = witnessBeside(this.#options.path)
      const witness = await readWitness(path, { life: this.#life, ramPages, index, digest })
      const difference = compareWithWitness(this.#computer, witness)
      // RAM that has changed without having been written differs from its own hashes: the divergence says where.
      return difference.field === undefined && difference.pages === 0 ? undefined : difference
    } catch (error) {
      // The difference is the news, and is reported in any case.
      if (error instanceof UserError) return { unknown: error.message }
      throw error
    }
  }

  #limit(position: bigint): bigint {
    const { to } = this.#options
    return to === undefined || position < to ? position : to
  }

  /** Executes up to `position`, leaving the event loop its time; false at a divergence. */
  async #advance(position: bigint, index: bigint): Promise<boolean> {
    for (;;) {
      const result = this.#replayer.advance(position, index, CHUNK_STEPS)
      this.#submit(this.#computer.takeDiskRequests())
      this.#options.onProgress?.(this.#computer)
      if (typeof result === 'object') {
        this.#divergence = result
        return false
      }
      if (result) return true
      await new Promise<void>((resolve) => setImmediate(resolve))
    }
  }

  /** What this replay's disk answered to the request that `record` completes; waits for it if need be. */
  async #completion(record: LogRecord): Promise<CompletedRead | undefined> {
    if (record.kind !== 'completion') return undefined
    const { request } = record
    while (this.#running.has(request)) {
      await new Promise<void>((resolve) => {
        this.#waiting = resolve
      })
    }
    if (this.#diskError !== undefined) throw this.#diskError
    const done = this.#done.get(request)
    this.#done.delete(request)
    return done
  }

  #submit(requests: readonly DiskRequest[]): void {
    for (const request of requests) {
      this.#running.add(request.id)
      this.#queue.submit(request)
    }
  }
}

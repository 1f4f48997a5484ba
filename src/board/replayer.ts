/**
 * Replaying: a computer goes through a recorded history again, without any outside world.
 *
 * For each record, `advance` executes up to its position and `apply` does what it says: events are delivered, outputs
 * and digests are compared. The first thing that is not as recorded is a Divergence, after which nothing counts.
 * Data read from the disk are not in the log; whoever replays has a disk of its own and hands them in.
 */
import { FormatError } from '../base/errors.ts'
import { hash64 } from '../base/hash64.ts'
import type { DigestSlice, LogRecord } from '../log/record.ts'
import { PAGE_BYTES, RAM_BASE } from '../machine/layout.ts'
import { type Computer, type ExternalEvent, type Output, PORT_COUNT } from './computer.ts'
import { joinStreams, type RecordedOutput } from './recorder.ts'
import { scrub } from './scrub.ts'

/** The first difference between a recording and its replay. */
export interface Divergence {
  readonly position: bigint
  readonly index: bigint
  /** The last position at which all state was as recorded: that of the last equal digest, or the start. */
  readonly equalAt: bigint
  /** Hart 0's. */
  readonly pc: bigint
  /** What was compared. */
  readonly what: string
  readonly recorded: string
  readonly replayed: string
  /** Whether it is this computer's RAM that has changed without having been written, whatever the other one has. */
  readonly convicts: boolean
}

/** Data of a completed read, from the replay's own disk. */
export interface CompletedRead {
  readonly status: 'ok' | 'error'
  readonly data: Uint8Array | undefined
}

const hex = (value: bigint): string => `0x${value.toString(16)}`

export class Replayer {
  readonly #computer: Computer
  readonly #sliceSteps: (position: bigint) => bigint
  readonly #onOutput: ((output: RecordedOutput) => void) | undefined
  readonly #pending: Output[][] = Array.from({ length: PORT_COUNT }, () => [])
  #records = 0
  #outputs = 0
  #digests = 0
  #equalAt: bigint
  #isOff = false

  /**
   * `sliceSteps` cuts execution into pieces of this length, which must not change anything. `onOutput` hears of outputs
   * that were found to be as recorded.
   */
  constructor(
    computer: Computer,
    sliceSteps: bigint | ((position: bigint) => bigint) = 1_000_000_000n,
    onOutput?: (output: RecordedOutput) => void,
  ) {
    this.#computer = computer
    this.#onOutput = onOutput
    this.#equalAt = computer.position
    this.#sliceSteps = typeof sliceSteps === 'bigint' ? () => sliceSteps : sliceSteps
  }

  /** What has been checked so far. */
  get counts(): { readonly records: number; readonly outputs: number; readonly digests: number } {
    return { records: this.#records, outputs: this.#outputs, digests: this.#digests }
  }

  /** Whether the guest has powered off. */
  get isOff(): boolean {
    return this.#isOff
  }

  /** Executes up to at most `stepsMax` steps towards `position`; true when it is reached. */
  advance(position: bigint, index: bigint, stepsMax: bigint): boolean | Divergence {
    const end = this.#computer.position + stepsMax < position ? this.#computer.position + stepsMax : position
    while (this.#computer.position < end) {
      const next = this.#computer.position + this.#sliceSteps(this.#computer.position)
      const stop = this.#computer.run(next < end ? next : end)
      this.#collect()
      // Whoever replays takes the disk requests first.
      if (stop.reason === 'output') break
      if (stop.reason === 'power') this.#isOff = true
      if (stop.reason !== 'limit' && this.#computer.position < position) {
        const at = hex(this.#computer.position)
        return this.#divergence(index, 'execution', `runs on to ${hex(position)}`, `${stop.reason} at ${at}`)
      }
    }
    return this.#computer.position >= position
  }

  /** Carries out a record at the present position. `read` is needed for completions. */
  apply(record: LogRecord, read?: CompletedRead): Divergence | undefined {
    this.#records++
    switch (record.kind) {
      case 'output':
        return this.#compareOutput(record)
      case 'digest':
        return this.#compareDigest(record)
      case 'completion':
        return this.#complete(record, read)
      case 'input':
      case 'clock':
      case 'control':
        this.#computer.deliver(record as ExternalEvent)
        return undefined
      default:
        return undefined
    }
  }

  /** Takes what has left the computer and what no record has announced so far. */
  takeUnannounced(): Output[] {
    this.#collect()
    const outputs = this.#pending.flat()
    for (const port of this.#pending.keys()) this.#pending[port] = []
    return outputs
  }

  #collect(): void {
    for (const output of this.#computer.takeOutputs()) this.#pending[output.port]!.push(output)
  }

  #compareOutput(record: LogRecord & { kind: 'output' }): Divergence | undefined {
    this.#outputs++
    this.#collect()
    const { port } = record
    const outputs = joinStreams(this.#pending[port] ?? [])
    const found = outputs.shift()
    this.#pending[port] = outputs
    const describe = (ordinal: bigint, digest: bigint): string => `ordinal ${ordinal}, digest ${hex(digest)}`
    const recorded = describe(record.ordinal, record.digest)
    const replayed = found === undefined ? 'nothing' : describe(found.ordinal, hash64(found.bytes))
    if (recorded !== replayed)
      return this.#divergence(record.index, `output of port ${port}`, recorded, replayed)
    if (found !== undefined) this.#onOutput?.({ ...found, index: record.index })
    return undefined
  }

  #compareDigest(record: LogRecord & { kind: 'digest' }): Divergence | undefined {
    this.#digests++
    const digest = this.#computer.digest()
    if (digest !== record.digest)
      return this.#divergence(record.index, 'digest of the machine', hex(record.digest), hex(digest))
    const divergence = record.slice && this.#compareSlice(record.index, record.slice)
    if (divergence === undefined) this.#equalAt = this.#computer.position
    return divergence
  }

  /** Reads a slice of RAM again, as the recorder did. What differs has changed behind a machine's back: on which side? */
  #compareSlice(index: bigint, { firstPage, pages, digest }: DigestSlice): Divergence | undefined {
    const { ram, layout } = this.#computer.machine
    if (pages === 0 || firstPage + pages > layout.ramPages)
      throw new FormatError(
        `record ${index}: ${pages} pages of RAM at page ${firstPage}, which are not there`,
      )
    const { slice, changed } = scrub(ram, firstPage, pages)
    if (changed !== undefined) {
      const what = `page ${hex(BigInt(changed.address))}, changed in the replay without having been written`
      return { ...this.#divergence(index, what, hex(changed.written), hex(changed.found)), convicts: true }
    }
    if (slice.digest === digest) return undefined
    const end = hex(BigInt(RAM_BASE + (firstPage + pages) * PAGE_BYTES))
    const what = `RAM from ${hex(BigInt(RAM_BASE + firstPage * PAGE_BYTES))} to ${end}, changed in the recording without having been written`
    return this.#divergence(index, what, hex(digest), hex(slice.digest))
  }

  #complete(record: LogRecord & { kind: 'completion' }, read?: CompletedRead): Divergence | undefined {
    const { request, status } = record
    // What the guest saw as an error is replayed as one, whatever this disk says.
    const data = status === 'ok' ? read?.data : undefined
    const digest = data === undefined ? undefined : hash64(data)
    if (digest !== record.digest) {
      const show = (value: bigint | undefined): string => (value === undefined ? 'no data' : hex(value))
      return this.#divergence(
        record.index,
        `data of disk request ${request}`,
        show(record.digest),
        show(digest),
      )
    }
    this.#computer.deliver({ kind: 'completion', request, status, ...(data === undefined ? {} : { data }) })
    return undefined
  }

  #divergence(index: bigint, what: string, recorded: string, replayed: string): Divergence {
    const pc = this.#computer.machine.harts[0]!.get64('pc')
    const { position } = this.#computer
    return { position, index, equalAt: this.#equalAt, pc, what, recorded, replayed, convicts: false }
  }
}

/**
 * The computer as a backup runs it: up to each record's position, where the record is applied or compared.
 *
 *     following --a completion whose request this copy's disk has not done--> waiting --done--> following
 *         '------a difference------> over --it was a digest, and the primary is convicted--> following
 */
import { CorruptionError } from '../../base/errors.ts'
import type { Computer } from '../../board/computer.ts'
import { encodeEvidence, gatherEvidence } from '../../board/evidence.ts'
import type { RecordedOutput } from '../../board/recorder.ts'
import { type CompletedRead, type Divergence, Replayer } from '../../board/replayer.ts'
import { requireSoundRam } from '../../board/scrub.ts'
import type { DiskRequest } from '../../devices/virtio_block.ts'
import type { LogRecord } from '../../log/record.ts'
import type { Frontier } from '../../replication/ports.ts'
import type { MachineReport } from './thread_messages.ts'

/** Steps between looks at the clock. */
const PIECE_STEPS = 500_000n
/** How long a turn executes. */
const TURN_MS = 4

type FoundDivergence = Omit<Divergence, 'equalAt'>

export class BackupRun {
  readonly #computer: Computer
  readonly #report: (report: MachineReport) => void
  readonly #replayer: Replayer
  #records: LogRecord[] = []
  #next = 0
  #frontier: Frontier
  #reported: bigint
  #verified: RecordedOutput[] = []
  /** Requests that the disk has got and whose end the log has not told; the guest may have forgotten some of them. */
  readonly #submitted = new Map<number, DiskRequest>()
  /** Requests that this copy's disk has done and whose end the log has not told. */
  readonly #done = new Map<number, CompletedRead>()
  /** The hash of each page at the last digest that was equal. */
  readonly #equalHashes: BigUint64Array
  #isOver = false
  /** A digest differs. */
  #isDisputing = false
  /** The primary is convicted: its digests say nothing. */
  #disregardsDigests = false
  #isKnownSound = false

  constructor(computer: Computer, frontier: Frontier, report: (report: MachineReport) => void) {
    this.#computer = computer
    this.#report = report
    this.#frontier = frontier
    this.#reported = frontier.nextIndex
    this.#equalHashes = new BigUint64Array(computer.machine.layout.ramPages)
    this.#replayer = new Replayer(computer, PIECE_STEPS, (output) => this.#verified.push(output))
  }

  /** Where it has got to. */
  get frontier(): Frontier {
    return this.#frontier
  }

  /** Whether the guest has powered off. */
  get isOff(): boolean {
    return this.#replayer.isOff
  }

  /** Whether it has nothing to execute. */
  get isIdle(): boolean {
    return this.#next === this.#records.length
  }

  feed(records: readonly LogRecord[]): void {
    if (this.#next > 0) this.#records.splice(0, this.#next)
    this.#next = 0
    for (const record of records) this.#records.push(record)
  }

  diskDone(request: number, read: CompletedRead): void {
    this.#done.set(request, read)
  }

  /** The primary is convicted. Where a digest differs, this copy goes on if its own memory is as it was written. */
  disregardDigests(): void {
    this.#disregardsDigests = true
    if (this.#isDisputing) this.#isOver = false
    this.#isDisputing = false
  }

  /** Executes for a while; returns how long it may be left alone, in milliseconds. */
  turn(): number {
    const end = performance.now() + TURN_MS
    let isMore = true
    while (isMore && !this.#isOver && performance.now() < end) isMore = this.#step()
    this.#tellExecuted()
    return isMore && !this.#isOver ? 0 : Infinity
  }

  /**
   * What a primary has to log and tell first: outputs that no record has announced; all requests that the disk has got
   * and the log has not, and those of them that are done.
   */
  end(): {
    readonly outputs: ReturnType<Replayer['takeUnannounced']>
    readonly submitted: ReadonlyMap<number, DiskRequest>
    readonly done: ReadonlyMap<number, CompletedRead>
  } {
    this.#isOver = true
    return { outputs: this.#replayer.takeUnannounced(), submitted: this.#submitted, done: this.#done }
  }

  /** One piece of execution, or one record; false if there is nothing to do now. */
  #step(): boolean {
    const record = this.#records[this.#next]
    if (record === undefined) return false
    const reached = this.#replayer.advance(record.position, record.index, PIECE_STEPS)
    this.#submit()
    if (typeof reached === 'object') return this.#diverge(reached)
    if (!reached) return true
    let read: CompletedRead | undefined
    if (record.kind === 'completion') {
      const { request, index } = record
      if (!this.#submitted.has(request)) return this.#diverge(this.#neverMade(request, index))
      read = this.#done.get(request)
      if (read === undefined) return false
      this.#submitted.delete(request)
      this.#done.delete(request)
    }
    const divergence = this.#replayer.apply(record, read)
    this.#submit()
    if (divergence !== undefined && !this.#mayPass(divergence, record)) return false
    if (record.kind === 'digest') this.#computer.machine.ram.copyHashes(this.#equalHashes)
    this.#next++
    this.#frontier = { nextIndex: record.index + 1n, position: record.position }
    return true
  }

  /** Whether this copy goes on all the same; else it is at its end. */
  #mayPass(divergence: FoundDivergence, { kind }: LogRecord): boolean {
    const isDigest = kind === 'digest'
    const isDisregarded = isDigest && this.#disregardsDigests && !divergence.convicts
    return isDisregarded ? this.#isSound() : this.#diverge(divergence, isDigest)
  }

  /** Reads all RAM again, once. */
  #isSound(): boolean {
    if (this.#isKnownSound) return true
    const { machine, position } = this.#computer
    try {
      requireSoundRam(machine, position)
      this.#isKnownSound = true
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error
      this.#isOver = true
      this.#report({ kind: 'convicted', report: error.message })
    }
    return this.#isKnownSound
  }

  #submit(): void {
    const requests = this.#computer.takeDiskRequests()
    for (const request of requests) this.#submitted.set(request.id, request)
    if (requests.length > 0) this.#report({ kind: 'disk', requests })
  }

  #neverMade(request: number, index: bigint): FoundDivergence {
    const { position, machine } = this.#computer
    const pc = machine.harts[0]!.get64('pc')
    const found = { recorded: 'it done', replayed: 'never made it', convicts: false }
    return { position, index, pc, what: `disk request ${request}`, ...found }
  }

  #tellExecuted(): void {
    if (this.#frontier.nextIndex === this.#reported) return
    this.#reported = this.#frontier.nextIndex
    const outputs = this.#verified
    this.#verified = []
    this.#report({ kind: 'executed', frontier: this.#frontier, outputs })
  }

  /** Gives up; at a digest it says all that the other copy needs to name the difference. */
  #diverge(divergence: FoundDivergence, isDigest = false): false {
    const { index, position, pc, what, recorded, replayed, convicts } = divergence
    this.#isOver = true
    this.#isDisputing = isDigest && !convicts
    const at = `position ${position}, pc 0x${pc.toString(16)}, record ${index}`
    const report = `${what}: the primary has ${recorded}, this copy ${replayed} (${at})`
    this.#tellExecuted()
    if (convicts) this.#report({ kind: 'convicted', report })
    else
      this.#report({
        kind: 'diverged',
        index,
        report,
        evidence: this.#isDisputing ? this.#evidence(index) : undefined,
      })
    return false
  }

  #evidence(index: bigint): Uint8Array {
    return encodeEvidence(gatherEvidence(this.#computer, index, this.#equalHashes))
  }
}

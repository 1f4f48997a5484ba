/**
 * The toy machine as a backup runs it: up to each record's position, where the record is applied or compared.
 *
 * It stands still at a completion until its own disk has finished that request, and for ever at a difference.
 */
import { hash64 } from '../src/base/hash64.ts'
import type { LogBatch } from '../src/log/batch.ts'
import type { CompletionRecord, DigestRecord, LogRecord, OutputRecord } from '../src/log/record.ts'
import type { Frontier, MachineOutput } from '../src/replication/ports.ts'
import { observeApplied } from './applied.ts'
import type { DiskDriver } from './disk_driver.ts'
import type { GuestOutput } from './machine_ports.ts'
import type { ReplicaPorts } from './replica_ports.ts'
import type { ToyMachine } from './toy_machine.ts'

/** How long it executes before it looks up. */
const SLICE_MS = 4

export class BackupRun {
  readonly #ports: ReplicaPorts
  readonly #machine: ToyMachine
  readonly #driver: DiskDriver
  readonly #life: number
  #records: LogRecord[] = []
  #done = 0
  #frontier: Frontier
  /** Put out by this copy, and not in the log so far. */
  #unannounced: GuestOutput[] = []
  /** Found equal, and not reported yet. */
  #verified: MachineOutput[] = []
  #isInSlice = false
  #isOver = false
  /** A digest differs. */
  #isDisputing = false
  /** The primary is convicted: its digests say nothing. */
  #disregardsDigests = false

  constructor(
    ports: ReplicaPorts,
    machine: ToyMachine,
    driver: DiskDriver,
    place: { readonly life: number } & Frontier,
  ) {
    this.#ports = ports
    this.#machine = machine
    this.#driver = driver
    this.#life = place.life
    this.#frontier = { nextIndex: place.nextIndex, position: place.position }
    driver.onFinished = () => this.#wake()
  }

  feed(batch: LogBatch): void {
    for (const record of batch.records) {
      this.#records.push(record)
      if (record.kind !== 'input' || !this.#ports.has('duplicated record')) continue
      if (this.#ports.random.chance(0.02)) this.#records.push(record)
    }
    this.#wake()
  }

  /** The primary is convicted. Where a digest differs, this copy goes on if its own memory is as it was written. */
  disregardDigests(): void {
    this.#disregardsDigests = true
    if (this.#isDisputing) this.#isOver = false
    this.#isDisputing = false
    this.#wake()
  }

  /** Nothing is executed any more: the machine becomes a primary's, or ends. */
  end(): void {
    this.#isOver = true
  }

  #wake(): void {
    if (this.#isInSlice || this.#isOver) return
    const stepsPerMs = this.#ports.stepsPerMs * this.#ports.backupSpeed()
    const start = this.#machine.position
    const isSlowed = this.#execute(start + Math.ceil(stepsPerMs * SLICE_MS))
    const usedMs = (this.#machine.position - start) / stepsPerMs
    if (usedMs === 0) return this.#report()
    this.#isInSlice = true
    this.#ports.after(usedMs, () => {
      this.#isInSlice = false
      this.#report()
      if (isSlowed || this.#done < this.#records.length) this.#wake()
    })
  }

  #report(): void {
    if (this.#done === 0 || this.#isOver) return
    const last = this.#records[this.#done - 1]!
    this.#frontier = { nextIndex: last.index + 1n, position: last.position }
    this.#records = this.#records.slice(this.#done)
    this.#done = 0
    const outputs = this.#verified
    this.#verified = []
    this.#ports.give({ kind: 'executed', frontier: this.#frontier, outputs })
  }

  /** Executes what there is, at most to position `limit`; whether it stopped there. */
  #execute(limit: number): boolean {
    const machine = this.#machine
    while (this.#done < this.#records.length && !this.#isOver) {
      const record = this.#records[this.#done]!
      const target = Number(record.position)
      while (machine.position < Math.min(target, limit) && !machine.isIdle) {
        machine.run(Math.min(target, limit))
        this.#collect()
      }
      if (machine.position < target) {
        if (!machine.isIdle) return true
        this.#diverge(record.index, `idle at position ${machine.position}, before a record at ${target}`)
        return false
      }
      if (!this.#take(record)) return false
      this.#done++
    }
    return false
  }

  #collect(): void {
    for (const request of this.#machine.takeRequests()) this.#driver.submit(request)
    this.#unannounced.push(...this.#machine.takeOutputs())
  }

  /** Applies or compares a record; false if it has to wait, or if this copy is at its end. */
  #take(record: LogRecord): boolean {
    if (record.kind === 'input' && this.#ports.has('dropped record') && this.#ports.random.chance(0.02))
      return true
    if (!this.#apply(record)) return false
    const { index, ...content } = record
    observeApplied(this.#ports, this.#machine, { life: this.#life, index }, content)
    return true
  }

  #apply(record: LogRecord): boolean {
    switch (record.kind) {
      case 'input':
        this.#machine.input(record.port, record.bytes)
        return true
      case 'clock':
        this.#machine.correctClock(record)
        return true
      case 'control':
        this.#machine.powerButton()
        return true
      case 'completion':
        return this.#complete(record)
      case 'output':
        return this.#compareOutput(record)
      case 'digest':
        return this.#compareDigest(record)
      default:
        return true
    }
  }

  #complete({ index, request, status, digest }: CompletionRecord): boolean {
    if (!this.#driver.has(request) || !this.#machine.pending.has(request)) {
      return this.#diverge(index, `disk request ${request} has ended, which was never made here`)
    }
    const result = this.#driver.result(request)
    if (result === undefined) return false
    const data = status === 'ok' ? result.data : undefined
    if (digest !== undefined && (data === undefined || hash64(data) !== digest)) {
      return this.#diverge(index, `disk request ${request} has read other data`)
    }
    this.#driver.drop(request)
    this.#machine.complete(request, status === 'ok' ? 'ok' : 'error', data)
    this.#machine.takeFlush()
    return true
  }

  #compareOutput({ index, port, ordinal, digest, position }: OutputRecord): boolean {
    const own = this.#unannounced.shift()
    if (own === undefined) return this.#diverge(index, `no output ${ordinal} of port ${port} at ${position}`)
    const isSame =
      own.port === port &&
      BigInt(own.ordinal) === ordinal &&
      BigInt(own.position) === position &&
      hash64(own.bytes) === digest
    if (!isSame) {
      return this.#diverge(
        index,
        `output ${own.ordinal} of port ${own.port} at ${own.position} is not as logged`,
      )
    }
    this.#verified.push({ index, port, ordinal, bytes: own.bytes })
    return true
  }

  #compareDigest({ index, digest, slice, position }: DigestRecord): boolean {
    if (slice !== undefined) {
      const read = this.#machine.reread(slice.firstPage, slice.pages)
      if ('corruptPage' in read) {
        this.#convict(read.corruptPage)
        return false
      }
      if (read.digest !== slice.digest)
        return this.#differ(index, `pages from ${slice.firstPage} on differ at ${position}`)
    }
    return this.#machine.digest() === digest || this.#differ(index, `the digest at ${position} differs`)
  }

  /** A digest differs; true if this copy goes on all the same. */
  #differ(index: bigint, report: string): boolean {
    if (!this.#disregardsDigests) return this.#diverge(index, report, true)
    const read = this.#machine.reread(0, this.#machine.ramPages)
    if ('corruptPage' in read) this.#convict(read.corruptPage)
    return !this.#isOver
  }

  #convict(page: number): void {
    this.#isOver = true
    this.#ports.give({ kind: 'convicted', report: `page ${page} has changed by itself` })
  }

  #diverge(index: bigint, report: string, isDigest = false): false {
    this.#isOver = true
    this.#isDisputing = isDigest
    this.#ports.observe({ kind: 'diverged', report })
    const evidence = isDigest ? new Uint8Array() : undefined
    this.#ports.give({ kind: 'diverged', index, report, evidence })
    return false
  }
}

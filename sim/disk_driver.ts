/**
 * A copy's requests to its own disk: submitted when its guest makes them, and kept when they have finished until the
 * log says that the guest is told.
 *
 *     running --ok--> finished --the guest is told--> gone
 *        ^--retry-- held --fail--> finished, with an error
 *        '--error----^
 */
import { ByteReader, ByteWriter } from '../src/base/bytes.ts'
import type { DiskResult } from './disk.ts'
import type { DiskRequest } from './machine_ports.ts'
import type { ReplicaPorts } from './replica_ports.ts'

const RETRY_MS = 300

export class DiskDriver {
  readonly #ports: ReplicaPorts
  readonly #running = new Set<number>()
  readonly #held = new Map<number, DiskRequest>()
  readonly #finished = new Map<number, DiskResult>()
  /** Called when a request has finished. */
  onFinished: () => void = () => {}

  constructor(ports: ReplicaPorts) {
    this.#ports = ports
  }

  /** Whether requests run, or are held since they failed. */
  get isBusy(): boolean {
    return this.#running.size + this.#held.size > 0
  }

  submit(request: DiskRequest): void {
    this.#running.add(request.number)
    this.#ports.submit(request, (result) => this.#onDone(request, result))
  }

  /** Whether this copy has made the request and its guest has not been told of its end. */
  has(number: number): boolean {
    return this.#running.has(number) || this.#held.has(number) || this.#finished.has(number)
  }

  result(number: number): DiskResult | undefined {
    return this.#finished.get(number)
  }

  /** The guest is told. */
  drop(number: number): void {
    this.#finished.delete(number)
  }

  /** Requests that have finished, in the order in which they did. */
  finished(): number[] {
    return [...this.#finished.keys()]
  }

  /** Those held fail: nobody else can carry them out. */
  failHeld(): void {
    for (const number of this.#held.keys()) this.#finished.set(number, { status: 'error', data: undefined })
    this.#held.clear()
    this.onFinished()
  }

  /** What has finished, as data for another copy. What still runs is left out, or passed off as finished by a bug. */
  save(): Uint8Array {
    const writer = new ByteWriter()
    const claimed = this.#ports.has('request in flight at joining')
      ? [...this.#running, ...this.#held.keys()]
      : []
    writer.varint(this.#finished.size + claimed.length)
    for (const [number, { status, data }] of this.#finished) saveResult(writer, number, status, data)
    for (const number of claimed) saveResult(writer, number, 'ok', undefined)
    return writer.finish()
  }

  load(bytes: Uint8Array): void {
    const reader = new ByteReader(bytes, 'disk requests')
    for (let count = reader.varint(); count > 0; count--) {
      const number = reader.varint()
      const status = reader.u8() === 0 ? 'ok' : 'error'
      const data = reader.u8() === 0 ? undefined : reader.bytes(reader.varint()).slice()
      this.#finished.set(number, { status, data })
    }
    reader.finish()
  }

  #onDone(request: DiskRequest, result: DiskResult): void {
    this.#running.delete(request.number)
    if (result.status === 'ok') {
      this.#finished.set(request.number, result)
      return this.onFinished()
    }
    this.#held.set(request.number, request)
    this.#ports.give({ kind: 'diskFailed', reason: `${request.kind} request ${request.number}` })
    this.#ports.after(RETRY_MS, () => this.#retry(request))
  }

  /** A copy that nobody else can stand in for waits for its disk. */
  #retry(request: DiskRequest): void {
    if (!this.#held.delete(request.number)) return
    this.submit(request)
  }
}

function saveResult(
  writer: ByteWriter,
  number: number,
  status: DiskResult['status'],
  data: Uint8Array | undefined,
): void {
  writer.varint(number)
  writer.u8(status === 'ok' ? 0 : 1)
  writer.u8(data === undefined ? 0 : 1)
  if (data === undefined) return
  writer.varint(data.length)
  writer.bytes(data)
}

/**
 * The virtio block device (virtio 1.2, section 5.2), without the disk behind it.
 *
 * A driver's request becomes one disk request (one for each range of a discard or write-zeroes), with the
 * data to write copied at that moment. The outside answers each, in any order and at any later position, by
 * `complete`; when all parts of a driver's request are answered, its status byte is written and the chain is
 * given back.
 *
 *     taken -> refused at once (IOERR, UNSUPP), or answered at once (GET_ID)
 *           -> parts in flight -> all complete -> status byte, used ring, interrupt
 *
 * Requests in flight are state, data included, so that a restored machine can submit them again (`inFlight`).
 * They hold at most about 24 MiB: beyond IN_FLIGHT_BYTES_MAX no further chain is taken until some complete,
 * which also bounds the work of one notification. Ids keep counting over resets, so that a completion from
 * before a reset cannot be taken for a later request's.
 */
import { assert } from '../base/assert.ts'
import { FormatError } from '../base/errors.ts'
import type { StateReader, StateWriter } from '../base/state.ts'
import { loadLimited } from './fields.ts'
import { features, type VirtioFunction, type VirtioTransport } from './virtio_mmio.ts'
import { type Chain, gather, loadSegments, type Segment, saveSegments, scatter } from './virtqueue.ts'

export const SECTOR_BYTES = 512

const QUEUE_SIZE = 256
const SEGMENT_BYTES_MAX = 64 * 1024
/** A power of two less the header and the status descriptor. */
const SEGMENTS_MAX = 126
const REQUEST_BYTES_MAX = SEGMENTS_MAX * SEGMENT_BYTES_MAX
const IN_FLIGHT_BYTES_MAX = 16 * 1024 * 1024
/** Limits of discard and write-zeroes: sectors of one range (1 GiB), ranges of one request. */
const RANGE_SECTORS_MAX = 2 * 1024 * 1024
const RANGES_MAX = 16
/** Discards that keep to 4 KiB free whole blocks of an overlay. */
const DISCARD_ALIGNMENT_SECTORS = 8

const FEATURE_SIZE_MAX = 1
const FEATURE_SEG_MAX = 2
const FEATURE_BLK_SIZE = 6
const FEATURE_FLUSH = 9
const FEATURE_DISCARD = 13
const FEATURE_WRITE_ZEROES = 14

const HEADER_BYTES = 16
const RANGE_BYTES = 16
const RANGE_UNMAP = 1
const CONFIG_BYTES = 60
const SERIAL_BYTES = 20

const TYPE_IN = 0
const TYPE_OUT = 1
const TYPE_FLUSH = 4
const TYPE_GET_ID = 8
const TYPE_DISCARD = 11
const TYPE_WRITE_ZEROES = 13

const STATUS_OK = 0
const STATUS_IOERR = 1
const STATUS_UNSUPP = 2
type BlockStatus = typeof STATUS_OK | typeof STATUS_IOERR | typeof STATUS_UNSUPP

const KINDS = ['read', 'write', 'flush', 'discard', 'zeroes'] as const
export type DiskRequestKind = (typeof KINDS)[number]

/** What the device asks of the disk. */
export interface DiskRequest {
  /** A u32 that increases by one with each request, over resets too, and wraps around. */
  readonly id: number
  readonly kind: DiskRequestKind
  /** In units of 512 bytes, inside the disk; both 0 for a flush. */
  readonly sector: number
  readonly sectors: number
  /** What to write, `sectors` x 512 bytes; only of a write. */
  readonly data?: Uint8Array
}

export interface VirtioBlockOptions {
  /** The capacity in units of 512 bytes, at most 2^44. */
  readonly sectors: number
  /** What GET_ID answers, at most 20 ASCII characters. */
  readonly serial: string
  readonly submit: (request: DiskRequest) => void
}

/** A driver's request of which parts are in flight. */
interface DriverRequest {
  readonly head: number
  readonly writable: readonly Segment[]
  readonly writableBytes: number
  /** Parts not complete yet, in order. */
  parts: DiskRequest[]
  failed: boolean
}

type Range = Pick<DiskRequest, 'kind' | 'sector' | 'sectors' | 'data'>

export class VirtioBlock implements VirtioFunction {
  readonly deviceId = 2
  readonly queueSizes = [QUEUE_SIZE]
  readonly features = features([
    FEATURE_SIZE_MAX,
    FEATURE_SEG_MAX,
    FEATURE_BLK_SIZE,
    FEATURE_FLUSH,
    FEATURE_DISCARD,
    FEATURE_WRITE_ZEROES,
  ])
  readonly #sectors: number
  readonly #serial: Uint8Array
  readonly #submit: (request: DiskRequest) => void
  #transport!: VirtioTransport
  /** In the order of their first parts. */
  #requests: DriverRequest[] = []
  #nextId = 0
  #bytesInFlight = 0

  constructor(options: VirtioBlockOptions) {
    assert(options.sectors >= 1 && options.sectors <= 2 ** 44, `a disk of ${options.sectors} sectors`)
    this.#sectors = options.sectors
    this.#serial = serialBytes(options.serial)
    this.#submit = options.submit
  }

  attach(transport: VirtioTransport): void {
    this.#transport = transport
  }

  /** The requests that have no answer yet, in the order in which they were submitted. */
  inFlight(): readonly DiskRequest[] {
    return this.#requests.flatMap((request) => request.parts)
  }

  /**
   * Answers a request; a read that went well brings its data. False if no such request is in flight any more,
   * which a reset of the device explains.
   */
  complete(id: number, status: 'ok' | 'error', data?: Uint8Array): boolean {
    const request = this.#requests.find(({ parts }) => parts.some((part) => part.id === id))
    const part = request?.parts.find((candidate) => candidate.id === id)
    if (request === undefined || part === undefined) return false
    const length = part.kind === 'read' && status === 'ok' ? part.sectors * SECTOR_BYTES : 0
    assert(
      (data?.length ?? 0) === length,
      `disk request ${id} answered with ${data?.length} bytes, not ${length}`,
    )
    request.parts = request.parts.filter((other) => other !== part)
    request.failed ||= status === 'error'
    this.#bytesInFlight -= transferBytes(part)
    if (data !== undefined && this.#transport.queue(0).ready) {
      scatter(this.#transport.memory, request.writable, 0, data)
    }
    if (request.parts.length === 0) this.#finish(request, data?.length ?? 0)
    this.#takeRequests()
    return true
  }

  /** Section 5.2.4. */
  config(): Uint8Array {
    const config = new Uint8Array(CONFIG_BYTES)
    const view = new DataView(config.buffer)
    view.setBigUint64(0, BigInt(this.#sectors), true)
    view.setUint32(8, SEGMENT_BYTES_MAX, true)
    view.setUint32(12, SEGMENTS_MAX, true)
    view.setUint32(20, SECTOR_BYTES, true)
    view.setUint32(36, RANGE_SECTORS_MAX, true)
    view.setUint32(40, RANGES_MAX, true)
    view.setUint32(44, DISCARD_ALIGNMENT_SECTORS, true)
    view.setUint32(48, RANGE_SECTORS_MAX, true)
    view.setUint32(52, RANGES_MAX, true)
    view.setUint8(56, 1)
    return config
  }

  notified(): void {
    this.#takeRequests()
  }

  /** Forgets what is in flight; the disk may still do it. */
  reset(): void {
    this.#requests = []
    this.#bytesInFlight = 0
  }

  save(writer: StateWriter): void {
    writer.section('block', 1, () => {
      writer.u32('nextId', this.#nextId)
      writer.u32('requests', this.#requests.length)
      for (const request of this.#requests) saveRequest(writer, request)
    })
  }

  load(reader: StateReader): void {
    reader.section('block', 1, () => {
      this.#nextId = reader.u32('nextId')
      const count = loadLimited(reader, 'requests', QUEUE_SIZE)
      this.#requests = Array.from({ length: count }, () => this.#loadRequest(reader))
    })
    this.#bytesInFlight = this.inFlight().reduce((sum, part) => sum + transferBytes(part), 0)
  }

  #loadRequest(reader: StateReader): DriverRequest {
    const head = loadLimited(reader, 'head', QUEUE_SIZE - 1)
    const failed = reader.flag('failed')
    const writable = loadSegments(reader, 'writable', QUEUE_SIZE, this.#transport.memory)
    const count = loadLimited(reader, 'parts', RANGES_MAX)
    const parts = Array.from({ length: count }, () => loadPart(reader))
    const writableBytes = writable.reduce((sum, { length }) => sum + length, 0)
    return { head, writable, writableBytes, parts, failed }
  }

  #takeRequests(): void {
    if (this.#bytesInFlight >= IN_FLIGHT_BYTES_MAX) return
    const queue = this.#transport.queue(0)
    for (const chain of queue.takeAll()) {
      // Without a byte for the status there is no way to answer.
      if (chain.writableBytes === 0) queue.break()
      else this.#start(chain)
      if (this.#bytesInFlight >= IN_FLIGHT_BYTES_MAX) return
    }
  }

  #start(chain: Chain): void {
    const outcome = this.#plan(chain)
    if (typeof outcome === 'number') {
      this.#answer(chain, outcome, 0)
    } else if (outcome instanceof Uint8Array) {
      scatter(this.#transport.memory, chain.writable, 0, outcome)
      this.#answer(chain, STATUS_OK, outcome.length)
    } else {
      this.#launch(chain, outcome)
    }
  }

  /** What a request amounts to: disk requests, data to answer at once, or a refusal. */
  #plan(chain: Chain): Range[] | Uint8Array | BlockStatus {
    const header = gather(this.#transport.memory, chain.readable, 0, HEADER_BYTES)
    if (header.length < HEADER_BYTES) return STATUS_IOERR
    const view = new DataView(header.buffer)
    const sector = view.getBigUint64(8, true)
    switch (view.getUint32(0, true)) {
      case TYPE_IN:
        return this.#planTransfer('read', sector, chain.writableBytes - 1) ?? STATUS_IOERR
      case TYPE_OUT:
        return this.#planWrite(chain, sector)
      case TYPE_FLUSH:
        return this.#has(FEATURE_FLUSH) ? [{ kind: 'flush', sector: 0, sectors: 0 }] : STATUS_UNSUPP
      case TYPE_GET_ID:
        return chain.writableBytes > SERIAL_BYTES ? this.#serial : STATUS_IOERR
      case TYPE_DISCARD:
        return this.#has(FEATURE_DISCARD) ? this.#planRanges(chain, 'discard') : STATUS_UNSUPP
      case TYPE_WRITE_ZEROES:
        return this.#has(FEATURE_WRITE_ZEROES) ? this.#planRanges(chain, 'zeroes') : STATUS_UNSUPP
      default:
        return STATUS_UNSUPP
    }
  }

  #planTransfer(kind: 'read' | 'write', sector: bigint, bytes: number): [Range] | undefined {
    const sectors = bytes / SECTOR_BYTES
    if (bytes > REQUEST_BYTES_MAX || !Number.isInteger(sectors)) return undefined
    return this.#onDisk(sector, sectors) ? [{ kind, sector: Number(sector), sectors }] : undefined
  }

  #planWrite(chain: Chain, sector: bigint): [Range] | BlockStatus {
    const bytes = chain.readableBytes - HEADER_BYTES
    const planned = this.#planTransfer('write', sector, bytes)
    if (planned === undefined) return STATUS_IOERR
    return [{ ...planned[0], data: gather(this.#transport.memory, chain.readable, HEADER_BYTES, bytes) }]
  }

  /** Section 5.2.6: ranges of sector u64, sectors u32, flags u32. Only write-zeroes knows a flag. */
  #planRanges(chain: Chain, kind: 'discard' | 'zeroes'): Range[] | BlockStatus {
    const count = (chain.readableBytes - HEADER_BYTES) / RANGE_BYTES
    if (count === 0 || count > RANGES_MAX || !Number.isInteger(count)) return STATUS_IOERR
    const bytes = gather(this.#transport.memory, chain.readable, HEADER_BYTES, RANGE_BYTES * count)
    const view = new DataView(bytes.buffer)
    const ranges: Range[] = []
    for (let at = 0; at < bytes.length; at += RANGE_BYTES) {
      const sector = view.getBigUint64(at, true)
      const sectors = view.getUint32(at + 8, true)
      const flags = view.getUint32(at + 12, true)
      if ((flags & ~(kind === 'zeroes' ? RANGE_UNMAP : 0)) !== 0) return STATUS_UNSUPP
      if (sectors > RANGE_SECTORS_MAX || !this.#onDisk(sector, sectors)) return STATUS_IOERR
      ranges.push({ kind, sector: Number(sector), sectors })
    }
    return ranges
  }

  #onDisk(sector: bigint, sectors: number): boolean {
    return sectors > 0 && sector <= BigInt(this.#sectors) && Number(sector) + sectors <= this.#sectors
  }

  #has(feature: number): boolean {
    return this.#transport.negotiated(feature)
  }

  #launch(chain: Chain, ranges: readonly Range[]): void {
    const parts = ranges.map((range) => ({ id: this.#takeId(), ...range }))
    const { head, writable, writableBytes } = chain
    this.#requests.push({ head, writable, writableBytes, parts, failed: false })
    for (const part of parts) this.#bytesInFlight += transferBytes(part)
    for (const part of parts) this.#submit(part)
  }

  #takeId(): number {
    const id = this.#nextId
    this.#nextId = (id + 1) >>> 0
    return id
  }

  #finish(request: DriverRequest, dataBytes: number): void {
    this.#requests = this.#requests.filter((other) => other !== request)
    this.#answer(request, request.failed ? STATUS_IOERR : STATUS_OK, dataBytes)
  }

  /** Writes the status, which is the last writable byte, and gives the chain back. */
  #answer(
    chain: Pick<Chain, 'head' | 'writable' | 'writableBytes'>,
    status: BlockStatus,
    dataBytes: number,
  ): void {
    const queue = this.#transport.queue(0)
    if (!queue.ready) return
    scatter(this.#transport.memory, chain.writable, chain.writableBytes - 1, Uint8Array.of(status))
    // The length counts from the chain's start: the status only if nothing before it was left out.
    const contiguous = dataBytes === chain.writableBytes - 1
    queue.giveBack([{ head: chain.head, written: dataBytes + (contiguous ? 1 : 0) }])
  }
}

/** The bytes that a request moves between disk and guest. */
function transferBytes(part: DiskRequest): number {
  return part.kind === 'read' || part.kind === 'write' ? part.sectors * SECTOR_BYTES : 0
}

function serialBytes(serial: string): Uint8Array {
  assert(/^[\x20-\x7e]{0,20}$/.test(serial), `the serial '${serial}' is not up to 20 ASCII characters`)
  const bytes = new Uint8Array(SERIAL_BYTES)
  for (let index = 0; index < serial.length; index++) bytes[index] = serial.charCodeAt(index)
  return bytes
}

function saveRequest(writer: StateWriter, request: DriverRequest): void {
  writer.u32('head', request.head)
  writer.flag('failed', request.failed)
  saveSegments(writer, 'writable', request.writable)
  writer.u32('parts', request.parts.length)
  for (const part of request.parts) {
    writer.u32('id', part.id)
    writer.u32('kind', KINDS.indexOf(part.kind))
    writer.u64('sector', BigInt(part.sector))
    writer.u32('sectors', part.sectors)
    writer.bytes('data', part.data ?? new Uint8Array(0))
  }
}

function loadPart(reader: StateReader): DiskRequest {
  const id = reader.u32('id')
  const kind = KINDS[loadLimited(reader, 'kind', KINDS.length - 1)]!
  const sector = Number(reader.u64('sector'))
  const sectors = reader.u32('sectors')
  const data = reader.bytes('data')
  if (data.length !== (kind === 'write' ? sectors * SECTOR_BYTES : 0)) {
    throw new FormatError(
      `machine state: disk request ${id} carries ${data.length} bytes for ${sectors} sectors`,
    )
  }
  return kind === 'write' ? { id, kind, sector, sectors, data } : { id, kind, sector, sectors }
}

/**
 * Batches of records: the unit in which the log travels and is stored. The logging channel and a recording on disk
 * carry the same bytes.
 *
 *      0  magic "ULB1"            u32      20  payload checksum  u32, CRC-32C
 *      4  version                 u16      24  first index       u64
 *      6  reserved, zero          u16      32  base position     u64
 *      8  life                    u32      40  header checksum   u32, CRC-32C of bytes 0 to 39
 *     12  records                 u32      44  payload
 *     16  payload bytes           u32
 *
 * The header has a checksum of its own, since its length is believed before the payload is there. In a stream each
 * batch continues the one before: same life, next index, no smaller position.
 */
import { assert } from '../base/assert.ts'
import { ByteQueue, ByteReader, ByteWriter, U64_MAX } from '../base/bytes.ts'
import { crc32c } from '../base/crc32c.ts'
import { FormatError } from '../base/errors.ts'
import { decodeRecord, encodeRecord, MAX_RECORD_BYTES, RecordContext } from './codec.ts'
import type { LogRecord, NewRecord } from './record.ts'
import { StreamFault } from './stream_fault.ts'

/** The first four bytes of a batch, "ULB1". */
export const BATCH_MAGIC = 0x3142_4c55
export const BATCH_VERSION = 1
export const BATCH_HEADER_BYTES = 44
/** The longest payload. A batch that is this full takes no more records. */
export const MAX_PAYLOAD_BYTES = 4 << 20

/** Records that travelled together. */
export interface LogBatch {
  readonly life: number
  /** Index of the first record. */
  readonly firstIndex: bigint
  /** What the first record's position counts from; no record is before it. */
  readonly basePosition: bigint
  readonly records: readonly LogRecord[]
}

/** Where a log goes on: in which life, with which index, not before which position. */
export interface LogPlace {
  readonly life: number
  readonly nextIndex: bigint
  readonly position: bigint
}

/** Numbers records and collects them into batches. */
export class BatchEncoder {
  readonly #life: number
  readonly #payload = new ByteWriter(4096)
  #context: RecordContext
  #firstIndex: bigint
  #basePosition: bigint
  #records = 0

  constructor(place: LogPlace) {
    assert(place.life >= 0 && place.life <= 0xffff_ffff, `not a life: ${place.life}`)
    this.#life = place.life
    this.#firstIndex = place.nextIndex
    this.#basePosition = place.position
    this.#context = new RecordContext(place.position)
  }

  /** Index that the next record will get. */
  get nextIndex(): bigint {
    return this.#firstIndex + BigInt(this.#records)
  }

  /** Records appended since the last `take`. */
  get records(): number {
    return this.#records
  }

  /** Bytes of the records appended since the last `take`. */
  get payloadBytes(): number {
    return this.#payload.length
  }

  /** Whether the batch must be taken before anything more is appended. */
  get full(): boolean {
    return this.#payload.length > MAX_PAYLOAD_BYTES - MAX_RECORD_BYTES
  }

  /** Appends a record and returns its index. */
  append(record: NewRecord): bigint {
    assert(!this.full, 'a full batch was not taken')
    encodeRecord(this.#payload, this.#context, record)
    this.#records++
    return this.#firstIndex + BigInt(this.#records - 1)
  }

  /** The batch of all records since the last `take`, or undefined if there are none. */
  take(): Uint8Array | undefined {
    if (this.#records === 0) return undefined
    const payload = this.#payload.written()
    const writer = new ByteWriter(BATCH_HEADER_BYTES + payload.length)
    writer.u32(BATCH_MAGIC)
    writer.u16(BATCH_VERSION)
    writer.u16(0)
    writer.u32(this.#life)
    writer.u32(this.#records)
    writer.u32(payload.length)
    writer.u32(crc32c(payload))
    writer.u64(this.#firstIndex)
    writer.u64(this.#basePosition)
    writer.u32(crc32c(writer.written()))
    writer.bytes(payload)
    this.#firstIndex = this.nextIndex
    this.#basePosition = this.#context.position
    this.#context = new RecordContext(this.#basePosition)
    this.#records = 0
    this.#payload.reset()
    return writer.finish()
  }
}

interface BatchHeader {
  readonly life: number
  readonly records: number
  readonly payloadBytes: number
  readonly payloadChecksum: number
  readonly firstIndex: bigint
  readonly basePosition: bigint
}

/**
 * Takes a stream of batches in arbitrary pieces: `push` what arrives, then call `next` until it has none. What was
 * whole before a fault is still handed out; the fault itself is thrown as a FormatError by `next`, each time again.
 */
export class BatchDecoder {
  readonly #what: string
  readonly #queue: ByteQueue
  #place: LogPlace | undefined
  #header: BatchHeader | undefined
  readonly #fault = new StreamFault()

  /**
   * `what` names the stream in errors. With `expected` the first batch must go on there. `queue` is where the bytes
   * come from, if something else takes bytes from the same stream.
   */
  constructor(what: string, expected?: LogPlace, queue: ByteQueue = new ByteQueue()) {
    this.#what = what
    this.#place = expected
    this.#queue = queue
  }

  /** Where the log goes on behind the batches taken so far; undefined before the first if nothing was expected. */
  get place(): LogPlace | undefined {
    return this.#place
  }

  push(bytes: Uint8Array): void {
    this.#queue.push(bytes)
  }

  /** The next whole batch, or undefined until more has arrived. */
  next(): LogBatch | undefined {
    return this.#fault.watch(() => this.#next())
  }

  /** Declares the end of the stream: throws FormatError if it ends within a batch. */
  finish(): void {
    this.#fault.throwAgain()
    if (this.#queue.length === 0) return
    const end = this.#queue.offset + this.#queue.length
    throw new FormatError(
      `${this.#what}: byte ${end}: cut off within the batch at byte ${this.#queue.offset}`,
    )
  }

  #next(): LogBatch | undefined {
    if (this.#header === undefined) {
      const magic = this.#queue.peek(4)
      if (magic === undefined) return undefined
      if (new ByteReader(magic, '').u32() !== BATCH_MAGIC) throw this.#error('not a batch of log records')
      const bytes = this.#queue.peek(BATCH_HEADER_BYTES)
      if (bytes === undefined) return undefined
      this.#header = parseHeader(new ByteReader(bytes, this.#what, this.#queue.offset), bytes)
      this.#continue(this.#header)
    }
    const header = this.#header
    const whole = this.#queue.peek(BATCH_HEADER_BYTES + header.payloadBytes)
    if (whole === undefined) return undefined
    const payload = whole.subarray(BATCH_HEADER_BYTES)
    const reader = new ByteReader(payload, this.#what, this.#queue.offset + BATCH_HEADER_BYTES)
    if (crc32c(payload) !== header.payloadChecksum) throw reader.error('a batch with a wrong checksum')
    const batch = decodePayload(reader, header)
    this.#queue.skip(whole.length)
    this.#header = undefined
    const position = batch.records.at(-1)?.position ?? batch.basePosition
    this.#place = { life: batch.life, nextIndex: batch.firstIndex + BigInt(batch.records.length), position }
    return batch
  }

  /** Checks that a batch continues what came before. */
  #continue(header: BatchHeader): void {
    const place = this.#place
    if (place === undefined) return
    const { life, firstIndex, basePosition } = header
    if (life !== place.life) throw this.#error(`a batch of life ${life} in life ${place.life}`)
    if (firstIndex !== place.nextIndex) {
      throw this.#error(`a batch that starts at index ${firstIndex} instead of ${place.nextIndex}`)
    }
    if (basePosition < place.position) {
      throw this.#error(`a batch at position ${basePosition} behind position ${place.position}`)
    }
  }

  #error(problem: string): FormatError {
    return new FormatError(`${this.#what}: byte ${this.#queue.offset}: ${problem}`)
  }
}

function parseHeader(reader: ByteReader, bytes: Uint8Array): BatchHeader {
  reader.u32()
  const checksumStart = BATCH_HEADER_BYTES - 4
  const checksum = new ByteReader(bytes.subarray(checksumStart), '').u32()
  if (checksum !== crc32c(bytes.subarray(0, checksumStart))) {
    throw reader.error('a batch header with a wrong checksum', 0)
  }
  const version = reader.u16()
  if (version !== BATCH_VERSION) throw reader.error(`a batch of version ${version}, not ${BATCH_VERSION}`, 4)
  if (reader.u16() !== 0) throw reader.error('a batch with reserved bits set', 6)
  const life = reader.u32()
  const records = reader.u32()
  const payloadBytes = reader.u32()
  if (payloadBytes > MAX_PAYLOAD_BYTES) throw reader.error(`a batch of ${payloadBytes} bytes`, 16)
  // The shortest record has two bytes.
  if (records === 0 || records > payloadBytes / 2) throw reader.error(`a batch of ${records} records`, 12)
  const payloadChecksum = reader.u32()
  const firstIndex = reader.u64()
  if (firstIndex > U64_MAX - BigInt(records)) throw reader.error('an index above 64 bits', 24)
  return { life, records, payloadBytes, payloadChecksum, firstIndex, basePosition: reader.u64() }
}

function decodePayload(reader: ByteReader, header: BatchHeader): LogBatch {
  const context = new RecordContext(header.basePosition)
  const records: LogRecord[] = []
  let index = header.firstIndex
  for (let i = 0; i < header.records; i++) records.push(decodeRecord(reader, context, index++))
  reader.finish()
  return { life: header.life, firstIndex: header.firstIndex, basePosition: header.basePosition, records }
}

/**
 * A recording: what a machine was, and everything that happened to it.
 *
 *     header      magic "UNDSTREC" | version u16 | reserved u16 | JSON bytes u32 | CRC-32C of what precedes and
 *                 of the JSON u32 | JSON
 *     batches     see batch.ts
 *     end mark    magic "UEND" u32 | next index u64 | final position u64 | CRC-32C of what precedes u32
 *
 * The header names the machine (a canonical JSON object: harts, RAM, digests of images, devices), the life, and what
 * it started from. A recording whose writer was killed has no end mark: it is good up to its last whole batch, and
 * `finish` says so. Damage is something else, and refused.
 */
import { assert } from '../base/assert.ts'
import { ByteQueue, ByteReader, ByteWriter, U64_MAX } from '../base/bytes.ts'
import { decodeJson, encodeJson, type JsonObject, type JsonValue } from '../base/canonical_json.ts'
import { crc32c } from '../base/crc32c.ts'
import { FormatError } from '../base/errors.ts'
import { decodeAscii, encodeAscii } from '../base/text.ts'
import { BatchDecoder, type LogBatch, type LogPlace } from './batch.ts'
import { StreamFault } from './stream_fault.ts'

const MAGIC = encodeAscii('UNDSTREC')
/** 2: `start.disk`, without which a disk that is missing would look like an empty one. */
const VERSION = 2
const FIXED_HEADER_BYTES = 20
// Differs from a batch's magic in three bytes, so that no single fault turns one into the other.
const END_MAGIC = 0x444e_4555
const END_BYTES = 24

/** The longest header text: a machine specification has a few kilobytes. */
export const MAX_HEADER_JSON_BYTES = 1 << 20

/** What a recorded machine started from: a snapshot by its reference (a name or digest), or a cold start. */
export interface RecordingStart {
  readonly snapshot: string | undefined
  /** Position and index of the first record to come; both zero at a cold start. */
  readonly position: bigint
  readonly nextIndex: bigint
  /** Generation of the disk that is kept beside the recording; undefined if the disk was as its base. */
  readonly disk: string | undefined
}

export interface RecordingHeader {
  readonly machine: JsonObject
  readonly life: number
  readonly start: RecordingStart
}

/** Where a recording ends. */
export interface RecordingEnd {
  readonly nextIndex: bigint
  /** How far the machine had come; at or behind the last record's position. */
  readonly position: bigint
}

/** The bytes that a recording begins with. */
export function encodeRecordingHeader(header: RecordingHeader): Uint8Array {
  const { snapshot, position, nextIndex, disk } = header.start
  const place = { position: `${position}`, nextIndex: `${nextIndex}` }
  const start = { snapshot: snapshot ?? null, ...place, disk: disk ?? null }
  const json = encodeJson({ kind: 'recording', life: header.life, machine: header.machine, start })
  assert(json.length <= MAX_HEADER_JSON_BYTES, `a machine specification of ${json.length} bytes`)
  const writer = new ByteWriter(FIXED_HEADER_BYTES + json.length)
  writer.bytes(MAGIC)
  writer.u16(VERSION)
  writer.u16(0)
  writer.u32(json.length)
  writer.u32(crc32c(json, crc32c(writer.written())))
  writer.bytes(json)
  return writer.finish()
}

/** The bytes that a complete recording ends with. */
export function encodeRecordingEnd(end: RecordingEnd): Uint8Array {
  const writer = new ByteWriter(END_BYTES)
  writer.u32(END_MAGIC)
  writer.u64(end.nextIndex)
  writer.u64(end.position)
  writer.u32(crc32c(writer.written()))
  return writer.finish()
}

/** How a recording ended, found by `RecordingDecoder.finish`. */
export type RecordingOutcome =
  | { readonly complete: true; readonly end: RecordingEnd }
  | { readonly complete: false; readonly place: LogPlace; readonly lostBytes: number }

/** Takes a recording in arbitrary pieces; used like BatchDecoder. */
export class RecordingDecoder {
  readonly #what: string
  readonly #queue = new ByteQueue()
  #header: RecordingHeader | undefined
  #batches: BatchDecoder | undefined
  #end: RecordingEnd | undefined
  readonly #fault = new StreamFault()

  /** `what` names the recording in errors. */
  constructor(what: string) {
    this.#what = what
  }

  /** The header, undefined until `next` has seen all of it. */
  get header(): RecordingHeader | undefined {
    return this.#header
  }

  push(bytes: Uint8Array): void {
    this.#queue.push(bytes)
  }

  /** The next whole batch, or undefined until more has arrived (or there is no more). Throws FormatError at damage. */
  next(): LogBatch | undefined {
    return this.#fault.watch(() => this.#next())
  }

  /** Declares the end of the file, after `next` has returned undefined, and says whether the recording is complete. */
  finish(): RecordingOutcome {
    this.#fault.throwAgain()
    const place = this.#batches?.place
    if (place === undefined)
      throw this.#error('cut off within the header', this.#queue.offset + this.#queue.length)
    if (this.#end !== undefined) return { complete: true, end: this.#end }
    return { complete: false, place, lostBytes: this.#queue.length }
  }

  #next(): LogBatch | undefined {
    if (this.#batches === undefined) {
      this.#header = this.#takeHeader()
      if (this.#header === undefined) return undefined
      const { life, start } = this.#header
      const { position, nextIndex } = start
      this.#batches = new BatchDecoder(this.#what, { life, position, nextIndex }, this.#queue)
    }
    if (this.#end !== undefined) {
      if (this.#queue.length > 0) throw this.#error('bytes behind the end mark')
      return undefined
    }
    const magic = this.#queue.peek(4)
    if (magic === undefined || new ByteReader(magic, '').u32() !== END_MAGIC) return this.#batches.next()
    this.#end = this.#takeEnd(this.#batches.place!)
    return this.#end === undefined ? undefined : this.#next()
  }

  #takeHeader(): RecordingHeader | undefined {
    const fixed = this.#queue.peek(FIXED_HEADER_BYTES)
    if (fixed === undefined) return undefined
    const reader = new ByteReader(fixed, this.#what)
    if (decodeAscii(reader.bytes(MAGIC.length)) !== decodeAscii(MAGIC))
      throw this.#error('not a recording', 0)
    const version = reader.u16()
    if (version !== VERSION)
      throw this.#error(`a recording of version ${version}, this program reads ${VERSION}`, 8)
    if (reader.u16() !== 0) throw this.#error('reserved bits are set', 10)
    const jsonBytes = reader.u32()
    if (jsonBytes > MAX_HEADER_JSON_BYTES) throw this.#error(`a header of ${jsonBytes} bytes`, 12)
    const whole = this.#queue.peek(FIXED_HEADER_BYTES + jsonBytes)
    if (whole === undefined) return undefined
    const json = whole.subarray(FIXED_HEADER_BYTES)
    const checksum = crc32c(json, crc32c(whole.subarray(0, FIXED_HEADER_BYTES - 4)))
    if (reader.u32() !== checksum) throw this.#error('the header has a wrong checksum', 16)
    const header = headerOf(decodeJson(json, `${this.#what}: byte ${FIXED_HEADER_BYTES}`), this.#what)
    this.#queue.skip(whole.length)
    return header
  }

  #takeEnd(place: LogPlace): RecordingEnd | undefined {
    const bytes = this.#queue.peek(END_BYTES)
    if (bytes === undefined) return undefined
    const reader = new ByteReader(bytes, this.#what, this.#queue.offset)
    reader.u32()
    const end = { nextIndex: reader.u64(), position: reader.u64() }
    if (reader.u32() !== crc32c(bytes.subarray(0, END_BYTES - 4))) throw this.#error('a damaged end mark')
    if (end.nextIndex !== place.nextIndex) {
      throw this.#error(`the end mark says index ${end.nextIndex}, the records end at ${place.nextIndex}`)
    }
    if (end.position < place.position)
      throw this.#error('the end mark is at a position before the last record')
    this.#queue.skip(END_BYTES)
    return end
  }

  #error(problem: string, offset = this.#queue.offset): FormatError {
    return new FormatError(`${this.#what}: byte ${offset}: ${problem}`)
  }
}

function headerOf(json: JsonObject, what: string): RecordingHeader {
  const { kind, life, machine, start, ...others } = json
  const extra = Object.keys(others)[0]
  if (kind !== 'recording') throw new FormatError(`${what}: the header is not a recording's`)
  if (extra !== undefined) throw new FormatError(`${what}: the header has an unknown field ${extra}`)
  if (typeof life !== 'number' || !Number.isInteger(life) || life < 0 || life > 0xffff_ffff) {
    throw new FormatError(`${what}: the header has no life`)
  }
  if (!isObject(machine)) throw new FormatError(`${what}: the header has no machine`)
  if (!isObject(start)) throw new FormatError(`${what}: the header has no start`)
  const snapshot = optionalText(start['snapshot'], `${what}: start.snapshot`)
  const disk = optionalText(start['disk'], `${what}: start.disk`)
  const position = unsigned(start['position'], `${what}: start.position`)
  const nextIndex = unsigned(start['nextIndex'], `${what}: start.nextIndex`)
  return { machine, life, start: { snapshot, position, nextIndex, disk } }
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function optionalText(value: JsonValue | undefined, what: string): string | undefined {
  if (value === null) return undefined
  if (typeof value !== 'string') throw new FormatError(`${what} is not a text`)
  return value
}

function unsigned(value: JsonValue | undefined, what: string): bigint {
  if (typeof value !== 'string' || !/^(0|[1-9][0-9]{0,19})$/.test(value) || BigInt(value) > U64_MAX) {
    throw new FormatError(`${what} is not an unsigned 64-bit number`)
  }
  return BigInt(value)
}

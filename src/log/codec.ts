/**
 * Records as bytes. A record is a tag, the distance in steps from the record before, and its fields:
 *
 *     tag u8: kind in the low 4 bits, the kind's flags in the high 4 | position delta varint | fields
 *
 *     1 input        port varint, length varint, bytes
 *     2 clock        base - previous base varint64, cap - base varint64, [rate varint64], [rtcOffsetNs varint64]
 *                    flag 1: rate follows; flag 2: RTC offset follows; else they are as in the clock record before
 *     3 completion   request varint, [digest u64]; flags 1-2: status; flag 4: digest follows
 *     4 control      argument varint64; flags: operation
 *     5 reached      -
 *     6 output       port varint, ordinal varint64, digest u64
 *     7 released     port varint, ordinal varint64
 *     8 digest       digest u64, [first page varint, pages varint, digest u64]; flag 1: slice follows
 *
 * Differences of clock values are taken modulo 2^64. The state that deltas refer to (`RecordContext`) starts anew
 * with each batch, so that every batch can be read alone.
 */
import { assert, unreachable } from '../base/assert.ts'
import { type ByteReader, type ByteWriter, U64_MAX } from '../base/bytes.ts'
import {
  type ClockRecord,
  COMPLETION_STATUSES,
  CONTROL_OPERATIONS,
  type CompletionRecord,
  type DigestRecord,
  type LogRecord,
  type NewRecord,
} from './record.ts'

/** The longest input, in bytes: above any frame with offloads (64 KiB) and any sensible paste into a console. */
export const MAX_INPUT_BYTES = 1 << 20
/** The longest record: an input of MAX_INPUT_BYTES with its tag and numbers. */
export const MAX_RECORD_BYTES = MAX_INPUT_BYTES + 32
/** Ports are small numbers. */
export const MAX_PORT = 0xffff

const KIND = {
  input: 1,
  clock: 2,
  completion: 3,
  control: 4,
  reached: 5,
  output: 6,
  released: 7,
  digest: 8,
} as const

const FLAG_RATE = 1
const FLAG_RTC_OFFSET = 2
const FLAG_COMPLETION_DIGEST = 4
const FLAG_SLICE = 1

/** What the next record's deltas refer to. */
export class RecordContext {
  position: bigint
  clockBase = 0n
  clockRate = 0n
  clockRtcOffsetNs = 0n

  constructor(position: bigint) {
    this.position = position
  }
}

/** Writes one record and moves the context behind it. */
export function encodeRecord(writer: ByteWriter, context: RecordContext, record: NewRecord): void {
  assert(
    record.position >= context.position,
    `a record at ${record.position} follows one at ${context.position}`,
  )
  switch (record.kind) {
    case 'input':
      assert(record.bytes.length <= MAX_INPUT_BYTES, () => `an input of ${record.bytes.length} bytes`)
      start(writer, context, record, 0)
      writePort(writer, record.port)
      writer.varint(record.bytes.length)
      writer.bytes(record.bytes)
      return
    case 'clock':
      encodeClock(writer, context, record)
      return
    case 'completion':
      encodeCompletion(writer, context, record)
      return
    case 'control':
      start(writer, context, record, CONTROL_OPERATIONS.indexOf(record.operation))
      writer.varint64(record.argument)
      return
    case 'reached':
      start(writer, context, record, 0)
      return
    case 'output':
      start(writer, context, record, 0)
      writePort(writer, record.port)
      writer.varint64(record.ordinal)
      writer.u64(record.digest)
      return
    case 'released':
      start(writer, context, record, 0)
      writePort(writer, record.port)
      writer.varint64(record.ordinal)
      return
    case 'digest':
      encodeDigest(writer, context, record)
      return
    default:
      unreachable(record)
  }
}

/** Reads one record. Throws FormatError at whatever an encoder would not have written. */
export function decodeRecord(reader: ByteReader, context: RecordContext, index: bigint): LogRecord {
  const tag = reader.u8()
  const kind = tag & 15
  const flags = tag >> 4
  const position = readPosition(reader, context)
  const limit = FLAG_LIMITS[kind]
  if (limit === undefined) throw reader.error(`a record of unknown kind ${kind}`)
  if (flags >= limit) throw reader.error(`a record of kind ${kind} with unknown flags ${flags}`)
  switch (kind) {
    case KIND.input: {
      const port = reader.varint(MAX_PORT)
      // A copy: the bytes must outlive the buffer that the batch arrived in.
      return {
        kind: 'input',
        index,
        position,
        port,
        bytes: reader.bytes(reader.varint(MAX_INPUT_BYTES)).slice(),
      }
    }
    case KIND.clock:
      return decodeClock(reader, context, index, flags)
    case KIND.completion: {
      const status = COMPLETION_STATUSES[flags & 3]
      if (status === undefined) throw reader.error('a completion of unknown status')
      const request = reader.varint(0xffff_ffff)
      const digest = flags & FLAG_COMPLETION_DIGEST ? reader.u64() : undefined
      return { kind: 'completion', index, position, request, status, digest }
    }
    case KIND.control:
      return {
        kind: 'control',
        index,
        position,
        operation: CONTROL_OPERATIONS[flags]!,
        argument: reader.varint64(),
      }
    case KIND.reached:
      return { kind: 'reached', index, position }
    case KIND.output: {
      const port = reader.varint(MAX_PORT)
      const ordinal = reader.varint64()
      return { kind: 'output', index, position, port, ordinal, digest: reader.u64() }
    }
    case KIND.released: {
      const port = reader.varint(MAX_PORT)
      return { kind: 'released', index, position, port, ordinal: reader.varint64() }
    }
    default:
      return decodeDigest(reader, index, position, flags)
  }
}

/** For each kind the number above its largest flags; undefined where there is no such kind. */
const FLAG_LIMITS = [undefined, 1, 4, 8, CONTROL_OPERATIONS.length, 1, 1, 1, 2]

function start(writer: ByteWriter, context: RecordContext, record: NewRecord, flags: number): void {
  writer.u8(KIND[record.kind] | (flags << 4))
  if (record.position === context.position) {
    writer.u8(0)
    return
  }
  writer.varint64(record.position - context.position)
  context.position = record.position
}

function readPosition(reader: ByteReader, context: RecordContext): bigint {
  const delta = reader.varint64()
  if (delta === 0n) return context.position
  const position = context.position + delta
  if (position > U64_MAX) throw reader.error('a position above 64 bits')
  context.position = position
  return position
}

function writePort(writer: ByteWriter, port: number): void {
  assert(port <= MAX_PORT, () => `not a port: ${port}`)
  writer.varint(port)
}

function encodeClock(writer: ByteWriter, context: RecordContext, record: Omit<ClockRecord, 'index'>): void {
  assert(record.rate > 0n, 'the clock stands still')
  const rateChanged = record.rate !== context.clockRate
  const rtcChanged = record.rtcOffsetNs !== context.clockRtcOffsetNs
  start(writer, context, record, (rateChanged ? FLAG_RATE : 0) | (rtcChanged ? FLAG_RTC_OFFSET : 0))
  writer.varint64(BigInt.asUintN(64, record.base - context.clockBase))
  writer.varint64(BigInt.asUintN(64, record.cap - record.base))
  if (rateChanged) writer.varint64(record.rate)
  if (rtcChanged) writer.varint64(record.rtcOffsetNs)
  context.clockBase = record.base
  context.clockRate = record.rate
  context.clockRtcOffsetNs = record.rtcOffsetNs
}

function decodeClock(reader: ByteReader, context: RecordContext, index: bigint, flags: number): ClockRecord {
  const base = BigInt.asUintN(64, context.clockBase + reader.varint64())
  const cap = BigInt.asUintN(64, base + reader.varint64())
  const rate = flags & FLAG_RATE ? reader.varint64() : context.clockRate
  const rtcOffsetNs = flags & FLAG_RTC_OFFSET ? reader.varint64() : context.clockRtcOffsetNs
  if (rate === 0n) throw reader.error('a clock that stands still')
  context.clockBase = base
  context.clockRate = rate
  context.clockRtcOffsetNs = rtcOffsetNs
  return { kind: 'clock', index, position: context.position, base, rate, cap, rtcOffsetNs }
}

function encodeCompletion(
  writer: ByteWriter,
  context: RecordContext,
  record: Omit<CompletionRecord, 'index'>,
): void {
  assert(record.request <= 0xffff_ffff, () => `not a request: ${record.request}`)
  const hasDigest = record.digest === undefined ? 0 : FLAG_COMPLETION_DIGEST
  start(writer, context, record, COMPLETION_STATUSES.indexOf(record.status) | hasDigest)
  writer.varint(record.request)
  if (record.digest !== undefined) writer.u64(record.digest)
}

function encodeDigest(writer: ByteWriter, context: RecordContext, record: Omit<DigestRecord, 'index'>): void {
  start(writer, context, record, record.slice === undefined ? 0 : FLAG_SLICE)
  writer.u64(record.digest)
  if (record.slice === undefined) return
  writer.varint(record.slice.firstPage)
  writer.varint(record.slice.pages)
  writer.u64(record.slice.digest)
}

function decodeDigest(reader: ByteReader, index: bigint, position: bigint, flags: number): DigestRecord {
  const digest = reader.u64()
  if (!(flags & FLAG_SLICE)) return { kind: 'digest', index, position, digest, slice: undefined }
  const firstPage = reader.varint()
  const pages = reader.varint()
  return { kind: 'digest', index, position, digest, slice: { firstPage, pages, digest: reader.u64() } }
}

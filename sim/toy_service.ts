/**
 * The software of the toy machine: a store of values by key, as its clients and its disk see it.
 *
 *     request    client u32 | operation u32 | kind u8 | key u8 | zero u16 | value u32 | expected u32
 *     answer     client u32 | operation u32 | status u8 | zero u8, u16 | value u32 | served u32 | boot u32
 *
 *     disk       count of flushes, twice | for each key its record, twice
 *     record     version u32 | value u32 | key u32 | zero u32 | hash u64 of the 16 bytes before | zero u64
 *
 * A value of 0 means that there is none. A write goes to that record of a pair which is not the newest one known to be
 * durable, so that a write that fails, or is torn, leaves the old value; the hash tells a torn one. `served` counts the
 * requests of the client since boot in RAM alone, and `boot` names the boot: a client sees by them if RAM was lost.
 */
import { hash64 } from '../src/base/hash64.ts'

export const KEYS = 6
/** Which key holds the count of flushes. */
export const FLUSH_KEY = KEYS
export const RECORD_BYTES = 32
export const DISK_BYTES = 512
export const CLIENTS_MAX = 30

export const REQUEST_KINDS = ['get', 'put', 'cas', 'delete', 'increment'] as const
export type RequestKind = (typeof REQUEST_KINDS)[number]

export const ANSWER_STATUSES = ['done', 'not done', 'disk error'] as const
export type AnswerStatus = (typeof ANSWER_STATUSES)[number]

export interface Request {
  readonly client: number
  readonly operation: number
  readonly kind: RequestKind
  readonly key: number
  readonly value: number
  readonly expected: number
}

export interface Answer {
  readonly client: number
  readonly operation: number
  readonly status: AnswerStatus
  readonly value: number
  readonly served: number
  readonly boot: number
}

const REQUEST_BYTES = 20
const ANSWER_BYTES = 24

export function encodeRequest({ client, operation, kind, key, value, expected }: Request): Uint8Array {
  const bytes = new Uint8Array(REQUEST_BYTES)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, client, true)
  view.setUint32(4, operation, true)
  bytes[8] = REQUEST_KINDS.indexOf(kind)
  bytes[9] = key
  view.setUint32(12, value, true)
  view.setUint32(16, expected, true)
  return bytes
}

/** A request, or undefined if the bytes are none. */
export function decodeRequest(bytes: Uint8Array): Request | undefined {
  const kind = REQUEST_KINDS[bytes[8] ?? 255]
  if (bytes.length !== REQUEST_BYTES || kind === undefined || bytes[9]! >= KEYS) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const client = view.getUint32(0, true)
  if (client >= CLIENTS_MAX) return undefined
  return {
    client,
    operation: view.getUint32(4, true),
    kind,
    key: bytes[9]!,
    value: view.getUint32(12, true),
    expected: view.getUint32(16, true),
  }
}

export function encodeAnswer({ client, operation, status, value, served, boot }: Answer): Uint8Array {
  const bytes = new Uint8Array(ANSWER_BYTES)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, client, true)
  view.setUint32(4, operation, true)
  bytes[8] = ANSWER_STATUSES.indexOf(status)
  view.setUint32(12, value, true)
  view.setUint32(16, served, true)
  view.setUint32(20, boot, true)
  return bytes
}

/** An answer, or undefined if the bytes are none: only a machine gone wrong sends such. */
export function decodeAnswer(bytes: Uint8Array): Answer | undefined {
  const status = ANSWER_STATUSES[bytes[8] ?? 255]
  if (bytes.length !== ANSWER_BYTES || status === undefined) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  return {
    client: view.getUint32(0, true),
    operation: view.getUint32(4, true),
    status,
    value: view.getUint32(12, true),
    served: view.getUint32(16, true),
    boot: view.getUint32(20, true),
  }
}

/** What a key that holds `value` holds after the request; undefined if the request writes nothing. */
export function valueAfter({ kind, value, expected }: Request, old: number): number | undefined {
  switch (kind) {
    case 'get':
      return undefined
    case 'put':
      return value
    case 'cas':
      return old === expected ? value : undefined
    case 'delete':
      return old === 0 ? undefined : 0
    case 'increment':
      return (old + 1) >>> 0
  }
}

/** What a key holds on the disk, and in which of its two places. */
export interface StoredRecord {
  readonly key: number
  readonly version: number
  readonly value: number
  readonly place: 0 | 1
}

export function recordOffset(key: number, place: 0 | 1): number {
  // The count of flushes comes first.
  const row = key === FLUSH_KEY ? 0 : key + 1
  return (row * 2 + place) * RECORD_BYTES
}

export function encodeRecord({ key, version, value }: Omit<StoredRecord, 'place'>): Uint8Array {
  const bytes = new Uint8Array(RECORD_BYTES)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, version, true)
  view.setUint32(4, value, true)
  view.setUint32(8, key, true)
  view.setBigUint64(16, hash64(bytes.subarray(0, 16)), true)
  return bytes
}

/** The value of a record's bytes, or undefined if it is torn or was never written. */
export function decodeRecord(bytes: Uint8Array, key: number): Omit<StoredRecord, 'place'> | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  if (view.getBigUint64(16, true) !== hash64(bytes.subarray(0, 16))) return undefined
  if (view.getUint32(8, true) !== key) return undefined
  return { key, version: view.getUint32(0, true), value: view.getUint32(4, true) }
}

/** The newer of a key's two records. */
export function recoverRecord(disk: Uint8Array, key: number): StoredRecord {
  let newest: StoredRecord = { key, version: 0, value: 0, place: 1 }
  for (const place of [0, 1] as const) {
    const offset = recordOffset(key, place)
    const found = decodeRecord(disk.subarray(offset, offset + RECORD_BYTES), key)
    if (found !== undefined && found.version > newest.version) newest = { ...found, place }
  }
  return newest
}

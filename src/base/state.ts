/**
 * Named state: how devices and harts write themselves into snapshots and digests.
 *
 * A state is a flat list of named fields, `plic.priority[3]`-like paths in the order of writing. The writer and the
 * reader of one component mirror each other line by line; the reader checks every name and type, so that a schema
 * that moved is refused instead of misread, and two states can be compared field by field (`firstDifference`).
 *
 *     field := kind u8 | name length u8 | name (ASCII) | payload
 *     kind 1 section: version u16         kind 2 u32: 4 bytes        kind 3 u64: 8 bytes
 *     kind 4 bytes: length u32, bytes     kind 5 end of section
 *
 * All numbers are little-endian.
 */
import { assert } from './assert.ts'
import { ByteReader } from './bytes.ts'
import { FormatError } from './errors.ts'
import { decodeAscii, encodeAscii } from './text.ts'

const KIND_SECTION = 1
const KIND_U32 = 2
const KIND_U64 = 3
const KIND_BYTES = 4
const KIND_END = 5

export class StateWriter {
  #buffer = new Uint8Array(1024)
  #view = new DataView(this.#buffer.buffer)
  #length = 0

  /** Writes a component: `name` with its schema's `version`, and the fields that `body` writes. */
  section(name: string, version: number, body: () => void): void {
    this.#header(KIND_SECTION, name)
    this.#reserve(2)
    this.#view.setUint16(this.#length, version, true)
    this.#length += 2
    body()
    this.#header(KIND_END, '')
  }

  u32(name: string, value: number): void {
    assert(
      Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff,
      `state field ${name} is not a u32: ${value}`,
    )
    this.#header(KIND_U32, name)
    this.#reserve(4)
    this.#view.setUint32(this.#length, value, true)
    this.#length += 4
  }

  flag(name: string, value: boolean): void {
    this.u32(name, value ? 1 : 0)
  }

  u64(name: string, value: bigint): void {
    this.#header(KIND_U64, name)
    this.#reserve(8)
    this.#view.setBigUint64(this.#length, BigInt.asUintN(64, value), true)
    this.#length += 8
  }

  bytes(name: string, value: Uint8Array): void {
    this.#header(KIND_BYTES, name)
    this.#reserve(4 + value.length)
    this.#view.setUint32(this.#length, value.length, true)
    this.#buffer.set(value, this.#length + 4)
    this.#length += 4 + value.length
  }

  /** The state written so far, as a copy. */
  finish(): Uint8Array {
    return this.#buffer.slice(0, this.#length)
  }

  #header(kind: number, name: string): void {
    const encoded = encodeAscii(name)
    assert(encoded.length < 256, `state field name too long: ${name}`)
    this.#reserve(2 + encoded.length)
    this.#buffer[this.#length] = kind
    this.#buffer[this.#length + 1] = encoded.length
    this.#buffer.set(encoded, this.#length + 2)
    this.#length += 2 + encoded.length
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#buffer.length) return
    const grown = new Uint8Array(Math.max(this.#buffer.length * 2, this.#length + count))
    grown.set(this.#buffer)
    this.#buffer = grown
    this.#view = new DataView(grown.buffer)
  }
}

/** Reads what a StateWriter wrote. Every mismatch throws a FormatError that names the field. */
export class StateReader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #position = 0
  #path: string[] = []

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  section(name: string, version: number, body: () => void): void {
    this.#header(KIND_SECTION, name)
    const found = this.#view.getUint16(this.#take(2, name), true)
    if (found !== version)
      throw this.#error(name, `has version ${found}, this program reads version ${version}`)
    this.#path.push(name)
    body()
    this.#header(KIND_END, '')
    this.#path.pop()
  }

  u32(name: string): number {
    this.#header(KIND_U32, name)
    return this.#view.getUint32(this.#take(4, name), true)
  }

  flag(name: string): boolean {
    const value = this.u32(name)
    if (value > 1) throw this.#error(name, `is not a flag: ${value}`)
    return value === 1
  }

  u64(name: string): bigint {
    this.#header(KIND_U64, name)
    return this.#view.getBigUint64(this.#take(8, name), true)
  }

  bytes(name: string): Uint8Array {
    this.#header(KIND_BYTES, name)
    const length = this.#view.getUint32(this.#take(4, name), true)
    const start = this.#take(length, name)
    return this.#bytes.slice(start, start + length)
  }

  /** Throws unless everything has been read. */
  finish(): void {
    if (this.#position !== this.#bytes.length)
      throw this.#error('end', 'is followed by bytes that do not belong')
  }

  #header(kind: number, name: string): void {
    const start = this.#take(2, name)
    const length = this.#bytes[start + 1]!
    const nameStart = this.#take(length, name)
    const found = decodeAscii(this.#bytes.subarray(nameStart, nameStart + length))
    if (this.#bytes[start] !== kind || found !== name) throw this.#error(name, `expected, found '${found}'`)
  }

  #take(count: number, name: string): number {
    const start = this.#position
    if (start + count > this.#bytes.length) throw this.#error(name, 'is cut off')
    this.#position = start + count
    return start
  }

  #error(name: string, what: string): FormatError {
    return new FormatError(`machine state: ${[...this.#path, name].join('.')} ${what}`)
  }
}

/** One field of a state, with the path of its sections. */
export interface StateField {
  readonly path: string
  /** A number, or the content of a field of bytes. */
  readonly value: bigint | Uint8Array
}

/** Lists the fields of a state, for people and for comparisons. Throws FormatError at what is none. */
export function* stateFields(bytes: Uint8Array): Generator<StateField> {
  const reader = new ByteReader(bytes, 'machine state')
  const path: string[] = []
  while (reader.remaining > 0) {
    const kind = reader.u8()
    const name = decodeAscii(reader.bytes(reader.u8()))
    if (kind === KIND_SECTION) {
      path.push(name)
      reader.u16()
    } else if (kind === KIND_END) {
      path.pop()
    } else {
      yield { path: [...path, name].join('.'), value: fieldValue(reader, kind) }
    }
  }
}

function fieldValue(reader: ByteReader, kind: number): bigint | Uint8Array {
  if (kind === KIND_U32) return BigInt(reader.u32())
  if (kind === KIND_U64) return reader.u64()
  if (kind === KIND_BYTES) return reader.bytes(reader.u32())
  throw reader.error(`unknown kind of field ${kind}`)
}

/** A field in which two states differ, with both values in hexadecimal. */
export interface StateDifference {
  /** In a field of bytes with the offset of the first byte that differs, `uart0.received[3]`. */
  readonly path: string
  readonly left: string
  readonly right: string
}

/** Bytes that a difference shows of a field. */
const SHOWN_BYTES = 8

/** The first field in which two states differ, or undefined if they are equal. */
export function firstDifference(left: Uint8Array, right: Uint8Array): StateDifference | undefined {
  const fieldsRight = stateFields(right)
  for (const field of stateFields(left)) {
    const other = fieldsRight.next().value
    if (other?.path !== field.path) {
      const found = other === undefined ? '(absent)' : `(${other.path})`
      return { path: field.path, left: show(field.value), right: found }
    }
    const difference = fieldDifference(field, other)
    if (difference !== undefined) return difference
  }
  const extra = fieldsRight.next().value
  return extra && { path: extra.path, left: '(absent)', right: show(extra.value) }
}

function fieldDifference(left: StateField, right: StateField): StateDifference | undefined {
  const { path } = left
  if (typeof left.value === 'bigint' || typeof right.value === 'bigint') {
    if (left.value === right.value) return undefined
    return { path, left: show(left.value), right: show(right.value) }
  }
  const length = Math.max(left.value.length, right.value.length)
  for (let at = 0; at < length; at++) {
    if (left.value[at] === right.value[at]) continue
    return { path: `${path}[${at}]`, left: show(left.value, at), right: show(right.value, at) }
  }
  return undefined
}

/** A value for people; of bytes, those from offset `start` on, as far as there is room. */
function show(value: bigint | Uint8Array, start = 0): string {
  if (typeof value === 'bigint') return `0x${value.toString(16)}`
  if (start >= value.length) return `(ends after ${value.length} bytes)`
  const shown = Array.from(value.subarray(start, start + SHOWN_BYTES), (byte) =>
    byte.toString(16).padStart(2, '0'),
  )
  return `${shown.join(' ')}${start + SHOWN_BYTES < value.length ? ' ...' : ''}`
}

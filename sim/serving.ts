/** The request that the toy machine serves at the moment, and its disk requests, with their places in a snapshot. */
import type { StateReader, StateWriter } from '../src/base/state.ts'
import type { DiskRequest } from './machine_ports.ts'

export interface Serving {
  /** The request. */
  readonly bytes: Uint8Array
  /** Numbers of the disk requests that it waits for. */
  waits: number[]
  isFailed: boolean
  isWriting: boolean
  /** What a write brings, once it is durable. */
  value: number
  version: number
  place: 0 | 1
  /** The value that a disk read has found. */
  found: number | undefined
}

export function saveServing(writer: StateWriter, serving: Serving): void {
  writer.section('serving', 1, () => {
    writer.bytes('bytes', serving.bytes)
    writer.u32('waits', serving.waits.length)
    for (const wait of serving.waits) writer.u32('wait', wait)
    writer.flag('isFailed', serving.isFailed)
    writer.flag('isWriting', serving.isWriting)
    writer.u32('value', serving.value)
    writer.u32('version', serving.version)
    writer.u32('place', serving.place)
    writer.flag('isFound', serving.found !== undefined)
    writer.u32('found', serving.found ?? 0)
  })
}

export function loadServing(reader: StateReader): Serving {
  let serving: Serving | undefined
  reader.section('serving', 1, () => {
    const bytes = reader.bytes('bytes')
    const waits = Array.from({ length: reader.u32('waits') }, () => reader.u32('wait'))
    const isFailed = reader.flag('isFailed')
    const isWriting = reader.flag('isWriting')
    const value = reader.u32('value')
    const version = reader.u32('version')
    const place = reader.u32('place') as 0 | 1
    const isFound = reader.flag('isFound')
    const found = reader.u32('found')
    serving = { bytes, waits, isFailed, isWriting, value, version, place, found: isFound ? found : undefined }
  })
  return serving!
}

const KINDS = ['read', 'write', 'flush'] as const

export function saveRequest(writer: StateWriter, { kind, number, offset, length, bytes }: DiskRequest): void {
  writer.u32('kind', KINDS.indexOf(kind))
  writer.u32('number', number)
  writer.u32('offset', offset)
  writer.u32('length', length)
  writer.bytes('bytes', bytes)
}

export function loadRequest(reader: StateReader): DiskRequest {
  return {
    kind: KINDS[reader.u32('kind')]!,
    number: reader.u32('number'),
    offset: reader.u32('offset'),
    length: reader.u32('length'),
    bytes: reader.bytes('bytes'),
  }
}

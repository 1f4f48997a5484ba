/**
 * What was seen of the guest at the ports of a bridge: files of tcpdump, read and judged. All copies of a guest continue
 * the same TCP connection, so at one sequence number they may put out only one byte.
 */
import { readFileSync } from 'node:fs'

const FILE_HEADER_BYTES = 24
const RECORD_HEADER_BYTES = 16
const MAGIC_MICROSECONDS = 0xa1b2c3d4
const ETHERNET_BYTES = 14
const TYPE_IPV4 = 0x0800
const PROTOCOL_TCP = 6
const CONTRADICTIONS_MAX = 10

/** A frame that has come into a port of the bridge. */
export interface SeenFrame {
  readonly port: string
  /** Since 1970, in milliseconds. */
  readonly atMs: number
  readonly bytes: Uint8Array
}

/** Reads a file of tcpdump's that may still be written: what is cut off at its end is left. */
export function readCapture(path: string, port: string): SeenFrame[] {
  return parseCapture(readFileSync(path), port)
}

export function parseCapture(file: Uint8Array, port: string): SeenFrame[] {
  const view = new DataView(file.buffer, file.byteOffset, file.length)
  if (file.length < FILE_HEADER_BYTES) return []
  const isLittle = view.getUint32(0, true) === MAGIC_MICROSECONDS
  if (!isLittle && view.getUint32(0) !== MAGIC_MICROSECONDS) throw new Error('no file of tcpdump')
  const frames: SeenFrame[] = []
  for (let at = FILE_HEADER_BYTES; at + RECORD_HEADER_BYTES <= file.length; ) {
    const length = view.getUint32(at + 8, isLittle)
    const start = at + RECORD_HEADER_BYTES
    if (start + length > file.length) break
    const atMs = view.getUint32(at, isLittle) * 1000 + view.getUint32(at + 4, isLittle) / 1000
    frames.push({ port, atMs, bytes: file.subarray(start, start + length) })
    at = start + length
  }
  return frames
}

interface Segment {
  /** Tells connections apart. */
  readonly connection: string
  readonly sequence: number
  readonly payload: Uint8Array
}

/** The data of TCP in a frame; undefined if it has none. */
function segmentOf({ bytes }: SeenFrame): Segment | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  if (bytes.length < 54 || view.getUint16(12) !== TYPE_IPV4 || bytes[23] !== PROTOCOL_TCP) return undefined
  const tcp = ETHERNET_BYTES + (bytes[14]! & 15) * 4
  const start = tcp + (bytes[tcp + 12]! >> 4) * 4
  // Short frames are filled up.
  const payload = bytes.subarray(start, ETHERNET_BYTES + view.getUint16(16))
  if (payload.length === 0) return undefined
  const target = [...bytes.subarray(30, 34)].join('.')
  const connection = `${view.getUint16(tcp)} > ${target}:${view.getUint16(tcp + 2)}`
  return { connection, sequence: view.getUint32(tcp + 4), payload }
}

/** The bytes of all connections, by their places, as they have been seen first. */
export class SeenStreams {
  readonly #connections = new Map<string, Map<number, number>>()
  /** Where one place has had two values; some of them. */
  readonly contradictions: string[] = []

  /** How many different bytes have been seen. */
  get size(): number {
    return [...this.#connections.values()].reduce((sum, { size }) => sum + size, 0)
  }

  add(frame: SeenFrame): void {
    const segment = segmentOf(frame)
    if (segment === undefined) return
    const { connection, sequence, payload } = segment
    const seen = this.#connections.get(connection) ?? new Map<number, number>()
    this.#connections.set(connection, seen)
    payload.forEach((value, i) => {
      const place = (sequence + i) >>> 0
      const before = seen.get(place)
      if (before === undefined) seen.set(place, value)
      else if (before !== value && this.contradictions.length < CONTRADICTIONS_MAX)
        this.contradictions.push(`${connection} ${place}: ${before}, and ${value} from ${frame.port}`)
    })
  }

  /** How many bytes of a frame have not been seen like this, at their places. */
  strangeBytes(frame: SeenFrame): number {
    const segment = segmentOf(frame)
    if (segment === undefined) return 0
    const seen = this.#connections.get(segment.connection)
    const isStrange = (value: number, i: number): boolean => seen?.get((segment.sequence + i) >>> 0) !== value
    return segment.payload.filter(isStrange).length
  }
}

export interface LateFrames {
  readonly frames: number
  /** Bytes of data in them that the survivor does not put out like this, and that had not left before. */
  readonly strangeBytes: number
}

/** What the old primary's port has put out since `sinceMs`, when its successor was live. */
export function lateFrames(frames: readonly SeenFrame[], old: string, sinceMs: number): LateFrames {
  const isLate = ({ port, atMs }: SeenFrame): boolean => port === old && atMs >= sinceMs
  const late = frames.filter(isLate)
  const known = new SeenStreams()
  if (late.length > 0) for (const frame of frames) if (!isLate(frame)) known.add(frame)
  return {
    frames: late.length,
    strangeBytes: late.reduce((sum, frame) => sum + known.strangeBytes(frame), 0),
  }
}

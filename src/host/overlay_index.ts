/**
 * The index of an overlay: a journal that says where each block is.
 *
 *     header  magic "UNDSTOVL" | version u16 | frozen u8 | reserved u8 | reserved u32 | sectors u64 |
 *             identity 16 | base digest 32 | CRC-32 of what precedes u32
 *     frame   magic "OVFR" u32 | sequence u32 | payload bytes u32 | payload CRC-32 u32 |
 *             CRC-32 of what precedes, seeded with the identity u32 | payload
 *     entry   1 data: block, count, slot varints | 2 zeros: block, count varints | 3 generation: 16 bytes
 *
 * A frame is durable before the next one is begun. So after a crash only the last frame can be torn: it is cut off,
 * and the overlay is what the last finished flush left. Damage that is followed by a valid frame is no crash, and
 * refused. Entries count in order. The journal is rewritten, atomically, when it has grown past its need.
 */
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { crc32 } from 'node:zlib'
import { assert } from '../base/assert.ts'
import { ByteReader, ByteWriter } from '../base/bytes.ts'
import { FormatError } from '../base/errors.ts'
import { decodeAscii, encodeAscii } from '../base/text.ts'
import { replaceFile, syncDirectory, temporaryName } from './atomic_file.ts'
import { readInto, writeAll } from './base_image.ts'
import { BlockMap, type BlockRun, ZERO } from './block_map.ts'
import { systemErrorCode } from './file_error.ts'

const MAGIC = encodeAscii('UNDSTOVL')
const VERSION = 1
export const INDEX_HEADER_BYTES = 76
const FRAME_MAGIC = 0x5246_564f
const FRAME_HEADER_BYTES = 20
/** A frame's entries; more take several frames. */
const PAYLOAD_BYTES_MAX = 1 << 20
const ENTRY_BYTES_MAX = 32
const ENTRY_DATA = 1
const ENTRY_ZERO = 2
const ENTRY_GENERATION = 3

/** Slots and blocks are 32-bit in memory: 8 TiB. */
const BLOCK_MAX = 0x7fff_ffff

/** What an index says about its overlay, once and for all. */
export interface OverlayHeader {
  /** Ties index and data file together; 32 hexadecimal digits. */
  readonly identity: string
  /** SHA-256 of the base image; 64 hexadecimal digits. */
  readonly baseDigest: string
  readonly sectors: number
  /** Part of a snapshot: never written again. */
  readonly frozen: boolean
}

/** An index that was read. */
export interface OpenedIndex {
  readonly index: OverlayIndex
  readonly map: BlockMap
  readonly generation: string
}

export class OverlayIndex {
  readonly path: string
  readonly header: OverlayHeader
  #file: FileHandle
  #end: number
  #sequence: number
  /** Size after the last rewrite, or when opened. */
  #needed: number

  private constructor(path: string, header: OverlayHeader, file: FileHandle, end: number, sequence: number) {
    this.path = path
    this.header = header
    this.#file = file
    this.#end = end
    this.#sequence = sequence
    this.#needed = end
  }

  /** Writes a new index of the given content, atomically. */
  static async write(path: string, header: OverlayHeader, map: BlockMap, generation: string): Promise<void> {
    await replaceFile(path, (file) => file.writeFile(encodeIndex(header, map, generation).bytes))
  }

  /** Reads an index. If `writable`, a torn last frame is cut off, and the rest made durable. Throws FormatError naming the place of damage. */
  static async open(path: string, writable: boolean): Promise<OpenedIndex> {
    const file = await open(path, writable ? 'r+' : 'r')
    try {
      const bytes = new Uint8Array((await file.stat()).size)
      await readInto(file, bytes, 0)
      const header = decodeHeader(bytes, `overlay index ${path}`)
      const content = decodeFrames(bytes, header, `overlay index ${path}`)
      if (writable) {
        if (content.end < bytes.length) await file.truncate(content.end)
        // What a dead process wrote last is read, and built upon: a power cut must not take it back any more.
        await file.sync()
        await syncDirectory(dirname(path))
      }
      const index = new OverlayIndex(path, header, file, content.end, content.sequence)
      return { index, map: content.map, generation: content.generation }
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** Whether `rewrite` would make the index much smaller. */
  get wasteful(): boolean {
    return this.#end > Math.max(4 << 20, 3 * this.#needed)
  }

  /** Makes runs durable, in order. A failed call can be repeated. */
  async append(runs: Iterable<BlockRun>): Promise<void> {
    for (const payload of payloads(runs)) await this.#appendFrame(payload)
  }

  /** Makes a new generation durable. */
  async stamp(generation: string): Promise<void> {
    await this.#appendFrame(generationEntry(generation))
  }

  /**
   * Replaces the journal by the shortest one. `map` must hold nothing but what is durable. Where there is no room for
   * it the longer journal stays.
   */
  async rewrite(map: BlockMap, generation: string): Promise<void> {
    // Encoded before the first pause, since the map goes on changing.
    const { bytes, sequence } = encodeIndex(this.header, map, generation)
    const file = await writeBeside(this.path, bytes)
    if (file === undefined) return
    const old = this.#file
    this.#file = file
    this.#end = bytes.length
    this.#needed = bytes.length
    this.#sequence = sequence
    await old.close()
    await syncDirectory(dirname(this.path))
  }

  async close(): Promise<void> {
    await this.#file.close()
  }

  async #appendFrame(payload: Uint8Array): Promise<void> {
    const frame = encodeFrame(this.header, this.#sequence, payload)
    await writeAll(this.#file, frame, this.#end)
    await this.#file.datasync()
    this.#end += frame.length
    this.#sequence++
  }
}

/** Puts a new file in the place of an old one; undefined, and the old one stays, if that fails. */
async function writeBeside(path: string, bytes: Uint8Array): Promise<FileHandle | undefined> {
  const temporary = temporaryName(path)
  let file: FileHandle | undefined
  try {
    file = await open(temporary, 'wx+')
    await writeAll(file, bytes, 0)
    await file.sync()
    await rename(temporary, path)
    return file
  } catch (error) {
    await file?.close()
    await rm(temporary, { force: true })
    if (systemErrorCode(error) === undefined) throw error
    return undefined
  }
}

function encodeIndex(
  header: OverlayHeader,
  map: BlockMap,
  generation: string,
): { bytes: Uint8Array; sequence: number } {
  const writer = new ByteWriter(4096)
  writer.bytes(encodeHeader(header))
  writer.bytes(encodeFrame(header, 0, generationEntry(generation)))
  let sequence = 1
  for (const payload of payloads(map.runs())) writer.bytes(encodeFrame(header, sequence++, payload))
  return { bytes: writer.finish(), sequence }
}

function encodeHeader(header: OverlayHeader): Uint8Array {
  const writer = new ByteWriter(INDEX_HEADER_BYTES)
  writer.bytes(MAGIC)
  writer.u16(VERSION)
  writer.u8(header.frozen ? 1 : 0)
  writer.u8(0)
  writer.u32(0)
  writer.u64(BigInt(header.sectors))
  writer.bytes(Buffer.from(header.identity, 'hex'))
  writer.bytes(Buffer.from(header.baseDigest, 'hex'))
  writer.u32(crc32(writer.written()))
  assert(writer.length === INDEX_HEADER_BYTES, 'an overlay header of another length')
  return writer.finish()
}

function decodeHeader(bytes: Uint8Array, what: string): OverlayHeader {
  const reader = new ByteReader(bytes, what)
  if (bytes.length < INDEX_HEADER_BYTES) throw reader.error('cut off within the header', bytes.length)
  if (decodeAscii(reader.bytes(MAGIC.length)) !== decodeAscii(MAGIC)) throw reader.error('not an overlay', 0)
  const checksummed = INDEX_HEADER_BYTES - 4
  if (new ByteReader(bytes.subarray(checksummed), what).u32() !== crc32(bytes.subarray(0, checksummed))) {
    throw reader.error('the header has a wrong checksum', 0)
  }
  const version = reader.u16()
  if (version !== VERSION) throw reader.error(`version ${version}, this program reads version ${VERSION}`, 8)
  const frozen = reader.u8()
  if (frozen > 1 || reader.u8() !== 0 || reader.u32() !== 0) throw reader.error('reserved bits are set', 10)
  const sectors = Number(reader.u64())
  if (sectors > BLOCK_MAX * 8) throw reader.error(`a disk of ${sectors} sectors`, 16)
  const identity = hexOf(reader.bytes(16))
  return { identity, baseDigest: hexOf(reader.bytes(32)), sectors, frozen: frozen === 1 }
}

function encodeFrame(header: OverlayHeader, sequence: number, payload: Uint8Array): Uint8Array {
  const writer = new ByteWriter(FRAME_HEADER_BYTES + payload.length)
  writer.u32(FRAME_MAGIC)
  writer.u32(sequence)
  writer.u32(payload.length)
  writer.u32(crc32(payload))
  writer.u32(crc32(writer.written(), seedOf(header)))
  writer.bytes(payload)
  return writer.finish()
}

interface Frame {
  readonly sequence: number
  readonly payload: Uint8Array
  readonly end: number
}

/** The whole, undamaged frame at `start`, or undefined. */
function frameAt(bytes: Uint8Array, start: number, seed: number): Frame | undefined {
  if (bytes.length - start < FRAME_HEADER_BYTES) return undefined
  const reader = new ByteReader(bytes.subarray(start, start + FRAME_HEADER_BYTES), '')
  if (reader.u32() !== FRAME_MAGIC) return undefined
  const sequence = reader.u32()
  const length = reader.u32()
  const checksum = reader.u32()
  if (reader.u32() !== crc32(bytes.subarray(start, start + FRAME_HEADER_BYTES - 4), seed)) return undefined
  const end = start + FRAME_HEADER_BYTES + length
  if (end > bytes.length) return undefined
  const payload = bytes.subarray(start + FRAME_HEADER_BYTES, end)
  return crc32(payload) === checksum ? { sequence, payload, end } : undefined
}

interface IndexContent {
  readonly map: BlockMap
  readonly generation: string
  readonly end: number
  readonly sequence: number
}

function decodeFrames(bytes: Uint8Array, header: OverlayHeader, what: string): IndexContent {
  const seed = seedOf(header)
  const map = new BlockMap()
  let generation: string | undefined
  let sequence = 0
  let end = INDEX_HEADER_BYTES
  for (let frame = frameAt(bytes, end, seed); frame !== undefined; frame = frameAt(bytes, end, seed)) {
    if (frame.sequence !== sequence)
      throw new FormatError(`${what}: byte ${end}: frame ${frame.sequence} of ${sequence}`)
    const reader = new ByteReader(frame.payload, what, end + FRAME_HEADER_BYTES)
    generation = applyEntries(reader, map, header) ?? generation
    end = frame.end
    sequence++
  }
  refuseFrameBehind(bytes, end, seed, what)
  // The first frame is written together with the header: without it this is no crash.
  if (generation === undefined) throw new FormatError(`${what}: byte ${end}: cut off within the first frame`)
  return { map, generation, end, sequence }
}

/** A valid frame behind a bad one proves that the bad one was durable once: it was damaged later. */
function refuseFrameBehind(bytes: Uint8Array, bad: number, seed: number, what: string): void {
  for (let start = bad + 1; start < bytes.length; start++) {
    start = bytes.indexOf(FRAME_MAGIC & 0xff, start)
    if (start < 0) return
    if (frameAt(bytes, start, seed) === undefined) continue
    throw new FormatError(
      `${what}: byte ${bad}: damaged; restore the overlay from a snapshot or the other copy`,
    )
  }
}

/** Applies a frame's entries to the map; returns the generation if the frame sets one. */
function applyEntries(reader: ByteReader, map: BlockMap, header: OverlayHeader): string | undefined {
  const blocks = Math.ceil(header.sectors / 8)
  let generation: string | undefined
  while (reader.remaining > 0) {
    const kind = reader.u8()
    if (kind === ENTRY_GENERATION) {
      generation = hexOf(reader.bytes(16))
      continue
    }
    if (kind !== ENTRY_DATA && kind !== ENTRY_ZERO) throw reader.error(`an entry of unknown kind ${kind}`)
    const block = reader.varint(BLOCK_MAX)
    const count = reader.varint(BLOCK_MAX)
    if (count === 0 || block + count > blocks)
      throw reader.error(`blocks beyond the disk: ${block} and ${count} on`)
    const slot = kind === ENTRY_ZERO ? ZERO : reader.varint(BLOCK_MAX - count)
    if (slot === 0) throw reader.error('a block in slot 0')
    map.set({ block, count, slot })
  }
  return generation
}

function* payloads(runs: Iterable<BlockRun>): Generator<Uint8Array> {
  const writer = new ByteWriter(256)
  for (const { block, count, slot } of runs) {
    writer.u8(slot === ZERO ? ENTRY_ZERO : ENTRY_DATA)
    writer.varint(block)
    writer.varint(count)
    if (slot !== ZERO) writer.varint(slot)
    if (writer.length < PAYLOAD_BYTES_MAX - ENTRY_BYTES_MAX) continue
    yield writer.finish()
    writer.reset()
  }
  if (writer.length > 0) yield writer.finish()
}

function generationEntry(generation: string): Uint8Array {
  assert(/^[0-9a-f]{32}$/.test(generation), `not a generation: ${generation}`)
  return Buffer.concat([Uint8Array.of(ENTRY_GENERATION), Buffer.from(generation, 'hex')])
}

function seedOf(header: OverlayHeader): number {
  return crc32(Buffer.from(header.identity, 'hex'))
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

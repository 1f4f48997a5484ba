/**
 * A machine's state on its way to a joining copy, in chunks that are each compressed by itself:
 *
 *     kind u8 | zstd of the content
 *
 *     1 header   JSON: version, sectors of the disk, digest of its base, what is to come
 *     2 pages    of RAM, as packed_pages.ts has them
 *     3 zeros    runs of the disk that are zeros: sector varint, sectors varint, ...
 *     4 data     sector varint, then the bytes of a run of the disk
 *     5 state    of the computer without RAM
 *
 * The header comes first, the state last.
 */
import { promisify } from 'node:util'
import { constants, zstdCompress, zstdDecompress } from 'node:zlib'
import { ByteReader, ByteWriter } from '../../base/bytes.ts'
import { decodeJson, encodeJson } from '../../base/canonical_json.ts'
import { FormatError } from '../../base/errors.ts'
import type { OverlayExtent } from '../../host/stored_blocks.ts'

const VERSION = 1
/** Sectors of the disk in a chunk. */
const DATA_SECTORS = 2048
const ZERO_RUNS = 4096
/** Content of a chunk is at most this. */
const CONTENT_BYTES_MAX = 8 << 20
const COMPRESSION = { chunkSize: 256 << 10, params: { [constants.ZSTD_c_compressionLevel]: 1 } }

const compress = promisify<Uint8Array, object, Buffer>(zstdCompress)
const expand = promisify<Uint8Array, object, Buffer>(zstdDecompress)

const KIND = { header: 1, pages: 2, zeros: 3, data: 4, state: 5 } as const
type ChunkKind = (typeof KIND)[keyof typeof KIND]

/** The content of a disk as of one moment, however the disk goes on. */
export interface KeptDisk {
  readonly sectors: number
  readonly baseDigest: string
  /** What differs from the base, in order of sectors. */
  extents(): Iterable<OverlayExtent>
  read(sector: number, sectors: number): Promise<Uint8Array>
  release(): void
}

/** What there is of a machine at one position. */
export interface KeptState {
  readonly state: Uint8Array
  readonly pages: readonly Uint8Array[]
  readonly disk: KeptDisk
}

interface Piece {
  readonly kind: ChunkKind
  content(): Uint8Array | Promise<Uint8Array>
}

/** A state that is kept for a joining copy. */
export class StateSource {
  readonly #kept: KeptState
  readonly #pieces: Piece[]
  #reading = 0
  #isReleased = false

  constructor(kept: KeptState) {
    this.#kept = kept
    const { disk } = kept
    const header = { version: VERSION, sectors: disk.sectors, baseDigest: disk.baseDigest }
    this.#pieces = [
      { kind: KIND.header, content: () => encodeJson(header) },
      ...kept.pages.map((content): Piece => ({ kind: KIND.pages, content: () => content })),
      ...diskPieces(disk),
      { kind: KIND.state, content: () => kept.state },
    ]
  }

  get chunks(): number {
    return this.#pieces.length
  }

  /** One chunk, as it travels. Throws errors of the system if the disk cannot be read. */
  async read(number: number): Promise<Uint8Array> {
    const { kind, content } = this.#pieces[number]!
    const compressed = await this.#compressed(content)
    const chunk = new Uint8Array(1 + compressed.length)
    chunk[0] = kind
    chunk.set(compressed, 1)
    return chunk
  }

  /** It is not wanted any more. Its memory goes back at once: a process that is killed ends the later the more it has. */
  release(): void {
    this.#kept.disk.release()
    this.#isReleased = true
    this.#free()
  }

  async #compressed(content: Piece['content']): Promise<Uint8Array> {
    this.#reading++
    try {
      return await compress(await content(), COMPRESSION)
    } finally {
      this.#reading--
      this.#free()
    }
  }

  /** What is being compressed must stay where it is. */
  #free(): void {
    if (!this.#isReleased || this.#reading > 0) return
    for (const { buffer } of this.#kept.pages) if (buffer instanceof ArrayBuffer) buffer.transfer(0)
  }
}

function diskPieces(disk: KeptDisk): Piece[] {
  const pieces: Piece[] = []
  let zeros = new ByteWriter()
  let runs = 0
  const endZeros = (): void => {
    const content = zeros.finish()
    if (runs > 0) pieces.push({ kind: KIND.zeros, content: () => content })
    zeros = new ByteWriter()
    runs = 0
  }
  for (const extent of disk.extents()) {
    if (extent.zeros) {
      zeros.varint(extent.sector)
      zeros.varint(extent.sectors)
      if (++runs === ZERO_RUNS) endZeros()
      continue
    }
    for (let at = 0; at < extent.sectors; at += DATA_SECTORS) {
      const sector = extent.sector + at
      const sectors = Math.min(DATA_SECTORS, extent.sectors - at)
      pieces.push({
        kind: KIND.data,
        content: async () => dataContent(sector, await disk.read(sector, sectors)),
      })
    }
  }
  endZeros()
  return pieces
}

function dataContent(sector: number, bytes: Uint8Array): Uint8Array {
  const writer = new ByteWriter(bytes.length + 8)
  writer.varint(sector)
  writer.bytes(bytes)
  return writer.finish()
}

/** Where a state arrives. */
export interface StateSink {
  /** Called first. */
  header(sectors: number, baseDigest: string): Promise<void>
  pages(pages: Uint8Array): void
  zeros(sector: number, sectors: number): Promise<void>
  data(sector: number, bytes: Uint8Array): Promise<void>
}

/** Takes the chunks of a state, in order; each call waits for the one before. */
export class StateReceiver {
  readonly #sink: StateSink
  #hasHeader = false
  #state: Uint8Array | undefined

  constructor(sink: StateSink) {
    this.#sink = sink
  }

  /** The computer's state, once it has come. Throws a FormatError if it has not. */
  get state(): Uint8Array {
    if (this.#state === undefined) throw new FormatError('a state that arrived without its registers')
    return this.#state
  }

  /** Throws a FormatError for what is no chunk, and errors of the system if the disk cannot be written. */
  async take(chunk: Uint8Array): Promise<void> {
    const kind = chunk[0]
    const content = await expand(chunk.subarray(1), { maxOutputLength: CONTENT_BYTES_MAX }).catch(
      (error: Error) => {
        throw new FormatError(`a chunk of state that cannot be expanded: ${error.message}`)
      },
    )
    if (this.#hasHeader !== (kind !== KIND.header)) throw new FormatError('a state whose header is not first')
    const reader = new ByteReader(content, 'a chunk of state')
    if (kind === KIND.header) await this.#takeHeader(content)
    else if (kind === KIND.pages) this.#sink.pages(content)
    else if (kind === KIND.state) this.#state = content
    else if (kind === KIND.data)
      await this.#sink.data(reader.varint(), reader.bytes(reader.remaining).slice())
    else if (kind === KIND.zeros) {
      while (reader.remaining > 0) await this.#sink.zeros(reader.varint(), reader.varint())
    } else throw new FormatError(`a chunk of state of kind ${kind}`)
  }

  async #takeHeader(content: Uint8Array): Promise<void> {
    const { version, sectors, baseDigest } = decodeJson(content, 'the header of a state')
    if (version !== VERSION) throw new FormatError(`a state of version ${String(version)}, not ${VERSION}`)
    if (typeof sectors !== 'number' || typeof baseDigest !== 'string')
      throw new FormatError('the header of a state lacks its disk')
    this.#hasHeader = true
    await this.#sink.header(sectors, baseDigest)
  }
}

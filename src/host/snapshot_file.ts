/**
 * Snapshots on disk: one file that holds a machine, whole.
 *
 *     preamble   magic "UNDSNAP\n" | version u16 | page bytes u16 | header bytes u32 | page count u32 |
 *                CRC-32 of what precedes and of the header u32 | header (canonical JSON, kind "snapshot")
 *     chunks     kind u8 | reserved u8 | name bytes u16 | content bytes u32 | stored bytes u32 |
 *                CRC-32 of what precedes, name and stored bytes u32 | name | stored bytes
 *
 * Chunk kinds: 1 a piece of the section called `name`; 2 RAM: count u32, that many page numbers u32, then the pages;
 * 3 the end: the totals of everything before. Content is at most 4 MiB, compressed with zstd, whose own checksum covers
 * the content; the CRC covers what is stored. Chunks bound the memory needed beside RAM, and several are compressed or
 * expanded at once on the runtime's thread pool. Page numbers rise; pages that are absent hold zeros.
 */
import { type FileHandle, open } from 'node:fs/promises'
import { promisify } from 'node:util'
import { constants, crc32, zstdCompress, zstdDecompress } from 'node:zlib'
import { assert } from '../base/assert.ts'
import { ByteReader, ByteWriter } from '../base/bytes.ts'
import { decodeJson, encodeJson, type JsonObject } from '../base/canonical_json.ts'
import { FormatError } from '../base/errors.ts'
import { decodeAscii, encodeAscii } from '../base/text.ts'
import { replaceFile } from './atomic_file.ts'
import { fileError } from './file_error.ts'

const MAGIC = encodeAscii('UNDSNAP\n')
const VERSION = 1
const PREAMBLE_BYTES = 24
const CHUNK_HEADER_BYTES = 16
const CHUNK_SECTION = 1
const CHUNK_RAM = 2
const CHUNK_END = 3

export const PAGE_BYTES = 4096
const CONTENT_BYTES_MAX = 4 << 20
/** Pages in a RAM chunk, with their numbers within CONTENT_BYTES_MAX. */
const CHUNK_PAGES = 1000
/** Above zstd's bound for incompressible content. */
const STORED_BYTES_MAX = CONTENT_BYTES_MAX + (64 << 10)
const HEADER_BYTES_MAX = 1 << 20
const NAME_BYTES_MAX = 255
/** Chunks in work at a time: enough for the four threads of the runtime's pool, at 4 MiB each. */
const IN_FLIGHT = 6

const compress = promisify<Uint8Array, object, Buffer>(zstdCompress)
const expand = promisify<Uint8Array, object, Buffer>(zstdDecompress)
const COMPRESSION = {
  // Output buffers of 1 MiB; with the default of 16 KiB collecting them costs a fifth of the speed.
  chunkSize: 1 << 20,
  params: { [constants.ZSTD_c_compressionLevel]: 1, [constants.ZSTD_c_checksumFlag]: 1 },
}

/** A page of RAM by its number from the start of RAM. */
export interface SnapshotPage {
  readonly page: number
  readonly bytes: Uint8Array
}

/** RAM as the list of its pages that hold anything but zeros, by rising number. */
export interface SnapshotRam {
  readonly pageBytes: typeof PAGE_BYTES
  readonly pageCount: number
  readonly pages: Iterable<SnapshotPage>
}

export interface Snapshot {
  /**
   * Machine specification, position, index, life, disk generation: whatever the machine's owner needs to restore.
   * The member `kind` is taken by the container.
   */
  readonly header: JsonObject
  /** State bytes by section name (ASCII, at most 255 characters). */
  readonly sections: ReadonlyMap<string, Uint8Array>
  readonly ram: SnapshotRam
}

/** Called for each page of a snapshot, in rising order. */
export type PageConsumer = (page: number, bytes: Uint8Array) => void

/** A machine about to be restored, as its snapshot's preamble describes it. */
export interface SnapshotPreamble {
  readonly header: JsonObject
  readonly pageCount: number
}

/** Counts what is in a file, and chains the checksums of its chunks, so that none can be missing or exchanged. */
class Totals {
  chunks = 0
  contentBytes = 0
  pages = 0
  #checksum = 0

  add(contentBytes: number, pages: number, checksum: number): void {
    this.chunks++
    this.contentBytes += contentBytes
    this.pages += pages
    const link = new ByteWriter(4)
    link.u32(checksum)
    this.#checksum = crc32(link.written(), this.#checksum)
  }

  encode(): Uint8Array {
    const writer = new ByteWriter(24)
    writer.varint(this.chunks)
    writer.varint(this.contentBytes)
    writer.varint(this.pages)
    writer.u32(this.#checksum)
    return writer.finish()
  }
}

interface Content {
  readonly kind: number
  readonly name: string
  readonly bytes: Uint8Array
  readonly pages: number
}

interface StoredChunk {
  readonly kind: number
  readonly name: string
  readonly contentBytes: number
  readonly stored: Uint8Array
  readonly checksum: number
  /** Names the chunk in errors. */
  readonly what: string
}

/**
 * Writes a snapshot atomically. The pages are read while it is being written, so the machine stands still until the
 * promise settles. Throws a UserError if the file cannot be written.
 */
export async function writeSnapshot(path: string, snapshot: Snapshot): Promise<void> {
  await replaceFile(path, async (file) => {
    const totals = new Totals()
    await file.writeFile(encodePreamble(snapshot))
    await inOrder(
      contents(snapshot),
      async (content) => ({ content, stored: await compress(content.bytes, COMPRESSION) }),
      async ({ content, stored }) => {
        const chunk = encodeChunk(content.kind, content.name, content.bytes.length, stored)
        totals.add(content.bytes.length, content.pages, chunk.checksum)
        await file.writeFile(chunk.bytes)
      },
    )
    await file.writeFile(encodeChunk(CHUNK_END, '', 0, totals.encode()).bytes)
  })
}

/** Reads a whole snapshot into memory. Throws FormatError naming the place of any damage. */
export async function readSnapshot(path: string): Promise<Snapshot> {
  const pages: SnapshotPage[] = []
  const loaded = await loadSnapshot(path, () => (page, bytes) => pages.push({ page, bytes }))
  const ram: SnapshotRam = { pageBytes: PAGE_BYTES, pageCount: loaded.pageCount, pages }
  return { header: loaded.header, sections: loaded.sections, ram }
}

/**
 * Reads a snapshot and hands its pages out as they come, so that RAM is not held twice. `prepare` sees the preamble
 * first and returns the consumer of the pages. Throws FormatError naming the place of any damage, also after pages
 * have been consumed: what they went into is then to be thrown away.
 */
export async function loadSnapshot(
  path: string,
  prepare: (preamble: SnapshotPreamble) => PageConsumer,
): Promise<SnapshotPreamble & { readonly sections: ReadonlyMap<string, Uint8Array> }> {
  return withSource(path, async (source) => {
    const preamble = await readPreamble(source)
    const loader = new Loader(path, preamble.pageCount, prepare(preamble))
    await inOrder(
      storedChunks(source),
      async (chunk) => ({ chunk, content: await expandChunk(chunk) }),
      async ({ chunk, content }) => loader.add(chunk, content),
    )
    return { ...preamble, sections: loader.finish() }
  })
}

/** Reads only what a snapshot says about itself. */
export async function readSnapshotPreamble(path: string): Promise<SnapshotPreamble> {
  return withSource(path, readPreamble)
}

/** Does `work` on up to IN_FLIGHT items at a time and hands the results to `sink` in the items' order. */
async function inOrder<T, R>(
  items: Iterable<T> | AsyncIterable<T>,
  work: (item: T) => Promise<R>,
  sink: (result: R) => Promise<void>,
): Promise<void> {
  const running: Promise<R>[] = []
  for await (const item of items) {
    const result = work(item)
    // A failure is met when its turn comes; until then it must not count as unhandled.
    result.catch(() => undefined)
    running.push(result)
    if (running.length >= IN_FLIGHT) await sink(await running.shift()!)
  }
  for (const result of running) await sink(await result)
}

function encodePreamble(snapshot: Snapshot): Uint8Array {
  assert(!('kind' in snapshot.header), 'a snapshot header has no kind of its own')
  const header = encodeJson({ ...snapshot.header, kind: 'snapshot' })
  assert(header.length <= HEADER_BYTES_MAX, `a snapshot header of ${header.length} bytes`)
  const writer = new ByteWriter(PREAMBLE_BYTES + header.length)
  writer.bytes(MAGIC)
  writer.u16(VERSION)
  writer.u16(snapshot.ram.pageBytes)
  writer.u32(header.length)
  writer.u32(snapshot.ram.pageCount)
  writer.u32(crc32(header, crc32(writer.written())))
  writer.bytes(header)
  return writer.finish()
}

/** Cuts a snapshot into pieces of at most CONTENT_BYTES_MAX. */
function* contents(snapshot: Snapshot): Generator<Content> {
  for (const [name, bytes] of snapshot.sections) {
    assert(name.length <= NAME_BYTES_MAX, `a section name of ${name.length} characters`)
    // A section without bytes has one piece, too.
    for (let start = 0; start === 0 || start < bytes.length; start += CONTENT_BYTES_MAX) {
      yield { kind: CHUNK_SECTION, name, bytes: bytes.subarray(start, start + CONTENT_BYTES_MAX), pages: 0 }
    }
  }
  let batch: SnapshotPage[] = []
  for (const page of snapshot.ram.pages) {
    assert(page.bytes.length === PAGE_BYTES, `a page of ${page.bytes.length} bytes`)
    batch.push(page)
    if (batch.length < CHUNK_PAGES) continue
    yield ramContent(batch)
    batch = []
  }
  if (batch.length > 0) yield ramContent(batch)
}

function ramContent(pages: readonly SnapshotPage[]): Content {
  const writer = new ByteWriter(4 + pages.length * (4 + PAGE_BYTES))
  writer.u32(pages.length)
  for (const { page } of pages) writer.u32(page)
  for (const { bytes } of pages) writer.bytes(bytes)
  return { kind: CHUNK_RAM, name: '', bytes: writer.written(), pages: pages.length }
}

function encodeChunk(
  kind: number,
  name: string,
  contentBytes: number,
  stored: Uint8Array,
): { bytes: Uint8Array; checksum: number } {
  const writer = new ByteWriter(CHUNK_HEADER_BYTES + name.length + stored.length)
  writer.u8(kind)
  writer.u8(0)
  writer.u16(name.length)
  writer.u32(contentBytes)
  writer.u32(stored.length)
  const nameBytes = encodeAscii(name)
  const checksum = crc32(stored, crc32(nameBytes, crc32(writer.written())))
  writer.u32(checksum)
  writer.bytes(nameBytes)
  writer.bytes(stored)
  return { bytes: writer.written(), checksum }
}

/** A file that is read from its start to its end. */
class Source {
  readonly path: string
  readonly #file: FileHandle
  #offset = 0

  constructor(path: string, file: FileHandle) {
    this.path = path
    this.#file = file
  }

  get offset(): number {
    return this.#offset
  }

  async take(length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length)
    for (let filled = 0; filled < length; ) {
      const { bytesRead } = await this.#file.read(bytes, filled, length - filled, this.#offset + filled)
      if (bytesRead === 0) throw this.error('cut off', this.#offset + filled)
      filled += bytesRead
    }
    this.#offset += length
    return bytes
  }

  async isAtEnd(): Promise<boolean> {
    return (await this.#file.read(Buffer.alloc(1), 0, 1, this.#offset)).bytesRead === 0
  }

  error(problem: string, offset: number): FormatError {
    return new FormatError(`snapshot ${this.path}: byte ${offset}: ${problem}`)
  }
}

async function withSource<T>(path: string, use: (source: Source) => Promise<T>): Promise<T> {
  try {
    const file = await open(path, 'r')
    try {
      return await use(new Source(path, file))
    } finally {
      await file.close()
    }
  } catch (error) {
    throw fileError(error, 'read', path)
  }
}

async function readPreamble(source: Source): Promise<SnapshotPreamble> {
  const fixed = await source.take(PREAMBLE_BYTES)
  const reader = new ByteReader(fixed, `snapshot ${source.path}`)
  if (decodeAscii(reader.bytes(MAGIC.length)) !== decodeAscii(MAGIC)) throw source.error('not a snapshot', 0)
  const version = reader.u16()
  if (version !== VERSION) throw source.error(`version ${version}, this program reads version ${VERSION}`, 8)
  const pageBytes = reader.u16()
  if (pageBytes !== PAGE_BYTES) throw source.error(`pages of ${pageBytes} bytes`, 10)
  const headerBytes = reader.u32()
  if (headerBytes > HEADER_BYTES_MAX) throw source.error(`a header of ${headerBytes} bytes`, 12)
  const pageCount = reader.u32()
  const header = await source.take(headerBytes)
  if (reader.u32() !== crc32(header, crc32(fixed.subarray(0, PREAMBLE_BYTES - 4)))) {
    throw source.error('the header has a wrong checksum', 20)
  }
  const { kind, ...rest } = decodeJson(header, `snapshot ${source.path}: byte ${PREAMBLE_BYTES}`)
  if (kind !== 'snapshot') throw source.error('the header is not a snapshot header', PREAMBLE_BYTES)
  return { header: rest, pageCount }
}

/** All chunks up to the end chunk, which is checked against them. */
async function* storedChunks(source: Source): AsyncGenerator<StoredChunk> {
  const totals = new Totals()
  for (;;) {
    const start = source.offset
    const chunk = await takeChunk(source)
    if (chunk.kind === CHUNK_END) {
      if (Buffer.compare(chunk.stored, totals.encode()) !== 0) {
        throw source.error('the totals at the end are not those of the file', start)
      }
      if (!(await source.isAtEnd())) throw source.error('bytes behind the end', source.offset)
      return
    }
    const pages = chunk.kind === CHUNK_RAM ? Math.floor(chunk.contentBytes / (PAGE_BYTES + 4)) : 0
    totals.add(chunk.contentBytes, pages, chunk.checksum)
    yield chunk
  }
}

async function takeChunk(source: Source): Promise<StoredChunk> {
  const start = source.offset
  const header = await source.take(CHUNK_HEADER_BYTES)
  const reader = new ByteReader(header, '')
  const kind = reader.u8()
  const reserved = reader.u8()
  const nameBytes = reader.u16()
  const contentBytes = reader.u32()
  const storedBytes = reader.u32()
  const checksum = reader.u32()
  if (kind < CHUNK_SECTION || kind > CHUNK_END || reserved !== 0) {
    throw source.error(`a chunk of unknown kind ${kind}`, start)
  }
  if (nameBytes > NAME_BYTES_MAX) throw source.error(`a section name of ${nameBytes} bytes`, start)
  if (contentBytes > CONTENT_BYTES_MAX) throw source.error(`a chunk of ${contentBytes} bytes`, start)
  if (storedBytes > STORED_BYTES_MAX) throw source.error(`a chunk stored in ${storedBytes} bytes`, start)
  const name = await source.take(nameBytes)
  const stored = await source.take(storedBytes)
  if (checksum !== crc32(stored, crc32(name, crc32(header.subarray(0, 12))))) {
    throw source.error('a chunk with a wrong checksum', start)
  }
  const what = `snapshot ${source.path}: chunk at byte ${start}`
  return { kind, name: decodeAscii(name), contentBytes, stored, checksum, what }
}

async function expandChunk(chunk: StoredChunk): Promise<Uint8Array> {
  // One output buffer of the right size; the default is to collect pieces of 16 KiB.
  const options = { maxOutputLength: chunk.contentBytes + 1, chunkSize: Math.max(chunk.contentBytes, 64) }
  let content: Uint8Array
  try {
    content = await expand(chunk.stored, options)
  } catch (error) {
    throw new FormatError(`${chunk.what}: not what was compressed: ${(error as Error).message}`)
  }
  if (content.length !== chunk.contentBytes) throw new FormatError(`${chunk.what}: ${content.length} bytes`)
  return content
}

/** Puts chunks together. */
class Loader {
  readonly #path: string
  readonly #pageCount: number
  readonly #onPage: PageConsumer
  readonly #pieces = new Map<string, Uint8Array[]>()
  #lastSection: string | undefined
  #lastPage = -1

  constructor(path: string, pageCount: number, onPage: PageConsumer) {
    this.#path = path
    this.#pageCount = pageCount
    this.#onPage = onPage
  }

  add(chunk: StoredChunk, content: Uint8Array): void {
    if (chunk.kind === CHUNK_RAM) this.#addPages(new ByteReader(content, chunk.what), chunk.what)
    else this.#addPiece(chunk, content)
  }

  finish(): ReadonlyMap<string, Uint8Array> {
    const sections = new Map<string, Uint8Array>()
    for (const [name, pieces] of this.#pieces) {
      sections.set(name, pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces))
    }
    return sections
  }

  #addPiece(chunk: StoredChunk, content: Uint8Array): void {
    const { name } = chunk
    if (name === this.#lastSection) {
      this.#pieces.get(name)!.push(content)
      return
    }
    if (this.#pieces.has(name))
      throw new FormatError(`snapshot ${this.#path}: section ${name} is there twice`)
    this.#pieces.set(name, [content])
    this.#lastSection = name
  }

  #addPages(reader: ByteReader, what: string): void {
    const count = reader.u32()
    if (count > CHUNK_PAGES) throw new FormatError(`${what}: ${count} pages`)
    const numbers = Array.from({ length: count }, () => reader.u32())
    for (const page of numbers) {
      if (page <= this.#lastPage || page >= this.#pageCount) {
        throw new FormatError(`${what}: page ${page} of ${this.#pageCount} behind page ${this.#lastPage}`)
      }
      this.#lastPage = page
      this.#onPage(page, reader.bytes(PAGE_BYTES))
    }
    reader.finish()
  }
}

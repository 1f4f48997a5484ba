/**
 * The witnesses of a recording, as a file of their own beside it: for each recorded digest the machine's state, and
 * the hashes of the pages of RAM that have changed since the entry before. Only a replay that finds a difference reads
 * it, to name the register or page.
 *
 *     header      magic "UNDSTWIT" | version u16 | reserved u16 | life u32 | pages of RAM u32 | CRC-32C of what
 *                 precedes u32
 *     entries     magic "UWE1" u32 | payload bytes u32 | state bytes u32 | index u64 | position u64 | CRC-32C of the
 *                 payload u32 | CRC-32C of what precedes u32 | payload
 *     payload     state, as the writer has compressed it | per page: distance from the page before (varint), hash u64
 *
 * Hashes before the first entry are zero. Entries only join the end; a file that ends within one is good up to there.
 */
import { ByteQueue, ByteReader, ByteWriter } from '../base/bytes.ts'
import { crc32c } from '../base/crc32c.ts'
import { encodeAscii } from '../base/text.ts'

/** The first bytes of the file. */
export const WITNESS_MAGIC = encodeAscii('UNDSTWIT')
const VERSION = 1
const HEADER_BYTES = 24
const ENTRY_MAGIC = 0x3145_5755
const ENTRY_HEADER_BYTES = 36
/** A disk's requests in flight are part of the state: tens of megabytes at the worst. */
export const WITNESS_STATE_BYTES_MAX = 64 << 20
/** What one page can take: a varint of up to five bytes, and the hash. */
const PAGE_ENTRY_BYTES_MAX = 13
const PAGE_ENTRY_BYTES_MIN = 9

/** Whose witnesses these are. */
export interface WitnessHeader {
  readonly life: number
  readonly ramPages: number
}

export interface WitnessEntry {
  /** Of the digest's record. */
  readonly index: bigint
  readonly position: bigint
  /** Compressed. */
  readonly state: Uint8Array
  /** Numbers of pages, ascending. */
  readonly pages: readonly number[]
  /** Their hashes: packed, since a snapshot of gigabytes begins with all of its pages. */
  readonly hashes: BigUint64Array
}

interface EntryHeader extends Pick<WitnessEntry, 'index' | 'position'> {
  readonly payloadBytes: number
  readonly stateBytes: number
  readonly payloadChecksum: number
}

export function encodeWitnessHeader({ life, ramPages }: WitnessHeader): Uint8Array {
  const writer = new ByteWriter(HEADER_BYTES)
  writer.bytes(WITNESS_MAGIC)
  writer.u16(VERSION)
  writer.u16(0)
  writer.u32(life)
  writer.u32(ramPages)
  writer.u32(crc32c(writer.written()))
  return writer.finish()
}

export function encodeWitnessEntry({ index, position, state, pages, hashes }: WitnessEntry): Uint8Array {
  const payload = new ByteWriter(state.length + pages.length * 10)
  payload.bytes(state)
  let next = 0
  for (const [i, page] of pages.entries()) {
    payload.varint(page - next)
    payload.u64(hashes[i]!)
    next = page + 1
  }
  const writer = new ByteWriter(ENTRY_HEADER_BYTES + payload.length)
  writer.u32(ENTRY_MAGIC)
  writer.u32(payload.length)
  writer.u32(state.length)
  writer.u64(index)
  writer.u64(position)
  writer.u32(crc32c(payload.written()))
  writer.u32(crc32c(writer.written()))
  writer.bytes(payload.written())
  return writer.finish()
}

/** Takes such a file in arbitrary pieces: `push` some, then call `next` until it returns undefined. */
export class WitnessDecoder {
  readonly #what: string
  readonly #queue = new ByteQueue()
  #header: WitnessHeader | undefined

  /** `what` names the file in errors. */
  constructor(what: string) {
    this.#what = what
  }

  /** Undefined until `next` has seen all of it. */
  get header(): WitnessHeader | undefined {
    return this.#header
  }

  push(bytes: Uint8Array): void {
    this.#queue.push(bytes)
  }

  /** The next whole entry, or undefined until more has arrived. Throws FormatError at damage; then use it no more. */
  next(): WitnessEntry | undefined {
    this.#header ??= this.#takeHeader()
    return this.#header && this.#takeEntry(this.#header)
  }

  #takeHeader(): WitnessHeader | undefined {
    const reader = this.#peek(HEADER_BYTES)
    if (reader === undefined) return undefined
    const checksum = crc32c(this.#queue.peek(HEADER_BYTES - 4)!)
    const magic = reader.bytes(WITNESS_MAGIC.length)
    if (!magic.every((byte, i) => byte === WITNESS_MAGIC[i])) throw reader.error('not the witnesses', 0)
    const version = reader.u16()
    if (version !== VERSION)
      throw reader.error(`witnesses of version ${version}, this program reads ${VERSION}`, 8)
    if (reader.u16() !== 0) throw reader.error('reserved bits are set', 10)
    const header = { life: reader.u32(), ramPages: reader.u32() }
    if (reader.u32() !== checksum) throw reader.error('the header has a wrong checksum', HEADER_BYTES - 4)
    this.#queue.skip(HEADER_BYTES)
    return header
  }

  #takeEntry({ ramPages }: WitnessHeader): WitnessEntry | undefined {
    const header = this.#peekEntryHeader(ramPages)
    if (header === undefined) return undefined
    const { index, position, payloadBytes } = header
    const whole = this.#peek(ENTRY_HEADER_BYTES + payloadBytes)
    if (whole === undefined) return undefined
    whole.bytes(ENTRY_HEADER_BYTES)
    const start = whole.offset
    const payload = whole.bytes(payloadBytes)
    if (crc32c(payload) !== header.payloadChecksum) throw whole.error('a damaged entry', ENTRY_HEADER_BYTES)
    const reader = new ByteReader(payload, this.#what, start)
    const state = reader.bytes(header.stateBytes).slice()
    const pages = readPages(reader, ramPages)
    this.#queue.skip(ENTRY_HEADER_BYTES + payloadBytes)
    return { index, position, state, ...pages }
  }

  #peekEntryHeader(ramPages: number): EntryHeader | undefined {
    const reader = this.#peek(ENTRY_HEADER_BYTES)
    if (reader === undefined) return undefined
    const checksum = crc32c(this.#queue.peek(ENTRY_HEADER_BYTES - 4)!)
    const magic = reader.u32()
    const [payloadBytes, stateBytes] = [reader.u32(), reader.u32()]
    const [index, position] = [reader.u64(), reader.u64()]
    const payloadChecksum = reader.u32()
    if (magic !== ENTRY_MAGIC || reader.u32() !== checksum) throw reader.error('a damaged entry', 0)
    const isState = stateBytes <= WITNESS_STATE_BYTES_MAX && stateBytes <= payloadBytes
    if (!isState || payloadBytes - stateBytes > ramPages * PAGE_ENTRY_BYTES_MAX)
      throw reader.error(`an entry of ${payloadBytes} bytes, ${stateBytes} of them state`, 4)
    return { index, position, payloadBytes, stateBytes, payloadChecksum }
  }

  /** A reader of the next `count` bytes, which stay where they are. */
  #peek(count: number): ByteReader | undefined {
    const bytes = this.#queue.peek(count)
    return bytes && new ByteReader(bytes, this.#what, this.#queue.offset)
  }
}

function readPages(reader: ByteReader, ramPages: number): Pick<WitnessEntry, 'pages' | 'hashes'> {
  const pages: number[] = []
  const hashes = new BigUint64Array(Math.floor(reader.remaining / PAGE_ENTRY_BYTES_MIN))
  let next = 0
  while (reader.remaining > 0) {
    const page = next + reader.varint(ramPages)
    if (page >= ramPages) throw reader.error(`page ${page} of a machine that has ${ramPages}`)
    hashes[pages.length] = reader.u64()
    pages.push(page)
    next = page + 1
  }
  return { pages, hashes: hashes.slice(0, pages.length) }
}

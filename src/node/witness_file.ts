/**
 * The witnesses of a recording (src/log/witness.ts) beside it on disk: written at each digest, read when a replay finds
 * another one.
 *
 * They cost little: booting Debian writes 15 kilobytes a second, an idle one half a kilobyte, and each witness takes 1
 * to 10 ms, every two seconds (measured on two busy cores).
 *
 * A state is compressed with the one before as the dictionary, so that what stays the same costs nothing. Whether a
 * witness belongs to a digest is not believed but computed: it must give that digest.
 */
import { createReadStream, existsSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { FormatError, UserError } from '../base/errors.ts'
import type { DigestSample } from '../board/recorder.ts'
import { type Witness, witnessedDigest } from '../board/witness.ts'
import { fileError } from '../host/file_error.ts'
import {
  encodeWitnessEntry,
  encodeWitnessHeader,
  WITNESS_MAGIC,
  WITNESS_STATE_BYTES_MAX,
  WitnessDecoder,
  type WitnessEntry,
  type WitnessHeader,
} from '../log/witness.ts'
import type { Ram } from '../machine/ram.ts'
import { AppendFile } from './append_file.ts'
import { requirePlainFile } from './saved_files.ts'

/** Path of the witnesses that belong to a recording. */
export const witnessBeside = (path: string): string => `${path}.witness`

const COMPRESSION = { [constants.ZSTD_c_compressionLevel]: 1 }
const PIECE_BYTES = 1 << 20

/** Writes witnesses. A failure, as of a full disk, ends them, but not the recording. */
export class WitnessWriter {
  readonly #file: AppendFile
  readonly #onFailure: (error: unknown) => void
  /** As the last entry left them. */
  readonly #hashes: BigUint64Array
  #state: Uint8Array | undefined

  /** Makes the file; throws a UserError if that fails. `onFailure` hears of it, once, if later writing does. */
  constructor(path: string, header: WitnessHeader, onFailure: (error: unknown) => void) {
    this.#file = new AppendFile(path, 'witnesses')
    this.#onFailure = onFailure
    this.#hashes = new BigUint64Array(header.ramPages)
    this.#append(encodeWitnessHeader(header))
  }

  /** Bytes written. */
  get bytes(): number {
    return this.#file.length
  }

  /** Adds the witness of a digest that has just been taken; `ram` is still as it was. */
  add({ index, position, state }: DigestSample, ram: Ram): void {
    if (this.#file.hasFailed || state.length > WITNESS_STATE_BYTES_MAX) return
    const pages = ram.pagesUnlike(this.#hashes)
    const hashes = BigUint64Array.from(pages, (page) => ram.pageHash(page))
    for (const [i, page] of pages.entries()) this.#hashes[page] = hashes[i]!
    const compressed = zstdCompressSync(state, { params: COMPRESSION, ...dictionaryOf(this.#state) })
    this.#state = state
    this.#append(encodeWitnessEntry({ index, position, state: compressed, pages, hashes }))
  }

  close(): void {
    this.#file.close()
  }

  #append(bytes: Uint8Array): void {
    try {
      this.#file.append(bytes)
    } catch (error) {
      this.#onFailure(error)
    }
  }
}

/** Which witness is wanted. */
export interface WitnessedRecord extends WitnessHeader {
  readonly index: bigint
  readonly digest: bigint
}

/** Reads the witness of one digest. Throws a UserError, a FormatError for damage, if there is none that is good. */
export async function readWitness(path: string, record: WitnessedRecord): Promise<Witness> {
  const hashes = new BigUint64Array(record.ramPages)
  let state: Uint8Array | undefined
  for await (const { header, entry } of entriesOf(path)) {
    if (header.life !== record.life || header.ramPages !== record.ramPages) break
    state = expand(entry.state, state, path)
    for (const [i, page] of entry.pages.entries()) hashes[page] = entry.hashes[i]!
    if (entry.index < record.index) continue
    if (entry.index > record.index) break
    if (witnessedDigest({ state, hashes }) !== record.digest) break
    return { state, hashes }
  }
  const cause = 'it was cut off, or belongs to another recording'
  throw new UserError(`${path} has no witness of record ${record.index}: ${cause}`)
}

async function* entriesOf(path: string): AsyncGenerator<{ header: WitnessHeader; entry: WitnessEntry }> {
  const refuse = (error: unknown): never => {
    throw fileError(error, 'read witnesses', path)
  }
  const file = await open(path, 'r').catch(refuse)
  try {
    const decoder = new WitnessDecoder(path)
    const piece = new Uint8Array(PIECE_BYTES)
    for (;;) {
      const { bytesRead } = await file.read(piece, 0, PIECE_BYTES, null).catch(refuse)
      if (bytesRead === 0) return
      decoder.push(piece.subarray(0, bytesRead))
      for (let entry = decoder.next(); entry !== undefined; entry = decoder.next())
        yield { header: decoder.header!, entry }
    }
  } finally {
    await file.close()
  }
}

function expand(compressed: Uint8Array, previous: Uint8Array | undefined, path: string): Uint8Array {
  try {
    const limit = { maxOutputLength: WITNESS_STATE_BYTES_MAX }
    return zstdDecompressSync(compressed, { ...limit, ...dictionaryOf(previous) })
  } catch (error) {
    throw new FormatError(`${path}: a state that does not expand: ${(error as Error).message}`)
  }
}

const dictionaryOf = (state: Uint8Array | undefined): { dictionary?: Uint8Array } =>
  state === undefined ? {} : { dictionary: state }

/** Throws a UserError unless the place for a recording's witnesses is free, or holds those of an earlier one. */
export async function requireReplaceableWitnesses(path: string): Promise<void> {
  await requirePlainFile(path)
  if (!existsSync(path)) return
  if (!(await beginsAsWitnesses(path))) {
    const remedy = 'remove it, or name another place'
    throw new UserError(`${path} is in the way, and does not hold the witnesses of a recording: ${remedy}`)
  }
}

/** Whether a file is empty or begins as witnesses do. */
async function beginsAsWitnesses(path: string): Promise<boolean> {
  try {
    for await (const bytes of createReadStream(path, { end: WITNESS_MAGIC.length - 1 }))
      return Buffer.compare(bytes, WITNESS_MAGIC) === 0
    return true
  } catch (error) {
    throw fileError(error, 'write witnesses', path)
  }
}

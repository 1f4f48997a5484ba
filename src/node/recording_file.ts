/** Recordings on disk: written while the machine runs, read for a replay. */
import { closeSync, fstatSync, fsyncSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { fileError } from '../host/file_error.ts'
import type { LogBatch } from '../log/batch.ts'
import {
  encodeRecordingEnd,
  encodeRecordingHeader,
  RecordingDecoder,
  type RecordingEnd,
  type RecordingHeader,
  type RecordingOutcome,
} from '../log/recording.ts'

/**
 * Appends batches to a new file. Writing is synchronous: batches are small and come ten times a second, and what has
 * been written survives the death of the process. After a failure, as of a full disk, the file ends with its last whole
 * batch, and nothing more is written.
 */
export class RecordingWriter {
  readonly path: string
  readonly #file: number
  /** A plain file, not a pipe or device, which has neither length nor sync. */
  readonly #isPlain: boolean
  #length = 0
  #failure: unknown

  constructor(path: string, header: RecordingHeader) {
    this.path = path
    try {
      this.#file = openSync(path, 'w')
      this.#isPlain = fstatSync(this.#file).isFile()
    } catch (error) {
      throw fileError(error, 'write recording', path)
    }
    this.append(encodeRecordingHeader(header))
  }

  /** Appends whole records. Throws a UserError if they cannot be written; then and ever after. */
  append(bytes: Uint8Array): void {
    if (this.#failure !== undefined) throw this.#failure
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#file, bytes, done)
      this.#length += bytes.length
    } catch (error) {
      if (this.#isPlain) ftruncateSync(this.#file, this.#length)
      this.#failure = fileError(error, 'write recording', this.path)
      throw this.#failure
    }
  }

  /** Writes the end mark and closes the file. A recording without one is readable up to its last batch. */
  finish(end: RecordingEnd): void {
    try {
      if (this.#failure !== undefined) return
      this.append(encodeRecordingEnd(end))
      if (this.#isPlain) fsyncSync(this.#file)
    } catch (error) {
      throw fileError(error, 'write recording', this.path)
    } finally {
      closeSync(this.#file)
    }
  }
}

const PIECE_BYTES = 1 << 20

/** Reads a recording piece by piece. Call `header` first, then `batches`, then `outcome`. */
export class RecordingReader {
  readonly #path: string
  readonly #decoder: RecordingDecoder
  #outcome: RecordingOutcome | undefined

  constructor(path: string) {
    this.#path = path
    this.#decoder = new RecordingDecoder(path)
  }

  /** The header alone. Throws FormatError if there is no whole one. */
  static async header(path: string): Promise<RecordingHeader> {
    const reader = new RecordingReader(path)
    for await (const _batch of reader.batches()) break
    const { header } = reader.#decoder
    if (header === undefined) reader.#decoder.finish()
    return header!
  }

  async *batches(): AsyncGenerator<LogBatch> {
    const file = await open(this.#path, 'r').catch((error: unknown) => {
      throw fileError(error, 'read recording', this.#path)
    })
    try {
      const piece = new Uint8Array(PIECE_BYTES)
      for (;;) {
        const { bytesRead } = await file.read(piece, 0, PIECE_BYTES, null)
        if (bytesRead === 0) break
        this.#decoder.push(piece.slice(0, bytesRead))
        for (let batch = this.#decoder.next(); batch !== undefined; batch = this.#decoder.next()) yield batch
      }
      this.#outcome = this.#decoder.finish()
    } finally {
      await file.close()
    }
  }

  /** How the file ended; undefined until `batches` has been exhausted. */
  get outcome(): RecordingOutcome | undefined {
    return this.#outcome
  }
}

/** Recordings on disk: written while the machine runs, read for a replay. */
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
import { AppendFile } from './append_file.ts'

/**
 * Appends batches, which are small and come ten times a second, to a new file. After a failure the file ends with its
 * last whole batch.
 */
export class RecordingWriter {
  readonly #file: AppendFile

  constructor(path: string, header: RecordingHeader) {
    this.#file = new AppendFile(path, 'recording')
    this.append(encodeRecordingHeader(header))
  }

  /** Not a pipe or device, beside which nothing can be. */
  get isPlain(): boolean {
    return this.#file.isPlain
  }

  /** Appends whole records. Throws a UserError if they cannot be written; then and ever after. */
  append(bytes: Uint8Array): void {
    this.#file.append(bytes)
  }

  /** Writes the end mark and closes the file. A recording without one is readable up to its last batch. */
  finish(end: RecordingEnd): void {
    try {
      if (this.#file.hasFailed) return
      this.append(encodeRecordingEnd(end))
      this.#file.sync()
    } finally {
      this.#file.close()
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
    const refuse = (error: unknown): never => {
      throw fileError(error, 'read recording', this.#path)
    }
    const file = await open(this.#path, 'r').catch(refuse)
    try {
      const piece = new Uint8Array(PIECE_BYTES)
      for (;;) {
        const { bytesRead } = await file.read(piece, 0, PIECE_BYTES, null).catch(refuse)
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

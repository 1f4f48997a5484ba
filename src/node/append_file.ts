/**
 * A new file that grows by whole units. Writing is synchronous: units are small, and what has been written survives the
 * death of the process. After a failure, as of a full disk, the file ends with its last whole unit, and nothing more is
 * written.
 */
import { closeSync, fstatSync, fsyncSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { fileError } from '../host/file_error.ts'

export class AppendFile {
  readonly path: string
  /** A plain file, not a pipe or device, which has neither length nor sync. */
  readonly isPlain: boolean
  /** What the file is, for errors. */
  readonly #kind: string
  readonly #file: number
  #length = 0
  #failure: unknown

  /** Empties or makes the file. Throws a UserError if it cannot be written; `kind` says there what it is. */
  constructor(path: string, kind: string) {
    this.path = path
    this.#kind = kind
    try {
      this.#file = openSync(path, 'w')
      this.isPlain = fstatSync(this.#file).isFile()
    } catch (error) {
      throw this.#error(error)
    }
  }

  /** Bytes written. */
  get length(): number {
    return this.#length
  }

  get hasFailed(): boolean {
    return this.#failure !== undefined
  }

  /** Appends a unit. Throws a UserError if it cannot be written; then and ever after. */
  append(bytes: Uint8Array): void {
    if (this.#failure !== undefined) throw this.#failure
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#file, bytes, done)
      this.#length += bytes.length
    } catch (error) {
      if (this.isPlain) ftruncateSync(this.#file, this.#length)
      this.#failure = this.#error(error)
      throw this.#failure
    }
  }

  /** Makes sure that everything is on the disk. */
  sync(): void {
    try {
      if (this.isPlain) fsyncSync(this.#file)
    } catch (error) {
      throw this.#error(error)
    }
  }

  close(): void {
    closeSync(this.#file)
  }

  #error(error: unknown): unknown {
    return fileError(error, `write ${this.#kind}`, this.path)
  }
}

/**
 * Standard output and error as plain descriptors: written at once and in order, also while the machine runs and the
 * event loop does not. A reader that has gone ends the command without a word, as it ends other programs.
 */
import { writeSync } from 'node:fs'
import { UserError } from '../base/errors.ts'

const OUTPUT = 1
const ERROR = 2
const BUFFER_BYTES = 64 * 1024
const NEWLINE = 10
/** How long to wait for a reader whose pipe is full and does not block. */
const FULL_PIPE_MS = 2

/** Whoever read the standard output has closed it. Not a UserError: the user knows. */
export class OutputClosed extends Error {}

/** Throws OutputClosed, or a UserError if the output cannot be written. */
export function writeOutput(content: string | Uint8Array): void {
  writeAll(OUTPUT, typeof content === 'string' ? Buffer.from(content) : content)
}

/** Writes a value to the standard output as JSON, for programs to read. */
export function printJson(value: unknown): void {
  writeOutput(`${JSON.stringify(value, undefined, 2)}\n`)
}

/** Writes to the standard error; if that is closed, there is nobody to tell. */
export function writeError(text: string): void {
  try {
    writeAll(ERROR, Buffer.from(text))
  } catch {}
}

/** Gathers what a guest prints byte by byte into lines. */
export class LineBuffer {
  readonly #bytes = new Uint8Array(BUFFER_BYTES)
  #length = 0

  write(bytes: Uint8Array): void {
    for (const byte of bytes) {
      if (this.#length === BUFFER_BYTES) this.flush()
      this.#bytes[this.#length++] = byte
      if (byte === NEWLINE) this.flush()
    }
  }

  flush(): void {
    if (this.#length > 0) writeAll(OUTPUT, this.#bytes.subarray(0, this.#length))
    this.#length = 0
  }
}

function writeAll(descriptor: number, bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length; ) {
    try {
      written += writeSync(descriptor, bytes, written)
    } catch (error) {
      onWriteError(error as NodeJS.ErrnoException, descriptor)
    }
  }
}

function onWriteError(error: NodeJS.ErrnoException, descriptor: number): void {
  if (error.code === 'EAGAIN') {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, FULL_PIPE_MS)
    return
  }
  if (error.code === 'EPIPE' && descriptor === OUTPUT)
    throw new OutputClosed('the output has been closed', { cause: error })
  throw new UserError(`cannot write the output: ${error.message}`, { cause: error })
}

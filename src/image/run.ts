/**
 * Running one command in a guest: how the command gets in, and how its output and its status come out.
 *
 * The command travels as base64 in the kernel parameter `understudy.run`. The guest's init runs it with `/bin/sh -c`
 * once the services of the image answer; its standard output and error go to the virtio console (/dev/hvc0, in raw mode:
 * bytes as they are), or to the serial console where there is no virtio console, among whatever else is printed there;
 * its input is empty. When the command has ended and every process is gone, the init writes
 *
 *     RS "understudy-exit " status LF          (RS is the byte 0x1e; status in decimal, 0 to 255)
 *
 * and powers off. So the mark counts only as the very last bytes before the machine's end (on a serial console the
 * kernel's farewell may follow it): the same bytes printed earlier by the command mean nothing, and a machine that ends
 * without the mark was ended by the command or by a fault.
 */
import { UserError } from '../base/errors.ts'

/** Linux on RISC-V cuts its command line off after this many bytes (COMMAND_LINE_SIZE); some are left for the rest. */
const PARAMETER_BYTES_MAX = 800
const MARK_BYTES_MAX = 96

export interface RunOutput {
  /** What the command wrote. */
  readonly output: Uint8Array
  /** The command's exit status; undefined if the machine ended without reporting one. */
  readonly status: number | undefined
}

/** The kernel parameter that runs `command`. Throws a UserError if the command is too long for it. */
export function runParameter(command: string): string {
  const parameter = `understudy.run=${Buffer.from(command).toString('base64')}`
  if (parameter.length > PARAMETER_BYTES_MAX) {
    const bytesMax = Math.floor(((PARAMETER_BYTES_MAX - 'understudy.run='.length) * 3) / 4)
    throw new UserError(
      `the command is too long: ${Buffer.byteLength(command)} bytes, at most ${bytesMax} fit`,
    )
  }
  return parameter
}

/** Takes apart everything that the console wrote until the machine's end. */
export function parseRunOutput(console: Uint8Array): RunOutput {
  const bytes = Buffer.from(console.buffer, console.byteOffset, console.byteLength)
  const start = Math.max(0, bytes.length - MARK_BYTES_MAX)
  const tail = bytes.toString('latin1', start)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the record separator is what makes the mark one
  const match = /\x1eunderstudy-exit (\d{1,3})\r?\n(\[ *[\d.]+\] reboot: Power down\r?\n)?$/.exec(tail)
  if (match === null) return { output: console, status: undefined }
  return { output: console.subarray(0, start + match.index), status: Number(match[1]) }
}

const RECORD_SEPARATOR = 0x1e

/** Passes a command's output on as it comes, holding back only what may be the mark at its end. */
export class RunOutputStream {
  readonly #write: (bytes: Uint8Array) => void
  #held: Uint8Array = new Uint8Array(0)

  constructor(write: (bytes: Uint8Array) => void) {
    this.#write = write
  }

  push(bytes: Uint8Array): void {
    const all = Buffer.concat([this.#held, bytes])
    const recent = Math.max(0, all.length - MARK_BYTES_MAX)
    const separator = all.indexOf(RECORD_SEPARATOR, recent)
    const safe = separator < 0 ? all.length : separator
    this.#held = all.subarray(safe)
    if (safe > 0) this.#write(all.subarray(0, safe))
  }

  /** Declares the machine's end. Returns the command's status if the mark was there. */
  finish(): number | undefined {
    const { output, status } = parseRunOutput(this.#held)
    if (output.length > 0) this.#write(output)
    this.#held = new Uint8Array(0)
    return status
  }
}

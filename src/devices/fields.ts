/**
 * Fields of device states that come in fixed-size arrays. The size belongs to the configuration, so a state
 * of another size comes from another board and is refused.
 */
import { FormatError } from '../base/errors.ts'
import type { StateReader, StateWriter } from '../base/state.ts'

/** Writes each word as a field of its own, `name[0]`, `name[1]` ..., so that a difference names the word. */
export function saveWords(writer: StateWriter, name: string, words: Uint32Array): void {
  words.forEach((word, index) => {
    writer.u32(`${name}[${index}]`, word)
  })
}

/** Reads what `saveWords` wrote into an array of the same length. */
export function loadWords(reader: StateReader, name: string, words: Uint32Array): void {
  for (let index = 0; index < words.length; index++) words[index] = reader.u32(`${name}[${index}]`)
}

/** Reads bytes that must fill `target` exactly. */
export function loadBytes(reader: StateReader, name: string, target: Uint8Array): void {
  const bytes = reader.bytes(name)
  if (bytes.length !== target.length) {
    throw new FormatError(
      `machine state: ${name} has ${bytes.length} bytes, this machine has ${target.length}`,
    )
  }
  target.set(bytes)
}

/** Reads a u32 that is at most `max`. */
export function loadLimited(reader: StateReader, name: string, max: number): number {
  const value = reader.u32(name)
  if (value > max) throw new FormatError(`machine state: ${name} is ${value}, at most ${max} is possible`)
  return value
}

/** Reads bytes of at most `max`. */
export function loadLimitedBytes(reader: StateReader, name: string, max: number): Uint8Array {
  const bytes = reader.bytes(name)
  if (bytes.length > max) {
    throw new FormatError(`machine state: ${name} has ${bytes.length} bytes, at most ${max} are possible`)
  }
  return bytes
}

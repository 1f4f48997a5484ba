/**
 * A computer's identity as JSON, as recordings and snapshots carry it: the specification, and what it was started
 * from by digest. Where files are is not part of it.
 */
import { createHash } from 'node:crypto'
import type { JsonObject, JsonValue } from '../base/canonical_json.ts'
import { FormatError, UserError } from '../base/errors.ts'
import type { ComputerSpecification } from '../board/computer.ts'
import { HARTS_MAX, RAM_BYTES_MAX, RAM_BYTES_MIN, RAM_BYTES_STEP } from './machine_limits.ts'

export interface MachineRecord {
  readonly specification: ComputerSpecification
  /** The image's name here, a hint for finding it again. */
  readonly image: string
  /** SHA-256, hexadecimal. */
  readonly kernel: string
  readonly initramfs: string
  readonly disk: string
}

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

export function encodeMachineRecord(record: MachineRecord): JsonObject {
  const { harts, ramBytes, bootArguments, rngSeed, diskSectors, mac } = record.specification
  return {
    ...{ harts, ramBytes, bootArguments, rngSeed: toHex(rngSeed) },
    ...{ diskSectors: diskSectors ?? null, mac: mac === undefined ? null : toHex(mac) },
    ...{ image: record.image, kernel: record.kernel, initramfs: record.initramfs, disk: record.disk },
  }
}

/** Reads what `encodeMachineRecord` wrote; `what` names the file in errors. */
export function decodeMachineRecord(json: JsonObject, what: string): MachineRecord {
  const field = new Fields(json, what)
  const diskSectors = field.optionalNumber('diskSectors')
  const mac = field.optionalBytes('mac', 6)
  const specification = {
    harts: field.number('harts', HARTS_MAX),
    ramBytes: field.ramBytes('ramBytes'),
    bootArguments: field.text('bootArguments'),
    rngSeed: field.bytes('rngSeed', 32),
    ...(diskSectors === undefined ? {} : { diskSectors }),
    ...(mac === undefined ? {} : { mac }),
  }
  const digests = {
    kernel: field.text('kernel'),
    initramfs: field.text('initramfs'),
    disk: field.text('disk'),
  }
  return { specification, image: field.text('image'), ...digests }
}

/** Checks the fields of a JSON object that came from a file. */
class Fields {
  readonly #json: JsonObject
  readonly #what: string

  constructor(json: JsonObject, what: string) {
    this.#json = json
    this.#what = what
  }

  text(name: string): string {
    const value = this.#json[name]
    if (typeof value !== 'string') throw this.#error(name, value)
    return value
  }

  number(name: string, max: number): number {
    const value = this.#json[name]
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 1 || value > max) {
      throw this.#error(name, value)
    }
    return value
  }

  ramBytes(name: string): number {
    const bytes = this.number(name, RAM_BYTES_MAX)
    if (bytes < RAM_BYTES_MIN || bytes % RAM_BYTES_STEP !== 0) throw this.#error(name, bytes)
    return bytes
  }

  optionalNumber(name: string): number | undefined {
    return this.#json[name] === null ? undefined : this.number(name, 2 ** 44)
  }

  bytes(name: string, length: number): Uint8Array {
    const text = this.text(name)
    if (text.length !== length * 2 || !/^[0-9a-f]*$/.test(text)) throw this.#error(name, text)
    return Uint8Array.from(Buffer.from(text, 'hex'))
  }

  optionalBytes(name: string, length: number): Uint8Array | undefined {
    return this.#json[name] === null ? undefined : this.bytes(name, length)
  }

  #error(name: string, value: JsonValue | undefined): FormatError {
    return new FormatError(
      `${this.#what}: machine.${name} is not valid: ${JSON.stringify(value)?.slice(0, 80)}`,
    )
  }
}

/** Throws a UserError unless the files at hand are those that `record` names. */
export function requireSameFiles(
  record: MachineRecord,
  found: Pick<MachineRecord, 'kernel' | 'initramfs' | 'disk'>,
  what: string,
): void {
  for (const part of ['kernel', 'initramfs', 'disk'] as const) {
    if (record[part] === found[part]) continue
    throw new UserError(
      `${what} was made with another ${part} than image ${record.image} has now ` +
        `(${record[part].slice(0, 12)}, found ${found[part].slice(0, 12)}): use the image it was made with`,
    )
  }
}

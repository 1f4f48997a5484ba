/**
 * What a host has seen of a machine's arbiter, kept from process to process, two lines of ASCII:
 *
 *     {"decision":"...","identity":"...","kind":"understudy-arbiter-memory","machine":"NAME","version":1}
 *     CRC-32C of the first line without its end, in eight hexadecimal digits
 *
 * `decision` is the record as the arbiter stores it (decision_record.ts), or null; so is `identity`. The file is for
 * noticing an arbiter that was restored or replaced while no process ran. It may lag behind what was seen.
 */
import { open } from 'node:fs/promises'
import { canonicalJson, decodeJson } from '../base/canonical_json.ts'
import { FormatError } from '../base/errors.ts'
import { decodeAscii, encodeAscii } from '../base/text.ts'
import type { Known } from './arbiter_memory.ts'
import { writeFileAtomically } from './atomic_file.ts'
import { readInto } from './base_image.ts'
import { checksumOf, decodeRecord, encodeRecord, RECORD_BYTES_MAX } from './decision_record.ts'
import { fileError, systemErrorCode } from './file_error.ts'

const KIND = 'understudy-arbiter-memory'
const VERSION = 1
/** A record with its quotes escaped, and what stands around it. */
const MEMORY_BYTES_MAX = 3 * RECORD_BYTES_MAX

/** Writes it, atomically. Throws a UserError if it cannot be written. */
export async function writeArbiterMemory(path: string, machine: string, known: Known): Promise<void> {
  await writeFileAtomically(path, encodeArbiterMemory(machine, known))
}

/** Reads it; undefined if there is none. Throws FormatError if it is damaged, or that of another machine. */
export async function readArbiterMemory(path: string, machine: string): Promise<Known | undefined> {
  try {
    const file = await open(path, 'r')
    try {
      const { size } = await file.stat()
      if (size > MEMORY_BYTES_MAX) throw new FormatError(`${path}: ${size} bytes are too many`)
      const bytes = new Uint8Array(size)
      await readInto(file, bytes, 0)
      return decodeArbiterMemory(bytes, machine, path)
    } finally {
      await file.close()
    }
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined
    throw fileError(error, 'read', path)
  }
}

/** The memory as it is stored. */
export function encodeArbiterMemory(machine: string, { identity, decision }: Known): string {
  const record = decision === undefined ? null : encodeRecord(machine, decision)
  const line = canonicalJson({
    kind: KIND,
    version: VERSION,
    machine,
    identity: identity ?? null,
    decision: record,
  })
  return `${line}\n${checksumOf(line)}\n`
}

/** Reads a stored memory. Throws FormatError, in which `what` names it, if it is none of this machine. */
export function decodeArbiterMemory(bytes: Uint8Array, machine: string, what: string): Known {
  const stored = decodeAscii(bytes)
  const [line = '', sum] = stored.split('\n')
  if (!/^[ -~]+$/.test(line) || sum !== checksumOf(line)) {
    throw new FormatError(`${what}: damaged, its checksum is wrong: remove it if the arbiter is sound`)
  }
  const { kind, version, machine: owner, identity, decision } = decodeJson(encodeAscii(line), what)
  if (kind !== KIND) throw new FormatError(`${what}: not what was seen of an arbiter`)
  if (version !== VERSION) {
    throw new FormatError(`${what}: version ${String(version)}, this program reads ${VERSION}`)
  }
  if (owner !== machine) throw new FormatError(`${what}: belongs to machine ${String(owner)}`)
  if (!isTextOrNull(identity) || !isTextOrNull(decision)) {
    throw new FormatError(`${what}: not what was seen of an arbiter`)
  }
  const known = {
    identity: identity ?? undefined,
    decision: decision === null ? undefined : decodeRecord(encodeAscii(decision), machine, what),
  }
  if (encodeArbiterMemory(machine, known) !== stored) throw new FormatError(`${what}: not in canonical form`)
  return known
}

function isTextOrNull(value: unknown): value is string | null {
  return value === null || (typeof value === 'string' && /^[ -~\n]*$/.test(value))
}

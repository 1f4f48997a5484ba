/**
 * A decision as the arbiters store it, two lines of ASCII:
 *
 *     {"epoch":7,"kind":"understudy-decision","machine":"NAME","text":"...","version":1}
 *     CRC-32C of the first line without its end, in eight hexadecimal digits
 *
 * The JSON is canonical, so equal decisions are equal bytes; that is what a compare-and-set compares. A record names
 * its machine and epoch, so that one in the wrong place is noticed.
 */
import { assert } from '../base/assert.ts'
import { canonicalJson, decodeJson } from '../base/canonical_json.ts'
import { crc32c } from '../base/crc32c.ts'
import { FormatError, UserError } from '../base/errors.ts'
import { decodeAscii, encodeAscii } from '../base/text.ts'
import type { Decision } from '../replication/arbiter.ts'

const KIND = 'understudy-decision'
const VERSION = 1
export const EPOCH_MAX = 0xffff_ffff
/** A text of 4096 characters, each escaped, and what stands around it. */
export const RECORD_BYTES_MAX = 16 << 10

/** One line of printable ASCII. */
const TEXT = /^[ -~]{1,4096}$/
/** Fit for a file's name on every system, and never one of those that begin with a dot. */
const MACHINE = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/

/** Whether two decisions, or their absence, are the same. */
export function isSameDecision(a: Decision | undefined, b: Decision | undefined): boolean {
  return a?.epoch === b?.epoch && a?.text === b?.text
}

/** Throws a UserError unless `machine` can name a machine. */
export function checkMachineName(machine: string): void {
  if (MACHINE.test(machine)) return
  throw new UserError(
    `machine name '${machine}': it takes 1 to 63 letters, digits, dots, hyphens and underscores, a letter or digit first`,
  )
}

/** Our own side must propose what the port promises. */
export function assertProposal(expected: Decision | undefined, proposed: Decision): void {
  assert(proposed.epoch === (expected?.epoch ?? 0) + 1, `decision ${proposed.epoch} after ${expected?.epoch}`)
  assert(proposed.epoch <= EPOCH_MAX, `not an epoch: ${proposed.epoch}`)
  assert(TEXT.test(proposed.text), `not the text of a decision: ${proposed.text}`)
}

/** The decision as it is stored. */
export function encodeRecord(machine: string, { epoch, text }: Decision): string {
  const line = canonicalJson({ kind: KIND, version: VERSION, machine, epoch, text })
  return `${line}\n${checksumOf(line)}\n`
}

/** Reads a stored decision of `machine`. Throws a FormatError, in which `what` names it, if it is none. */
export function decodeRecord(bytes: Uint8Array, machine: string, what: string): Decision {
  if (bytes.length > RECORD_BYTES_MAX) throw new FormatError(`${what}: ${bytes.length} bytes are too many`)
  const stored = decodeAscii(bytes)
  const [line = '', sum] = stored.split('\n')
  if (!/^[ -~]+$/.test(line) || sum !== checksumOf(line)) {
    throw new FormatError(`${what}: damaged, its checksum is wrong`)
  }
  const { kind, version, machine: owner, epoch, text } = decodeJson(encodeAscii(line), what)
  if (kind !== KIND) throw new FormatError(`${what}: not a decision`)
  if (version !== VERSION) {
    throw new FormatError(`${what}: version ${String(version)}, this program reads ${VERSION}`)
  }
  if (owner !== machine) throw new FormatError(`${what}: belongs to machine ${String(owner)}`)
  const isDecision = typeof epoch === 'number' && typeof text === 'string' && TEXT.test(text)
  if (!isDecision || !Number.isInteger(epoch) || epoch < 1 || epoch > EPOCH_MAX) {
    throw new FormatError(`${what}: not a decision`)
  }
  const decision = { epoch, text }
  if (encodeRecord(machine, decision) !== stored) throw new FormatError(`${what}: not in canonical form`)
  return decision
}

/** CRC-32C of a line of ASCII, in eight hexadecimal digits. */
export function checksumOf(line: string): string {
  return crc32c(encodeAscii(line)).toString(16).padStart(8, '0')
}

/**
 * Configurations: who may act for a machine.
 *
 *     epoch N   { life, primary, backup or none, phase }
 *
 * The arbiter holds one for each epoch and never changes one. A change is a test-and-set from N to N + 1:
 *
 *     change       made by                        from                to
 *     cold start   a new process (starting.ts)    any or none         {me, none}, life N + 1
 *     go live      the backup                     {A, B}              {B, none}
 *     drop         the primary                    {A, B}              {A, none}
 *     add          the primary                    {A, none}           {A, C}
 *     hand over    the primary                    {A, B}              {B, none}
 *     stop         the primary                    {A, any}            the same, stopped
 *
 * A decision has no lease and never expires: what is not replaced holds for ever.
 */
import { assert } from '../base/assert.ts'
import { canonicalJson, decodeJson, type JsonObject, type JsonValue } from '../base/canonical_json.ts'
import { FormatError } from '../base/errors.ts'
import { encodeAscii } from '../base/text.ts'
import { type Decision, MAX_DECISION_BYTES } from './arbiter.ts'

/** One copy of the machine, as configurations name it. */
export interface MemberIdentity {
  /** The replica host's name. */
  readonly host: string
  /** Random, made anew by each process: a restarted process is nobody until it joins again. */
  readonly incarnation: string
  /** Random, made anew for each disk that is filled by joining: which disk belongs to this copy. */
  readonly diskGeneration: string
}

export const CHANGE_KINDS = ['cold start', 'go live', 'drop', 'add', 'hand over', 'stop'] as const
export type ChangeKind = (typeof CHANGE_KINDS)[number]

export const PHASES = ['running', 'stopped'] as const
export type Phase = (typeof PHASES)[number]

export interface Configuration {
  readonly epoch: number
  /** Epoch of the cold start that the present indexes, positions and ordinals count from. */
  readonly life: number
  readonly primary: MemberIdentity
  readonly backup: MemberIdentity | undefined
  readonly phase: Phase
  /** How it came about; for people, and part of what makes two proposals equal. */
  readonly change: ChangeKind
}

const VERSION = 1
const MAX_EPOCH = 0xffff_ffff
/** Names are short, printable and without spaces. */
const NAME = /^[!-~]{1,128}$/
const ASCII = /^[ -~]*$/

/** Whether a text can be a host, an incarnation or a generation. */
export function isName(text: string): boolean {
  return NAME.test(text)
}

export function isSameMember(a: MemberIdentity | undefined, b: MemberIdentity | undefined): boolean {
  if (a === undefined || b === undefined) return a === b
  return a.host === b.host && a.incarnation === b.incarnation && a.diskGeneration === b.diskGeneration
}

/** Whether two configurations are the same decision. */
export function isSameConfiguration(a: Configuration, b: Configuration): boolean {
  return encodeConfiguration(a).text === encodeConfiguration(b).text
}

/** The configuration as the arbiter stores it: canonical JSON. */
export function encodeConfiguration(configuration: Configuration): Decision {
  const { epoch, life, primary, backup, phase, change } = configuration
  assert(epoch >= 1 && epoch <= MAX_EPOCH, `not an epoch: ${epoch}`)
  const text = canonicalJson({
    version: VERSION,
    epoch,
    life,
    primary: memberJson(primary),
    backup: backup === undefined ? null : memberJson(backup),
    phase,
    change,
  })
  assert(text.length <= MAX_DECISION_BYTES, `a configuration of ${text.length} bytes`)
  return { epoch, text }
}

/**
 * Reads a stored configuration.
 * @throws FormatError if it is not one that this program wrote
 */
export function decodeConfiguration(decision: Decision): Configuration {
  const what = `the arbiter's decision ${decision.epoch}`
  if (decision.text.length > MAX_DECISION_BYTES) throw new FormatError(`${what}: too long`)
  if (!ASCII.test(decision.text)) throw new FormatError(`${what}: not ASCII`)
  const json = decodeJson(encodeAscii(decision.text), what)
  if (json['version'] !== VERSION) {
    throw new FormatError(`${what}: version ${String(json['version'])}, this program reads ${VERSION}`)
  }
  const configuration: Configuration = {
    epoch: number(json['epoch'], `${what}: epoch`),
    life: number(json['life'], `${what}: life`),
    primary: member(json['primary'], `${what}: primary`),
    backup: json['backup'] === null ? undefined : member(json['backup'], `${what}: backup`),
    phase: oneOf(json['phase'], PHASES, `${what}: phase`),
    change: oneOf(json['change'], CHANGE_KINDS, `${what}: change`),
  }
  // Equal texts are equal decisions only while there is one text for each.
  if (encodeConfiguration(configuration).text !== decision.text || configuration.epoch !== decision.epoch) {
    throw new FormatError(`${what}: not in canonical form`)
  }
  return configuration
}

/** The configuration that follows `from` by a change, for the member who makes it. */
export function follow(
  from: Configuration,
  change: Exclude<ChangeKind, 'cold start'>,
  { primary, backup }: { readonly primary: MemberIdentity; readonly backup: MemberIdentity | undefined },
): Configuration {
  const phase = change === 'stop' ? 'stopped' : 'running'
  return { epoch: from.epoch + 1, life: from.life, primary, backup, phase, change }
}

/** The configuration that a cold start makes after `from` (undefined: the machine is new). */
export function startCold(from: Configuration | undefined, primary: MemberIdentity): Configuration {
  const epoch = (from?.epoch ?? 0) + 1
  return { epoch, life: epoch, primary, backup: undefined, phase: 'running', change: 'cold start' }
}

function memberJson({ host, incarnation, diskGeneration }: MemberIdentity): JsonObject {
  for (const name of [host, incarnation, diskGeneration]) assert(isName(name), `not a name: '${name}'`)
  return { host, incarnation, diskGeneration }
}

function member(json: JsonValue | undefined, what: string): MemberIdentity {
  if (typeof json !== 'object' || json === null) throw new FormatError(`${what} is not a member`)
  const { host, incarnation, diskGeneration } = json as JsonObject
  return {
    host: name(host, `${what}.host`),
    incarnation: name(incarnation, `${what}.incarnation`),
    diskGeneration: name(diskGeneration, `${what}.diskGeneration`),
  }
}

function name(json: JsonValue | undefined, what: string): string {
  if (typeof json !== 'string' || !isName(json)) throw new FormatError(`${what} is not a name`)
  return json
}

function number(json: JsonValue | undefined, what: string): number {
  if (typeof json !== 'number' || !Number.isInteger(json) || json < 1 || json > MAX_EPOCH) {
    throw new FormatError(`${what} is not a number from 1 to ${MAX_EPOCH}`)
  }
  return json
}

function oneOf<T extends string>(json: JsonValue | undefined, values: readonly T[], what: string): T {
  const found = values.find((value) => value === json)
  if (found === undefined) throw new FormatError(`${what} is none of ${values.join(', ')}`)
  return found
}

/**
 * What is said first on a secure channel: one message each way, a length (u32, little-endian) and JSON in ASCII.
 *
 *     dialler                                                       listener
 *       {kind, version, service, from, to, terms, info}  ->
 *                                                  <-  {kind, version, from, info}  or  {kind, version, refused: line}
 *
 * `terms` are what both must have equal: the build of the software, the machine's digest, and so on. `info` is what each
 * tells the other beyond that. Behind it the channel belongs to the service.
 */
import type { Duplex } from 'node:stream'
import { assert } from '../base/assert.ts'
import { decodeJson, encodeJson, type JsonObject, type JsonValue } from '../base/canonical_json.ts'
import { FormatError } from '../base/errors.ts'
import { isPeerName } from './secure_credentials.ts'

/** What a listener may serve. */
export const SERVICES = ['replication', 'heartbeat', 'control', 'gateway'] as const
export type Service = (typeof SERVICES)[number]

/** Values by key, all short. */
export type Terms = Readonly<Record<string, string>>

export interface Hello {
  readonly service: Service
  readonly from: string
  readonly to: string
  readonly terms: Terms
  readonly info: Terms
}

/** Accepted by `from`, or refused for a reason of one line. */
export type Answer = { readonly from: string; readonly info: Terms } | { readonly refused: string }

const KIND = 'understudy'
export const HANDSHAKE_VERSION = 2
export const MESSAGE_BYTES_MAX = 4096
const LENGTH_BYTES = 4
const TERMS_MAX = 32
const TERM_KEY = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/
const TERM_VALUE = /^[ -~]{0,256}$/

export function encodeHello({ service, from, to, terms, info }: Hello): Uint8Array {
  return encode({ service, from, to, terms, info })
}

export function encodeAnswer(answer: Answer): Uint8Array {
  return encode({ ...answer })
}

function encode(content: JsonObject): Uint8Array {
  const json = encodeJson({ kind: KIND, version: HANDSHAKE_VERSION, ...content })
  assert(json.length <= MESSAGE_BYTES_MAX, `a handshake of ${json.length} bytes`)
  const message = new Uint8Array(LENGTH_BYTES + json.length)
  new DataView(message.buffer).setUint32(0, json.length, true)
  message.set(json, LENGTH_BYTES)
  return message
}

/** What a dialler has said. Throws a FormatError unless it is a hello of this version. */
export function parseHello(json: JsonObject): Hello {
  checkVersion(json)
  const { kind: _kind, version: _version, service, from, to, terms, info, ...rest } = json
  const known = SERVICES.find((name) => name === service)
  if (known === undefined) throw new FormatError(`unknown service ${shown(service)}`)
  checkNoRest(rest)
  return {
    ...{ service: known, from: parseName(from), to: parseName(to) },
    ...{ terms: parseTerms(terms), info: parseTerms(info) },
  }
}

/** What a listener has said. Throws a FormatError unless it is an answer of this version. */
export function parseAnswer(json: JsonObject): Answer {
  checkVersion(json)
  const { kind: _kind, version: _version, refused, from, info, ...rest } = json
  checkNoRest(rest)
  if (refused === undefined) return { from: parseName(from), info: parseTerms(info) }
  if (typeof refused !== 'string') throw new FormatError('a refusal without a reason')
  return { refused }
}

/** Looked at before everything else: the rest may be different in another version. */
function checkVersion({ kind, version }: JsonObject): void {
  if (kind !== KIND) throw new FormatError('not a handshake')
  if (version === HANDSHAKE_VERSION) return
  throw new FormatError(`handshake version ${shown(version)}, this program speaks ${HANDSHAKE_VERSION}`)
}

function checkNoRest(rest: JsonObject): void {
  const [key] = Object.keys(rest)
  if (key !== undefined) throw new FormatError(`unknown field ${shown(key)}`)
}

function parseName(value: JsonValue | undefined): string {
  if (typeof value !== 'string' || !isPeerName(value)) throw new FormatError(`${shown(value)} is no name`)
  return value
}

function parseTerms(value: JsonValue | undefined): Terms {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new FormatError('no terms')
  const entries = Object.entries(value)
  if (entries.length > TERMS_MAX) throw new FormatError(`${entries.length} terms`)
  return Object.fromEntries(
    entries.map(([key, term]) => {
      if (!TERM_KEY.test(key)) throw new FormatError(`a term called ${shown(key)}`)
      if (typeof term !== 'string' || !TERM_VALUE.test(term))
        throw new FormatError(`term '${key}' is no text`)
      return [key, term] as const
    }),
  )
}

function shown(value: JsonValue | undefined): string {
  return `'${String(typeof value === 'object' ? typeof value : value).slice(0, 60)}'`
}

/** The first term that two peers do not have alike, in words; undefined if they agree on everything. */
export function disagreement(
  a: { readonly name: string; readonly terms: Terms },
  b: { readonly name: string; readonly terms: Terms },
): string | undefined {
  const keys = [...new Set([...Object.keys(a.terms), ...Object.keys(b.terms)])].sort()
  const key = keys.find((name) => termOf(a.terms, name) !== termOf(b.terms, name))
  if (key === undefined) return undefined
  const said = [a, b].map(({ name, terms }) => {
    const term = termOf(terms, key)
    return term === undefined ? `${name} has none` : `${name} has '${term}'`
  })
  return `no agreement on ${key}: ${said.join(', ')}`
}

/** A key like 'constructor' must not find what every object has. */
function termOf(terms: Terms, key: string): string | undefined {
  return Object.hasOwn(terms, key) ? terms[key] : undefined
}

/**
 * Takes one message off a stream and leaves in it whatever follows. The outcome comes later, once; none comes if the
 * stream ends or closes first.
 */
export function takeMessage(stream: Duplex, onMessage: (outcome: JsonObject | FormatError) => void): void {
  let length: number | undefined
  const onReadable = (): void => {
    const outcome = attempt(() => {
      length ??= takeLength(stream)
      return length === undefined ? undefined : takeJson(stream, length)
    })
    if (outcome === undefined) return
    stream.off('readable', onReadable)
    // The stream notices at the end of this tick that nobody waits for it to be readable any more.
    process.nextTick(() => {
      if (!stream.destroyed) onMessage(outcome)
    })
  }
  stream.on('readable', onReadable)
}

function attempt<Result>(work: () => Result): Result | FormatError {
  try {
    return work()
  } catch (error) {
    if (error instanceof FormatError) return error
    throw error
  }
}

/** Before the rest is even waited for, its length must be a possible one. */
function takeLength(stream: Duplex): number | undefined {
  const bytes = take(stream, LENGTH_BYTES)
  const length = bytes?.readUInt32LE()
  if (length === undefined || (length > 0 && length <= MESSAGE_BYTES_MAX)) return length
  throw new FormatError(`a handshake of ${length} bytes`)
}

function takeJson(stream: Duplex, length: number): JsonObject | undefined {
  const bytes = take(stream, length)
  return bytes === undefined ? undefined : decodeJson(bytes, 'handshake')
}

/** Exactly `count` bytes, or undefined while there are fewer. At its end a stream gives fewer than were asked for. */
function take(stream: Duplex, count: number): Buffer | undefined {
  const bytes: Buffer | null = stream.read(count)
  return bytes === null || bytes.length < count ? undefined : bytes
}

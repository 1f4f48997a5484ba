/**
 * What goes over a control connection, in frames (frame_stream.ts) of two kinds:
 *
 *     JSON    {id, method, parameters}                      a request
 *             {id, result} or {id, error: {message, code}}  its answer
 *             {event, data}                                 told by the server without a request
 *     bytes   u32 channel, bytes                            a console's; which one is agreed by a request
 */
import { assert } from '../base/assert.ts'
import type { ByteReader } from '../base/bytes.ts'
import type { JsonObject, JsonValue } from '../base/canonical_json.ts'
import { FormatError, UserError } from '../base/errors.ts'
import { encodeFrame, type Frame, FrameDecoder } from './frame_stream.ts'

/** What a request was answered with instead of a result. */
export class ControlError extends UserError {
  override readonly name: string = 'ControlError'
  readonly code: string

  constructor(message: string, code: string) {
    super(message)
    this.code = code
  }
}

export type ControlMessage =
  | {
      readonly kind: 'request'
      readonly id: number
      readonly method: string
      readonly parameters: JsonObject
    }
  | { readonly kind: 'result'; readonly id: number; readonly result: JsonValue }
  | { readonly kind: 'error'; readonly id: number; readonly message: string; readonly code: string }
  | { readonly kind: 'event'; readonly event: string; readonly data: JsonValue }
  | { readonly kind: 'bytes'; readonly channel: number; readonly bytes: Uint8Array }

export const CONTROL_BYTES_MAX = 1 << 20
const KIND_JSON = 1
const KIND_BYTES = 2
/** Of console bytes in one frame; more are several. */
export const CONSOLE_BYTES_MAX = 64 << 10
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/

export function controlDecoder(what: string): FrameDecoder {
  return new FrameDecoder(what, CONTROL_BYTES_MAX)
}

/** The message as it is sent; undefined if it is too long. */
export function encodeControl(message: ControlMessage): Uint8Array | undefined {
  if (message.kind === 'bytes') {
    assert(message.bytes.length <= CONSOLE_BYTES_MAX, `${message.bytes.length} console bytes in one frame`)
    const channel = new Uint8Array(4)
    new DataView(channel.buffer).setUint32(0, message.channel, true)
    return encodeFrame(KIND_BYTES, channel, message.bytes)
  }
  const json = Buffer.from(JSON.stringify(jsonOf(message)))
  return json.length > CONTROL_BYTES_MAX ? undefined : encodeFrame(KIND_JSON, json)
}

function jsonOf(message: Exclude<ControlMessage, { kind: 'bytes' }>): JsonObject {
  switch (message.kind) {
    case 'request':
      return { id: message.id, method: message.method, parameters: message.parameters }
    case 'result':
      return { id: message.id, result: message.result }
    case 'error':
      return { id: message.id, error: { message: message.message, code: message.code } }
    case 'event':
      return { event: message.event, data: message.data }
  }
}

/** @throws FormatError if it is no message */
export function decodeControl({ kind, reader }: Frame): ControlMessage {
  if (kind === KIND_BYTES) {
    return { kind: 'bytes', channel: reader.u32(), bytes: new Uint8Array(reader.bytes(reader.remaining)) }
  }
  if (kind !== KIND_JSON) throw reader.error(`a frame of unknown kind ${kind}`)
  const json = parse(reader)
  if ('method' in json) return requestOf(json, reader)
  if ('event' in json) return eventOf(json, reader)
  return answerOf(json, reader)
}

function parse(reader: ByteReader): JsonObject {
  const bytes = reader.bytes(reader.remaining)
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString())
  } catch {
    // Refused below.
  }
  if (!isObject(value)) throw reader.error('not a JSON object', 0)
  return value
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function requestOf({ id, method, parameters, ...rest }: JsonObject, reader: ByteReader): ControlMessage {
  checkRest(rest, reader)
  if (typeof method !== 'string' || !NAME.test(method)) throw reader.error('no name of a method', 0)
  if (!isObject(parameters)) throw reader.error('no parameters', 0)
  return { kind: 'request', id: idOf(id, reader), method, parameters }
}

function eventOf({ event, data, ...rest }: JsonObject, reader: ByteReader): ControlMessage {
  checkRest(rest, reader)
  if (typeof event !== 'string' || !NAME.test(event)) throw reader.error('no name of an event', 0)
  if (data === undefined) throw reader.error('an event without data', 0)
  return { kind: 'event', event, data }
}

function answerOf({ id, result, error, ...rest }: JsonObject, reader: ByteReader): ControlMessage {
  checkRest(rest, reader)
  const known = idOf(id, reader)
  if (error === undefined && result !== undefined) return { kind: 'result', id: known, result }
  if (!isObject(error) || result !== undefined) throw reader.error('neither result nor error', 0)
  const { message, code } = error
  if (typeof message !== 'string' || typeof code !== 'string') throw reader.error('an error without words', 0)
  return { kind: 'error', id: known, message, code }
}

function idOf(id: JsonValue | undefined, reader: ByteReader): number {
  if (typeof id === 'number' && Number.isSafeInteger(id) && id >= 0) return id
  throw reader.error('no number of a request', 0)
}

function checkRest(rest: JsonObject, reader: ByteReader): void {
  if (Object.keys(rest).length > 0) throw reader.error('a message with unknown fields', 0)
}

/** For methods without parameters. */
export function checkNoParameters(parameters: JsonObject): void {
  if (Object.keys(parameters).length > 0) throw new FormatError('there are no parameters')
}

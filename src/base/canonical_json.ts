/**
 * JSON with one text for each value: keys sorted by code unit, no spaces, everything outside ASCII escaped, no number
 * that JSON cannot carry. Headers of stored files are written this way, so that equal headers are equal bytes.
 */
import { assert } from './assert.ts'
import { FormatError } from './errors.ts'
import { decodeAscii, encodeAscii } from './text.ts'

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject
export interface JsonObject {
  readonly [key: string]: JsonValue
}

/** The canonical text of `value`, all ASCII. Numbers must be finite. */
export function canonicalJson(value: JsonValue): string {
  if (typeof value === 'number') assert(Number.isFinite(value), `not a JSON number: ${value}`)
  if (typeof value === 'string') return quoted(value)
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  const members = Object.keys(value)
    .sort()
    .map((key) => `${quoted(key)}:${canonicalJson(value[key]!)}`)
  return `{${members.join(',')}}`
}

/** The canonical text of `value` as bytes. */
export function encodeJson(value: JsonObject): Uint8Array {
  return encodeAscii(canonicalJson(value))
}

/** Parses a JSON object in ASCII, as `encodeJson` writes it. `what` names it in the FormatError. */
export function decodeJson(bytes: Uint8Array, what: string): JsonObject {
  let value: unknown
  try {
    value = JSON.parse(decodeAscii(bytes))
  } catch {
    throw new FormatError(`${what}: not JSON`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new FormatError(`${what}: not a JSON object`)
  }
  return value as JsonObject
}

function quoted(text: string): string {
  return JSON.stringify(text).replace(
    /[^ -~]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

// Array.isArray alone does not narrow readonly arrays.
function isArray(value: readonly JsonValue[] | JsonObject): value is readonly JsonValue[] {
  return Array.isArray(value)
}

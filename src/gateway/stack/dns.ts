/** What of DNS (RFC 1035) matters to somebody who passes messages on: a header of 12 bytes, id and flags first. */
import { get16, put16 } from './big_endian.ts'

const HEADER_BYTES = 12
const RESPONSE = 0x8000
const TRUNCATED = 0x0200
const QUESTIONS_AT = 4

/** Whether this can be a query: long enough, and not an answer. */
export function isDnsQuery(message: Uint8Array): boolean {
  return message.length >= HEADER_BYTES && (get16(message, 2) & RESPONSE) === 0
}

/** The number that an answer carries as well. */
export function dnsId(message: Uint8Array): number {
  return get16(message, 0)
}

/** An answer that says no more than that it does not fit, so that the asker comes again by TCP; undefined for no answer. */
export function truncatedDns(message: Uint8Array): Uint8Array | undefined {
  if (message.length < HEADER_BYTES || (get16(message, 2) & RESPONSE) === 0) return undefined
  const header = message.slice(0, HEADER_BYTES)
  put16(header, 2, get16(header, 2) | TRUNCATED)
  header.fill(0, QUESTIONS_AT)
  return header
}

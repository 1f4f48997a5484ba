/** ASCII text as bytes. The pure folders have no TextEncoder, and every name they write is ASCII. */
import { assert } from './assert.ts'

export function encodeAscii(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length)
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    assert(code < 0x80, `not ASCII: ${text}`)
    bytes[i] = code
  }
  return bytes
}

/** Bytes as text, one character each; bytes above 127 come out as Latin-1. */
export function decodeAscii(bytes: Uint8Array): string {
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(byte)
  return text
}

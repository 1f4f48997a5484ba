/**
 * A flattened device tree as source text that `dtc` accepts, written from the specification and not from our
 * writer, so that tests compare two readings of it.
 */
import { assert } from '../../base/assert.ts'
import { decodeAscii } from '../../base/text.ts'

const BEGIN_NODE = 1
const END_NODE = 2
const PROPERTY = 3
const NOP = 4
const END = 9

/** Throws an AssertionError for a blob that is not well-formed. */
export function deviceTreeText(blob: Uint8Array): string {
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength)
  assert(view.getUint32(0) === 0xd00dfeed, 'magic')
  assert(view.getUint32(4) === blob.length, 'total size')
  const structure = view.getUint32(8)
  const names = view.getUint32(12)
  const structureEnd = structure + view.getUint32(36)
  const lines = ['/dts-v1/;', '']
  let depth = 0
  let offset = structure
  const indented = (text: string) => lines.push('\t'.repeat(depth) + text)
  for (;;) {
    const token = view.getUint32(offset)
    offset += 4
    if (token === BEGIN_NODE) {
      const name = textAt(blob, offset)
      indented(`${depth === 0 ? '/' : name} {`)
      depth++
      offset = aligned(offset + name.length + 1)
    } else if (token === END_NODE) {
      depth--
      indented('};')
    } else if (token === PROPERTY) {
      const length = view.getUint32(offset)
      const name = textAt(blob, names + view.getUint32(offset + 4))
      indented(propertyText(name, blob.subarray(offset + 8, offset + 8 + length)))
      offset = aligned(offset + 8 + length)
    } else if (token === END) {
      assert(depth === 0 && offset === structureEnd, 'end of the structure')
      return `${lines.join('\n')}\n`
    } else assert(token === NOP, `token ${token}`)
  }
}

function aligned(offset: number): number {
  return (offset + 3) & ~3
}

function textAt(blob: Uint8Array, offset: number): string {
  return decodeAscii(blob.subarray(offset, blob.indexOf(0, offset)))
}

function propertyText(name: string, value: Uint8Array): string {
  if (value.length === 0) return `${name};`
  const text = decodeAscii(value)
  if (/^([\x20-\x7e]+\0)+$/.test(text)) {
    const quoted = text.slice(0, -1).split('\0')
    return `${name} = ${quoted.map((part) => JSON.stringify(part)).join(', ')};`
  }
  const hex = Array.from(value, (byte) => byte.toString(16).padStart(2, '0'))
  if (value.length % 4 !== 0) return `${name} = [${hex.join(' ')}];`
  const words = hex.join('').match(/.{8}/g)!
  return `${name} = <${words.map((word) => `0x${word.replace(/^0+(?=.)/, '')}`).join(' ')}>;`
}

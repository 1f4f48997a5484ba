/**
 * Writer of flattened device trees (Devicetree Specification 0.4, chapter 5), version 17.
 *
 *     0    header, 40 bytes                magic, sizes and offsets
 *     40   memory reservations             ours: only the 16 zero bytes that end the list
 *     56   structure                       BEGIN_NODE name | PROP length name-offset value | ... | END_NODE ... END
 *     ..   strings                         each property name once, NUL-terminated
 *
 * All numbers are big-endian; names and values in the structure are padded to four bytes.
 */
import { assert } from '../base/assert.ts'
import { concatenate } from '../base/bytes.ts'
import { encodeAscii } from '../base/text.ts'

export const FDT_MAGIC = 0xd00d_feed
export const FDT_VERSION = 17
const FDT_COMPATIBLE_VERSION = 16
export const FDT_HEADER_BYTES = 40
const RESERVATIONS_BYTES = 16

export const FDT_TOKEN = { beginNode: 1, endNode: 2, property: 3, nop: 4, end: 9 } as const

export interface DeviceTreeNode {
  /** Such as `serial@10000000`; empty for the root. */
  readonly name: string
  readonly properties: Readonly<Record<string, Uint8Array>>
  readonly children: readonly DeviceTreeNode[]
}

export function node(
  name: string,
  properties: Readonly<Record<string, Uint8Array>>,
  children: readonly DeviceTreeNode[] = [],
): DeviceTreeNode {
  return { name, properties, children }
}

/** A property without a value: its presence is the meaning. */
export const present = new Uint8Array(0)

/** A property of 32-bit cells. */
export function cells(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(4 * values.length)
  const view = new DataView(bytes.buffer)
  for (const [index, value] of values.entries()) {
    assert(Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff, `not a cell: ${value}`)
    view.setUint32(4 * index, value)
  }
  return bytes
}

/** A property of 64-bit numbers, two cells each. */
export function wideCells(...values: readonly number[]): Uint8Array {
  return cells(...values.flatMap((value) => [Math.floor(value / 2 ** 32), value % 2 ** 32]))
}

/** A property of one or more strings. */
export function strings(...values: readonly string[]): Uint8Array {
  return encodeAscii(values.map((value) => `${value}\0`).join(''))
}

/** The blob of the tree below `root`, ready to be put where a kernel looks for it. */
export function flattenDeviceTree(root: DeviceTreeNode): Uint8Array {
  const structure = new BigEndianWriter()
  const names = new PropertyNames()
  writeNode(structure, names, root)
  structure.u32(FDT_TOKEN.end)
  return assemble(structure.finish(), names.finish())
}

function writeNode(
  structure: BigEndianWriter,
  names: PropertyNames,
  { name, ...tree }: DeviceTreeNode,
): void {
  structure.u32(FDT_TOKEN.beginNode)
  structure.padded(strings(name))
  for (const [property, value] of Object.entries(tree.properties)) {
    structure.u32(FDT_TOKEN.property)
    structure.u32(value.length)
    structure.u32(names.offset(property))
    structure.padded(value)
  }
  for (const child of tree.children) writeNode(structure, names, child)
  structure.u32(FDT_TOKEN.endNode)
}

function assemble(structure: Uint8Array, names: Uint8Array): Uint8Array {
  const structureOffset = FDT_HEADER_BYTES + RESERVATIONS_BYTES
  const namesOffset = structureOffset + structure.length
  const total = namesOffset + names.length
  const blob = new Uint8Array(total)
  const bootHart = 0
  blob.set(
    cells(
      FDT_MAGIC,
      total,
      structureOffset,
      namesOffset,
      FDT_HEADER_BYTES,
      FDT_VERSION,
      FDT_COMPATIBLE_VERSION,
      bootHart,
      names.length,
      structure.length,
    ),
  )
  blob.set(structure, structureOffset)
  blob.set(names, namesOffset)
  return blob
}

/** The strings block: property names, each stored once. */
class PropertyNames {
  readonly #offsets = new Map<string, number>()
  #length = 0

  offset(name: string): number {
    const known = this.#offsets.get(name)
    if (known !== undefined) return known
    const offset = this.#length
    this.#offsets.set(name, offset)
    this.#length += name.length + 1
    return offset
  }

  finish(): Uint8Array {
    return strings(...this.#offsets.keys())
  }
}

class BigEndianWriter {
  readonly #parts: Uint8Array[] = []

  u32(value: number): void {
    this.#parts.push(cells(value))
  }

  padded(bytes: Uint8Array): void {
    this.#parts.push(bytes, new Uint8Array(-bytes.length & 3))
  }

  finish(): Uint8Array {
    return concatenate(this.#parts)
  }
}

/**
 * What a WebAssembly module consists of, read from its binary form, as far as ModuleBuilder can write it. Whatever else
 * there is throws a FormatError that names the byte.
 */
import { ByteReader } from '../../base/bytes.ts'
import { decodeAscii } from '../../base/text.ts'
import type { ValueType } from '../expression.ts'

export interface FunctionType {
  readonly parameters: readonly ValueType[]
  readonly results: readonly ValueType[]
}

export interface Import {
  readonly module: string
  readonly name: string
  readonly kind: 'func' | 'table' | 'memory' | 'global'
  /** What stands behind the kind: `(param i32)`, `4 funcref`, `1 2 shared`. */
  readonly text: string
}

export interface FunctionEntry {
  readonly name: string
  readonly type: FunctionType
  /** Undefined where the function is imported. */
  readonly body: FunctionBody | undefined
}

export interface FunctionBody {
  readonly locals: readonly ValueType[]
  /** The instructions, the final `end` included. */
  readonly code: ByteReader
  /** 0 (false) or 1 (true), by the offset in the body of the branch that it is about. */
  readonly hints: ReadonlyMap<number, number>
  /** Offset of the body, from which those of hints count. */
  readonly start: number
}

export interface ModuleContents {
  readonly types: readonly FunctionType[]
  readonly imports: readonly Import[]
  readonly functions: readonly FunctionEntry[]
  /** Names of the memories, which are all imported. */
  readonly memories: readonly string[]
  /** Sizes of the module's own tables. */
  readonly tables: readonly number[]
  readonly importedTables: number
  readonly importedGlobals: readonly string[]
  readonly globals: readonly { readonly type: ValueType; readonly initial: ByteReader }[]
  readonly exports: readonly {
    readonly name: string
    readonly kind: 'func' | 'table' | 'memory' | 'global'
    readonly index: number
  }[]
  readonly elements: readonly { readonly table: number; readonly functions: readonly number[] }[]
}

const VALUE_TYPES: Readonly<Record<number, ValueType>> = { 127: 'i32', 126: 'i64', 125: 'f32', 124: 'f64' }
const IMPORT_KINDS = ['func', 'table', 'memory', 'global'] as const
const EXPORT_KINDS = ['func', 'table', 'memory', 'global'] as const
const FUNCREF = 0x70

const valueType = (reader: ByteReader): ValueType => valueTypeOf(reader.u8(), reader)

/** The type that a byte stands for, which `reader` has just read. */
export function valueTypeOf(byte: number, reader: ByteReader): ValueType {
  const type = VALUE_TYPES[byte]
  if (type === undefined) throw reader.error(`value type 0x${byte.toString(16)}`)
  return type
}

/** `(param i32 i64) (result i32)`, or what of it there is. */
export function typeText({ parameters, results }: FunctionType): string {
  const part = (word: string, types: readonly ValueType[]): string[] =>
    types.length === 0 ? [] : [`(${word} ${types.join(' ')})`]
  return [...part('param', parameters), ...part('result', results)].join(' ')
}

/** Throws FormatError for what ModuleBuilder cannot have written. */
export function readModule(bytes: Uint8Array): ModuleContents {
  const reader = new ByteReader(bytes, 'WebAssembly module')
  expect(reader, [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00])
  const parts = new ModuleParts()
  while (reader.remaining > 0) {
    const id = reader.u8()
    const size = reader.varint()
    const start = reader.offset
    parts.section(id, new ByteReader(reader.bytes(size), 'WebAssembly module', start))
  }
  return parts.contents()
}

function expect(reader: ByteReader, bytes: readonly number[]): void {
  for (const byte of bytes) {
    const found = reader.u8()
    if (found !== byte) throw reader.error(`0x${found.toString(16)} instead of 0x${byte.toString(16)}`)
  }
}

const nameAt = (reader: ByteReader): string => decodeAscii(reader.bytes(reader.varint()))

function vectorOf<T>(reader: ByteReader, read: (reader: ByteReader) => T): T[] {
  const count = reader.varint(reader.remaining)
  return Array.from({ length: count }, () => read(reader))
}

/** Names are for people, and there may be several functions of one name. */
function withUniqueNames(functions: readonly FunctionEntry[]): readonly FunctionEntry[] {
  const names = new Set<string>()
  return functions.map((entry, index) => {
    const name = names.has(entry.name) ? `${entry.name}.${index}` : entry.name
    names.add(name)
    return { ...entry, name }
  })
}

/** The sections as they come, before what belongs together is put together. */
class ModuleParts {
  readonly #types: FunctionType[] = []
  readonly #imports: Import[] = []
  readonly #importedTypes: FunctionType[] = []
  readonly #ownTypes: FunctionType[] = []
  readonly #tables: number[] = []
  readonly #globals: ModuleContents['globals'][number][] = []
  readonly #exports: ModuleContents['exports'][number][] = []
  readonly #elements: ModuleContents['elements'][number][] = []
  readonly #bodies: Omit<FunctionBody, 'hints'>[] = []
  readonly #hints = new Map<number, Map<number, number>>()
  readonly #names = new Map<number, string>()

  section(id: number, reader: ByteReader): void {
    const known: Readonly<Record<number, () => void>> = {
      0: () => this.#custom(reader),
      1: () => void this.#types.push(...vectorOf(reader, functionType)),
      2: () => void vectorOf(reader, () => this.#import(reader)),
      3: () => void this.#ownTypes.push(...vectorOf(reader, () => this.#typeAt(reader))),
      4: () => void this.#tables.push(...vectorOf(reader, tableSize)),
      6: () => void this.#globals.push(...vectorOf(reader, globalAt)),
      7: () => void this.#exports.push(...vectorOf(reader, exportAt)),
      9: () => void this.#elements.push(...vectorOf(reader, elementAt)),
      10: () => void this.#bodies.push(...vectorOf(reader, bodyAt)),
    }
    const read = known[id]
    if (read === undefined) throw reader.error(`section ${id}`)
    read()
    reader.finish()
  }

  contents(): ModuleContents {
    const imported = this.#imports.filter(({ kind }) => kind === 'func')
    const functions = [
      ...imported.map(({ name }, index) => ({ name, type: this.#importedTypes[index]!, body: undefined })),
      ...this.#ownTypes.map((type, index) => this.#function(type, imported.length + index, index)),
    ]
    return {
      ...{
        types: this.#types,
        imports: this.#imports,
        functions: withUniqueNames(functions),
        tables: this.#tables,
      },
      ...{ globals: this.#globals, exports: this.#exports, elements: this.#elements },
      importedGlobals: this.#imports.filter(({ kind }) => kind === 'global').map(({ name }) => name),
      memories: this.#imports.filter(({ kind }) => kind === 'memory').map(({ name }) => name),
      importedTables: this.#imports.filter(({ kind }) => kind === 'table').length,
    }
  }

  #function(type: FunctionType, index: number, own: number): FunctionEntry {
    const hints = this.#hints.get(index) ?? new Map<number, number>()
    return { name: this.#names.get(index) ?? String(index), type, body: { ...this.#bodies[own]!, hints } }
  }

  #typeAt(reader: ByteReader): FunctionType {
    const index = reader.varint()
    const type = this.#types[index]
    if (type === undefined) throw reader.error(`there is no type ${index}`)
    return type
  }

  #import(reader: ByteReader): void {
    const module = nameAt(reader)
    const name = nameAt(reader)
    const kind = IMPORT_KINDS[reader.u8()]
    if (kind === undefined) throw reader.error('an import of an unknown kind')
    let text: string
    if (kind === 'func') {
      const type = this.#typeAt(reader)
      this.#importedTypes.push(type)
      text = typeText(type)
    } else if (kind === 'global') text = mutableType(reader)
    else text = kind === 'table' ? `${tableSize(reader)} funcref` : memoryLimits(reader)
    this.#imports.push({ module, name, kind, text })
  }

  #custom(reader: ByteReader): void {
    const name = nameAt(reader)
    if (name === 'name') this.#readNames(reader)
    else if (name === 'metadata.code.branch_hint') vectorOf(reader, () => this.#readHints(reader))
    else throw reader.error(`custom section '${name}'`)
  }

  #readNames(reader: ByteReader): void {
    expect(reader, [0x01])
    reader.varint()
    vectorOf(reader, () => this.#names.set(reader.varint(), nameAt(reader)))
  }

  #readHints(reader: ByteReader): void {
    const hints = new Map<number, number>()
    this.#hints.set(reader.varint(), hints)
    vectorOf(reader, () => {
      const offset = reader.varint()
      expect(reader, [1])
      hints.set(offset, reader.u8())
    })
  }
}

function functionType(reader: ByteReader): FunctionType {
  expect(reader, [0x60])
  const parameters = vectorOf(reader, valueType)
  return { parameters, results: vectorOf(reader, valueType) }
}

function tableSize(reader: ByteReader): number {
  expect(reader, [FUNCREF, 0x00])
  return reader.varint()
}

function memoryLimits(reader: ByteReader): string {
  const flags = reader.u8()
  if (flags !== 1 && flags !== 3) throw reader.error(`a memory with flags ${flags}`)
  return `${reader.varint()} ${reader.varint()}${flags === 3 ? ' shared' : ''}`
}

function mutableType(reader: ByteReader): string {
  const type = valueType(reader)
  expect(reader, [0x01])
  return `(mut ${type})`
}

function globalAt(reader: ByteReader): ModuleContents['globals'][number] {
  const type = valueType(reader)
  expect(reader, [0x01])
  const start = reader.offset
  const initial: number[] = []
  // A constant: an opcode and a LEB128 number, in which no byte but the last is below 0x80.
  initial.push(reader.u8())
  do initial.push(reader.u8())
  while (initial.at(-1)! >= 0x80)
  expect(reader, [0x0b])
  return { type, initial: new ByteReader(Uint8Array.from([...initial, 0x0b]), 'WebAssembly module', start) }
}

function exportAt(reader: ByteReader): ModuleContents['exports'][number] {
  const name = nameAt(reader)
  const kind = EXPORT_KINDS[reader.u8()]
  if (kind === undefined) throw reader.error('an export of an unknown kind')
  return { name, kind, index: reader.varint() }
}

/** The functions of a whole table, from its first place on. */
function elementAt(reader: ByteReader): ModuleContents['elements'][number] {
  const kind = reader.u8()
  if (kind !== 0 && kind !== 2) throw reader.error(`elements of kind ${kind}`)
  const table = kind === 0 ? 0 : reader.varint()
  expect(reader, [0x41, 0x00, 0x0b, ...(kind === 0 ? [] : [0x00])])
  return { table, functions: vectorOf(reader, () => reader.varint()) }
}

function bodyAt(reader: ByteReader): Omit<FunctionBody, 'hints'> {
  const size = reader.varint()
  const start = reader.offset
  const code = new ByteReader(reader.bytes(size), 'WebAssembly module', start)
  const locals: ValueType[] = []
  vectorOf(code, () => {
    const count = code.varint()
    const type = valueType(code)
    for (let index = 0; index < count; index++) locals.push(type)
  })
  return { locals, code, start }
}

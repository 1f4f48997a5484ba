/**
 * Builds a WebAssembly module: imports first, then functions, then bytes.
 *
 * Function indexes start with the imports, so everything imported must be declared before the first own function.
 * `declare` and `define` are separate, so that functions may call each other in any order.
 */
import { assert } from '../base/assert.ts'
import {
  ByteSink,
  type Code,
  code,
  nameCode,
  type PlacedHint,
  signedLeb32,
  signedLeb64,
  unsignedLeb,
} from './encoding.ts'
import { type ValueType, valueTypeByte } from './expression.ts'
import { type Callee, FunctionBuilder, type Global, type TableReference } from './function.ts'

interface DefinedFunction {
  readonly callee: Callee
  readonly typeIndex: number
  builder: FunctionBuilder | undefined
}

interface MemoryLimits {
  readonly initialPages: number
  readonly maximumPages: number
  readonly shared: boolean
}

const SECTION = {
  custom: 0,
  type: 1,
  import: 2,
  function: 3,
  table: 4,
  global: 6,
  export: 7,
  element: 9,
  code: 10,
}
const PAGE_FUNCREF = 0x70

export class ModuleBuilder {
  readonly #types: string[] = []
  readonly #typeCode: Code[] = []
  readonly #imports: Code[] = []
  readonly #functions: DefinedFunction[] = []
  readonly #globals: Code[] = []
  readonly #exports: { name: string; kind: number; index: number }[] = []
  readonly #tables: TableReference[] = []
  readonly #elements: { table: number; functions: readonly Callee[] }[] = []
  #importedFunctions = 0
  #importedMemories = 0
  #importedTables = 0
  #importedGlobals = 0

  /** The index of a function signature, for indirect calls. */
  signature(parameters: readonly ValueType[], results: readonly ValueType[]): number {
    const key = `${parameters}>${results}`
    const known = this.#types.indexOf(key)
    if (known >= 0) return known
    this.#types.push(key)
    const list = (types: readonly ValueType[]): Code => vector(types.map((type) => code(valueTypeByte(type))))
    this.#typeCode.push(code(0x60) + list(parameters) + list(results))
    return this.#types.length - 1
  }

  importFunction(
    module: string,
    name: string,
    parameters: readonly ValueType[],
    results: readonly ValueType[],
  ): Callee {
    assert(this.#functions.length === 0, 'imports come before functions')
    this.#import(module, name, 0x00, unsignedLeb(this.signature(parameters, results)))
    return { name, index: this.#importedFunctions++, parameters, results }
  }

  /** Imports a memory; the first one is memory 0. */
  importMemory(module: string, name: string, limits: MemoryLimits): number {
    const pages = unsignedLeb(limits.initialPages) + unsignedLeb(limits.maximumPages)
    this.#import(module, name, 0x02, code(limits.shared ? 0x03 : 0x01) + pages)
    return this.#importedMemories++
  }

  importTable(module: string, name: string, minimum: number): TableReference {
    assert(this.#tables.length === 0, 'imported tables come before own tables')
    this.#import(module, name, 0x01, tableType(minimum))
    return { index: this.#importedTables++, minimum }
  }

  /** Imports a mutable global variable; those come before own ones. */
  importGlobal<T extends 'i32' | 'i64'>(module: string, name: string, type: T): Global<T> {
    assert(this.#globals.length === 0, 'imported globals come before own globals')
    this.#import(module, name, 0x03, code(valueTypeByte(type), 0x01))
    return this.#globalAt(type, this.#importedGlobals++)
  }

  /** A table of exactly these functions, in this order. */
  table(functions: readonly Callee[]): TableReference {
    const table = { index: this.#importedTables + this.#tables.length, minimum: functions.length }
    this.#tables.push(table)
    this.#elements.push({ table: table.index, functions })
    return table
  }

  /** A table with room for `size` functions, which are put there from outside. */
  emptyTable(size: number): TableReference {
    const table = { index: this.#importedTables + this.#tables.length, minimum: size }
    this.#tables.push(table)
    return table
  }

  /** A mutable global variable of this module. */
  global<T extends 'i32' | 'i64'>(type: T, initial: number | bigint): Global<T> {
    const value =
      type === 'i32' ? code(0x41) + signedLeb32(Number(initial)) : code(0x42) + signedLeb64(initial)
    this.#globals.push(code(valueTypeByte(type), 0x01) + value + code(0x0b))
    return this.#globalAt(type, this.#importedGlobals + this.#globals.length - 1)
  }

  #globalAt<T extends ValueType>(type: T, index: number): Global<T> {
    return { type, index, code: code(0x23) + unsignedLeb(index) }
  }

  /** Names a function that is defined later. */
  declare(name: string, parameters: readonly ValueType[], results: readonly ValueType[]): Callee {
    const index = this.#importedFunctions + this.#functions.length
    const callee = { name, index, parameters, results }
    this.#functions.push({ callee, typeIndex: this.signature(parameters, results), builder: undefined })
    return callee
  }

  /** Gives a declared function its body. */
  define(callee: Callee, body: (f: FunctionBuilder) => void): void {
    const entry = this.#functions[callee.index - this.#importedFunctions]
    assert(entry !== undefined && entry.builder === undefined, `${callee.name} is imported or defined twice`)
    const builder = new FunctionBuilder(callee.parameters)
    entry.builder = builder
    body(builder)
  }

  /** Declares and defines a function. */
  function(
    name: string,
    parameters: readonly ValueType[],
    results: readonly ValueType[],
    body: (f: FunctionBuilder) => void,
  ): Callee {
    const callee = this.declare(name, parameters, results)
    this.define(callee, body)
    return callee
  }

  exportFunction(callee: Callee, name = callee.name): void {
    this.#exports.push({ name, kind: 0x00, index: callee.index })
  }

  exportGlobal(global: Global, name: string): void {
    this.#exports.push({ name, kind: 0x03, index: global.index })
  }

  exportTable(table: TableReference, name: string): void {
    this.#exports.push({ name, kind: 0x01, index: table.index })
  }

  /** The finished module. */
  build(): Uint8Array<ArrayBuffer> {
    const sink = new ByteSink()
    sink.bytes(new Uint8Array([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]))
    const { bodies, hints } = this.#bodies()
    section(sink, SECTION.type, this.#typeCode)
    section(sink, SECTION.import, this.#imports)
    section(
      sink,
      SECTION.function,
      this.#functions.map((entry) => unsignedLeb(entry.typeIndex)),
    )
    section(
      sink,
      SECTION.table,
      this.#tables.map((table) => tableType(table.minimum)),
    )
    section(sink, SECTION.global, this.#globals)
    section(sink, SECTION.export, this.#exports.map(exportEntry))
    section(sink, SECTION.element, this.#elements.map(elementEntry))
    if (hints.length > 0) customSection(sink, 'metadata.code.branch_hint', vector(hints))
    codeSection(sink, bodies)
    customSection(sink, 'name', this.#names())
    return sink.view().slice() as Uint8Array<ArrayBuffer>
  }

  #import(module: string, name: string, kind: number, type: Code): void {
    this.#imports.push(nameCode(module) + nameCode(name) + code(kind) + type)
  }

  #bodies(): { bodies: Uint8Array[]; hints: Code[] } {
    const bodies: Uint8Array[] = []
    const hints: Code[] = []
    for (const { callee, builder } of this.#functions) {
      assert(builder !== undefined, `${callee.name} is declared but not defined`)
      const placed: PlacedHint[] = []
      bodies.push(functionBody(builder, placed))
      if (placed.length > 0) hints.push(hintEntry(callee.index, placed))
    }
    return { bodies, hints }
  }

  /** The name section: function names, so that profilers and stack traces speak of them. */
  #names(): Code {
    const names = vector(
      this.#functions.map(({ callee }) => unsignedLeb(callee.index) + nameCode(callee.name)),
    )
    return code(0x01) + unsignedLeb(names.length) + names
  }
}

function functionBody(builder: FunctionBuilder, hints: PlacedHint[]): Uint8Array {
  const sink = new ByteSink()
  const groups = localGroups(builder.localTypes)
  sink.code(vector(groups.map(([count, type]) => unsignedLeb(count) + code(valueTypeByte(type)))))
  sink.code(builder.code, hints)
  sink.byte(0x0b)
  return sink.view()
}

/** Runs of equal types, as the format counts locals. */
function localGroups(types: readonly ValueType[]): [number, ValueType][] {
  const groups: [number, ValueType][] = []
  for (const type of types) {
    const last = groups.at(-1)
    if (last !== undefined && last[1] === type) last[0]++
    else groups.push([1, type])
  }
  return groups
}

function hintEntry(functionIndex: number, hints: readonly PlacedHint[]): Code {
  return (
    unsignedLeb(functionIndex) + vector(hints.map(({ offset, hint }) => unsignedLeb(offset) + code(1, hint)))
  )
}

function tableType(minimum: number): Code {
  return code(PAGE_FUNCREF, 0x00) + unsignedLeb(minimum)
}

function exportEntry(entry: { name: string; kind: number; index: number }): Code {
  return nameCode(entry.name) + code(entry.kind) + unsignedLeb(entry.index)
}

function elementEntry(entry: { table: number; functions: readonly Callee[] }): Code {
  const indexes = vector(entry.functions.map((callee) => unsignedLeb(callee.index)))
  const isFirst = entry.table === 0
  const head = isFirst ? code(0x00) : code(0x02) + unsignedLeb(entry.table)
  const kind = isFirst ? '' : code(0x00)
  return head + code(0x41, 0x00, 0x0b) + kind + indexes
}

function vector(entries: readonly Code[]): Code {
  return unsignedLeb(entries.length) + entries.join('')
}

function section(sink: ByteSink, id: number, entries: readonly Code[]): void {
  if (entries.length === 0) return
  sized(sink, id, vector(entries))
}

function customSection(sink: ByteSink, name: string, content: Code): void {
  sized(sink, SECTION.custom, nameCode(name) + content)
}

function sized(sink: ByteSink, id: number, content: Code): void {
  sink.byte(id)
  sink.unsigned(content.length)
  sink.code(content)
}

function codeSection(sink: ByteSink, bodies: readonly Uint8Array[]): void {
  if (bodies.length === 0) return
  const content = new ByteSink()
  content.unsigned(bodies.length)
  for (const body of bodies) {
    content.unsigned(body.length)
    content.bytes(body)
  }
  sink.byte(SECTION.code)
  sink.unsigned(content.length)
  sink.bytes(content.view())
}

/**
 * Builds a WebAssembly module: imports first, then functions, then bytes.
 *
 * Function indexes start with the imports, so everything imported must be declared before the first own function.
 * `declare` and `define` are separate, so that functions may call each other in any order.
 */
import { assert } from '../base/assert.ts'
import { encodeAscii } from '../base/text.ts'
import { ByteSink, flatten, type PlacedHint, signedLeb32, signedLeb64, unsignedLeb } from './encoding.ts'
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
  readonly #typeBytes: number[][] = []
  readonly #imports: ByteSink[] = []
  readonly #functions: DefinedFunction[] = []
  readonly #globals: number[][] = []
  readonly #exports: { name: string; kind: number; index: number }[] = []
  readonly #tables: TableReference[] = []
  readonly #elements: { table: number; functions: readonly Callee[] }[] = []
  #importedFunctions = 0
  #importedMemories = 0
  #importedTables = 0

  /** The index of a function signature, for indirect calls. */
  signature(parameters: readonly ValueType[], results: readonly ValueType[]): number {
    const key = `${parameters}>${results}`
    const known = this.#types.indexOf(key)
    if (known >= 0) return known
    this.#types.push(key)
    const vector = (types: readonly ValueType[]): number[] => [
      ...unsignedLeb(types.length),
      ...types.map(valueTypeByte),
    ]
    this.#typeBytes.push([0x60, ...vector(parameters), ...vector(results)])
    return this.#types.length - 1
  }

  importFunction(
    module: string,
    name: string,
    parameters: readonly ValueType[],
    results: readonly ValueType[],
  ): Callee {
    assert(this.#functions.length === 0, 'imports come before functions')
    const sink = this.#import(module, name, 0x00)
    sink.unsigned(this.signature(parameters, results))
    return { name, index: this.#importedFunctions++, parameters, results }
  }

  /** Imports a memory; the first one is memory 0. */
  importMemory(module: string, name: string, limits: MemoryLimits): number {
    const sink = this.#import(module, name, 0x02)
    sink.byte(limits.shared ? 0x03 : 0x01)
    sink.unsigned(limits.initialPages)
    sink.unsigned(limits.maximumPages)
    return this.#importedMemories++
  }

  importTable(module: string, name: string, minimum: number): TableReference {
    assert(this.#tables.length === 0, 'imported tables come before own tables')
    const sink = this.#import(module, name, 0x01)
    for (const byte of [PAGE_FUNCREF, 0x00, ...unsignedLeb(minimum)]) sink.byte(byte)
    return { index: this.#importedTables++, minimum }
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
      type === 'i32' ? [0x41, ...signedLeb32(Number(initial))] : [0x42, ...signedLeb64(BigInt(initial))]
    this.#globals.push([valueTypeByte(type), 0x01, ...value, 0x0b])
    const index = this.#globals.length - 1
    return { type, index, code: [0x23, ...unsignedLeb(index)] }
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

  exportTable(table: TableReference, name: string): void {
    this.#exports.push({ name, kind: 0x01, index: table.index })
  }

  /** The finished module. */
  build(): Uint8Array<ArrayBuffer> {
    const sink = new ByteSink()
    sink.bytes(new Uint8Array([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]))
    const { bodies, hints } = this.#bodies()
    section(sink, SECTION.type, this.#typeBytes)
    section(
      sink,
      SECTION.import,
      this.#imports.map((entry) => entry.view()),
    )
    section(
      sink,
      SECTION.function,
      this.#functions.map((entry) => unsignedLeb(entry.typeIndex)),
    )
    section(
      sink,
      SECTION.table,
      this.#tables.map((table) => tableType(table)),
    )
    section(sink, SECTION.global, this.#globals)
    section(sink, SECTION.export, this.#exports.map(exportEntry))
    section(sink, SECTION.element, this.#elements.map(elementEntry))
    if (hints.length > 0) customSection(sink, 'metadata.code.branch_hint', vector(hints))
    section(sink, SECTION.code, bodies)
    customSection(sink, 'name', this.#names())
    return sink.view().slice() as Uint8Array<ArrayBuffer>
  }

  #import(module: string, name: string, kind: number): ByteSink {
    const sink = new ByteSink()
    sink.name(module)
    sink.name(name)
    sink.byte(kind)
    this.#imports.push(sink)
    return sink
  }

  #bodies(): { bodies: Uint8Array[]; hints: number[][] } {
    const bodies: Uint8Array[] = []
    const hints: number[][] = []
    for (const { callee, builder } of this.#functions) {
      assert(builder !== undefined, `${callee.name} is declared but not defined`)
      const placed: PlacedHint[] = []
      const body = functionBody(builder, placed)
      const sized = new ByteSink()
      sized.unsigned(body.length)
      sized.bytes(body)
      bodies.push(sized.view())
      if (placed.length > 0) hints.push(hintEntry(callee.index, placed))
    }
    return { bodies, hints }
  }

  /** The name section: function names, so that profilers and stack traces speak of them. */
  #names(): number[] {
    const sink = new ByteSink()
    sink.unsigned(this.#functions.length)
    for (const { callee } of this.#functions) {
      sink.unsigned(callee.index)
      sink.name(callee.name)
    }
    return [0x01, ...unsignedLeb(sink.length), ...sink.view()]
  }
}

function functionBody(builder: FunctionBuilder, hints: PlacedHint[]): Uint8Array {
  const sink = new ByteSink()
  const groups = localGroups(builder.localTypes)
  sink.unsigned(groups.length)
  for (const [count, type] of groups) {
    sink.unsigned(count)
    sink.byte(valueTypeByte(type))
  }
  flatten(builder.code, sink, hints)
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

function hintEntry(functionIndex: number, hints: readonly PlacedHint[]): number[] {
  const entries = hints.flatMap(({ offset, hint }) => [...unsignedLeb(offset), 1, hint])
  return [...unsignedLeb(functionIndex), ...unsignedLeb(hints.length), ...entries]
}

function tableType(table: TableReference): number[] {
  return [PAGE_FUNCREF, 0x00, ...unsignedLeb(table.minimum)]
}

function exportEntry(entry: { name: string; kind: number; index: number }): number[] {
  const encoded = encodeAscii(entry.name)
  return [...unsignedLeb(encoded.length), ...encoded, entry.kind, ...unsignedLeb(entry.index)]
}

function elementEntry(entry: { table: number; functions: readonly Callee[] }): number[] {
  const indexes = entry.functions.flatMap((callee) => unsignedLeb(callee.index))
  const head = entry.table === 0 ? [0x00] : [0x02, ...unsignedLeb(entry.table)]
  const kind = entry.table === 0 ? [] : [0x00]
  return [...head, 0x41, 0x00, 0x0b, ...kind, ...unsignedLeb(entry.functions.length), ...indexes]
}

function vector(entries: readonly (readonly number[])[]): number[] {
  return [...unsignedLeb(entries.length), ...entries.flat()]
}

function section(sink: ByteSink, id: number, entries: readonly (readonly number[] | Uint8Array)[]): void {
  if (entries.length === 0) return
  const content = new ByteSink()
  content.unsigned(entries.length)
  for (const entry of entries) content.bytes(entry instanceof Uint8Array ? entry : Uint8Array.from(entry))
  sink.byte(id)
  sink.unsigned(content.length)
  sink.bytes(content.view())
}

function customSection(sink: ByteSink, name: string, content: readonly number[]): void {
  const whole = new ByteSink()
  whole.name(name)
  whole.bytes(Uint8Array.from(content))
  sink.byte(SECTION.custom)
  sink.unsigned(whole.length)
  sink.bytes(whole.view())
}

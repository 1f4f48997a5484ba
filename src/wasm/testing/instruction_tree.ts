/** The instructions of a function as trees: each has those that compute its operands within it, as they were written. */
import type { ByteReader } from '../../base/bytes.ts'
import type { ValueType } from '../expression.ts'
import { type FunctionType, type ModuleContents, typeText, valueTypeOf } from './module_contents.ts'
import { type Opcode, opcodeOf } from './opcodes.ts'

/** A block, a loop or an if: what branches go to. */
export interface Scope {
  readonly kind: string
  readonly depth: number
  isTarget: boolean
}

export interface Node {
  readonly name: string
  readonly results: number
  operands: readonly Node[]
  readonly local?: number
  /** Where a load or store goes, on top of its address. */
  readonly place?: { readonly memory: number; readonly offset: number }
  /** Where branches go; for `br_table` the last one is that of all other values. */
  readonly targets?: readonly Scope[]
  /** Anything else that follows the name. */
  readonly text?: string
  readonly block?: BlockParts
  readonly hint?: number | undefined
}

export interface BlockParts {
  readonly scope: Scope
  readonly type: ValueType | undefined
  /** The body; of an `if` what is done when it is true, and what else. */
  readonly arms: readonly (readonly Node[])[]
}

type Immediates = Pick<Node, 'local' | 'place' | 'targets' | 'text'> & { readonly type?: FunctionType }

const EMPTY_BLOCK = 0x40
const PREFIXES: readonly number[] = [0xfc, 0xfd]
const EMPTY_TYPE: FunctionType = { parameters: [], results: [] }

/** Reads instructions up to the final `end`. Throws FormatError for what src/wasm cannot have emitted. */
export function readInstructions(
  code: ByteReader,
  module: ModuleContents,
  type: FunctionType = EMPTY_TYPE,
  hintAt: (offset: number) => number | undefined = () => undefined,
): readonly Node[] {
  return new TreeReader(code, module, type, hintAt).read()
}

class TreeReader {
  readonly #code: ByteReader
  readonly #module: ModuleContents
  readonly #type: FunctionType
  readonly #hintAt: (offset: number) => number | undefined
  readonly #scopes: Scope[] = []
  /** Results of calls with several, which are taken one by one. */
  #spare = 0

  constructor(
    code: ByteReader,
    module: ModuleContents,
    type: FunctionType,
    hintAt: (offset: number) => number | undefined,
  ) {
    this.#code = code
    this.#module = module
    this.#type = type
    this.#hintAt = hintAt
  }

  read(): readonly Node[] {
    const { nodes, terminator } = this.#sequence()
    if (terminator !== 'end') throw this.#code.error(`${terminator} outside of an if`)
    this.#code.finish()
    return nodes
  }

  #sequence(): { readonly nodes: readonly Node[]; readonly terminator: string } {
    const nodes: Node[] = []
    for (;;) {
      const offset = this.#code.offset
      const opcode = this.#opcode()
      if (opcode.name === 'end' || opcode.name === 'else') return { nodes, terminator: opcode.name }
      const hint = this.#hintAt(offset)
      if (opcode.immediate === 'block') this.#block(opcode, nodes, hint)
      else this.#plain(opcode, nodes, hint)
    }
  }

  #opcode(): Opcode {
    const byte = this.#code.u8()
    const number = PREFIXES.includes(byte) ? byte * 256 + this.#code.varint() : byte
    const opcode = opcodeOf(number)
    if (opcode !== undefined) return opcode
    throw this.#code.error(`opcode 0x${number.toString(16)}, which src/wasm/testing/opcodes.ts does not know`)
  }

  #block({ name, operands: count }: Opcode, nodes: Node[], hint: number | undefined): void {
    const operands = this.#take(nodes, count)
    const type = this.#blockType()
    const scope: Scope = { kind: name, depth: this.#scopes.length, isTarget: false }
    this.#scopes.push(scope)
    const { nodes: body, terminator } = this.#sequence()
    const arms = [body]
    if (terminator === 'else') arms.push(this.#sequence().nodes)
    this.#scopes.pop()
    const results = type === undefined ? 0 : 1
    nodes.push({ name, results, operands, hint, block: { scope, type, arms } })
  }

  #blockType(): ValueType | undefined {
    const byte = this.#code.u8()
    return byte === EMPTY_BLOCK ? undefined : valueTypeOf(byte, this.#code)
  }

  #plain(opcode: Opcode, nodes: Node[], hint: number | undefined): void {
    const { name } = opcode
    const { type, ...immediates } = this.#immediates(opcode)
    const isReturn = name === 'return'
    const count =
      opcode.operands + (type?.parameters.length ?? 0) + (isReturn ? this.#type.results.length : 0)
    const indirect = opcode.immediate === 'indirect' ? 1 : 0
    const results = name.startsWith('return') ? 0 : opcode.results + (type?.results.length ?? 0)
    const operands = this.#take(nodes, count + indirect)
    if (results > 1) this.#spare += results
    nodes.push({ name, results, operands, hint, ...immediates })
  }

  /** Takes the nodes whose values an instruction has as its operands from the end of what has been read. */
  #take(nodes: Node[], count: number): readonly Node[] {
    const operands: Node[] = []
    while (operands.length < count && nodes.at(-1)?.results === 1) operands.unshift(nodes.pop()!)
    this.#spare -= count - operands.length
    if (this.#spare < 0) throw this.#code.error('an operand is missing')
    return operands
  }

  #immediates({ immediate, name }: Opcode): Immediates {
    const code = this.#code
    switch (immediate) {
      case 'none':
      case 'block':
        return {}
      case 'local':
        return { local: code.varint() }
      case 'global':
        return { text: this.#global() }
      case 'function':
        return this.#callee()
      case 'indirect':
        return this.#indirect()
      case 'label':
        return { targets: [this.#target()] }
      case 'labels': {
        const count = code.varint(code.remaining)
        return { targets: Array.from({ length: count + 1 }, () => this.#target()) }
      }
      case 'memory':
        return { place: this.#place() }
      case 'lane':
        return { text: String(code.u8()) }
      case 'zero':
      case 'zeros':
        for (let index = 0; index < (immediate === 'zero' ? 1 : 2); index++)
          if (code.u8() !== 0) throw code.error(`${name} in another memory than 0`)
        return {}
      default:
        return { text: this.#constant(immediate) }
    }
  }

  #global(): string {
    const index = this.#code.varint()
    return `$${this.#module.importedGlobals[index] ?? index}`
  }

  #callee(): Immediates {
    const index = this.#code.varint()
    const callee = this.#module.functions[index]
    if (callee === undefined) throw this.#code.error(`there is no function ${index}`)
    return { text: `$${callee.name}`, type: callee.type }
  }

  #indirect(): Immediates {
    const type = this.#module.types[this.#code.varint()]
    if (type === undefined) throw this.#code.error('a call of an unknown type')
    return { text: `${this.#code.varint()} ${typeText(type)}`, type }
  }

  #target(): Scope {
    const distance = this.#code.varint()
    const scope = this.#scopes[this.#scopes.length - 1 - distance]
    if (scope === undefined) throw this.#code.error(`a branch over ${distance} blocks`)
    scope.isTarget = true
    return scope
  }

  #place(): { memory: number; offset: number } {
    const alignment = this.#code.u8()
    if (alignment !== 0 && alignment !== 0x40) throw this.#code.error(`alignment 0x${alignment.toString(16)}`)
    const memory = alignment === 0 ? 0 : this.#code.varint()
    return { memory, offset: this.#code.varint() }
  }

  #constant(type: ValueType): string {
    if (type === 'i32') return String(BigInt.asIntN(32, this.#signed()))
    if (type === 'i64') return String(BigInt.asIntN(64, this.#signed()))
    const bytes = this.#code.bytes(type === 'f32' ? 4 : 8)
    const view = new DataView(bytes.buffer, bytes.byteOffset)
    return type === 'f32' ? floatText(view.getFloat32(0, true)) : floatText(view.getFloat64(0, true))
  }

  #signed(): bigint {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.#code.u8()
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return (byte & 0x40) === 0 ? value : value - (1n << (shift + 7n))
    }
  }
}

/** Of NaNs there is only the canonical one in what we emit. */
function floatText(value: number): string {
  if (Number.isNaN(value)) return 'nan'
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf'
  return Object.is(value, -0) ? '-0' : String(value)
}

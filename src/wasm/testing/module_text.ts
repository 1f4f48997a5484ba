/**
 * WebAssembly modules in the text format, folded, for reading and for goldens: the operands of an instruction stand within it.
 *
 *     (if (@unlikely) (i64.ne (local.get $3) (i64.const 0))
 *       (then (br $block1)))
 *
 * What every access of ours has, an alignment of one byte, is not shown. Labels are named by their depth, so that a block
 * more somewhere does not rename those beside it. Where a place in memory has a name, it stands for its offset.
 */
import { assert } from '../../base/assert.ts'
import { type Node, readInstructions, type Scope } from './instruction_tree.ts'
import {
  type FunctionBody,
  type FunctionEntry,
  type ModuleContents,
  readModule,
  typeText,
} from './module_contents.ts'
import { list, type Part, print } from './parentheses.ts'

/** The name of a place in memory, and of a local variable that is loaded from it or stored to it. */
export interface PlaceName {
  readonly name: string
  readonly local?: string
}

export interface TextOptions {
  /** Names the place at an offset of a memory. */
  readonly place?: (memory: number, offset: number) => PlaceName | undefined
  /** Names of parameters. */
  readonly parameters?: readonly string[]
}

const HINTS = ['(@unlikely)', '(@likely)']

/** A whole module. Throws FormatError for what ModuleBuilder cannot have written. */
export function moduleText(bytes: Uint8Array, options: TextOptions = {}): string {
  const module = readModule(bytes)
  const parts: Part[] = [
    ...module.types.map((type) => list('type', list('func', ...optional(typeText(type))))),
    ...module.imports.map(({ module: from, name, kind, text }) =>
      list('import', `"${from}"`, `"${name}"`, list(kind, `$${name}`, ...optional(text))),
    ),
    ...module.tables.map((size) => list('table', `${size} funcref`)),
    ...module.globals.map(({ type, initial }, index) => {
      const value = readInstructions(initial, module).map(({ name, text }) => list(name, text!))
      return list('global', `$${module.importedGlobals.length + index}`, `(mut ${type})`, ...value)
    }),
    ...module.exports.map(({ name, kind, index }) =>
      list(
        'export',
        `"${name}"`,
        list(kind, kind === 'func' ? `$${module.functions[index]!.name}` : `${index}`),
      ),
    ),
    ...module.elements.map(({ table, functions }) => {
      const names = functions.map((index) => `$${module.functions[index]!.name}`)
      return list('elem', `(table ${table})`, '(i32.const 0)', 'func', ...names)
    }),
    ...module.functions.flatMap((entry) => functionParts(module, entry, options)),
  ]
  return print(list('module', ...parts))
}

/** One function, by its name. */
export function functionText(bytes: Uint8Array, name: string, options: TextOptions = {}): string {
  const module = readModule(bytes)
  const entry = module.functions.find((each) => each.name === name && each.body !== undefined)
  assert(entry !== undefined, `the module defines no function ${name}`)
  return functionParts(module, entry, options).map(print).join('')
}

const optional = (text: string): string[] => (text === '' ? [] : [text])

function functionParts(
  module: ModuleContents,
  { name, type, body }: FunctionEntry,
  options: TextOptions,
): Part[] {
  if (body === undefined) return []
  const nodes = readInstructions(body.code, module, type, (offset) => body.hints.get(offset - body.start))
  const printer = new FunctionPrinter(module, nodes, options)
  const parameters = type.parameters.map((each, index) => `(param ${printer.local(index)} ${each})`)
  const results = type.results.length === 0 ? [] : [`(result ${type.results.join(' ')})`]
  const head = ['func', `$${name}`, ...parameters, ...results].join(' ')
  return [list(head, ...localParts(body, type.parameters.length, printer), ...printer.parts(nodes))]
}

/** The local variables, those of a type that stand together on one line as far as there is room. */
function localParts({ locals }: FunctionBody, first: number, printer: FunctionPrinter): Part[] {
  const perLine = 4
  const texts = locals.map((type, index) => `(local ${printer.local(first + index)} ${type})`)
  const lines = Array.from({ length: Math.ceil(texts.length / perLine) }, (_, line) =>
    texts.slice(line * perLine, (line + 1) * perLine).join(' '),
  )
  return lines.map((line) => ({ text: line }))
}

class FunctionPrinter {
  readonly #module: ModuleContents
  readonly #options: TextOptions
  readonly #names = new Map<number, string>()

  constructor(module: ModuleContents, nodes: readonly Node[], options: TextOptions) {
    this.#module = module
    this.#options = options
    for (const [index, name] of (options.parameters ?? []).entries()) this.#names.set(index, name)
    this.#nameLocals(nodes)
  }

  local(index: number): string {
    return `$${this.#names.get(index) ?? index}`
  }

  parts(nodes: readonly Node[]): Part[] {
    return nodes.map((node) => this.#part(node))
  }

  /** A local is named by the first place that it is loaded from or stored to, if that is a name of no other. */
  #nameLocals(nodes: readonly Node[]): void {
    for (const node of nodes) {
      const [first, second] = node.operands
      if (node.name === 'local.set' && first?.name.includes('.load') === true) this.#nameLocal(node, first)
      if (node.name.includes('.store') && second?.name === 'local.get') this.#nameLocal(second, node)
      this.#nameLocals(node.operands)
      for (const arm of node.block?.arms ?? []) this.#nameLocals(arm)
    }
  }

  #nameLocal({ local }: Node, { place }: Node): void {
    const name = this.#options.place?.(place!.memory, place!.offset)?.local
    if (name === undefined || this.#names.has(local!) || [...this.#names.values()].includes(name)) return
    this.#names.set(local!, name)
  }

  #part(node: Node): Part {
    const { name, block, operands, hint } = node
    const hints = hint === undefined ? [] : [HINTS[hint]!]
    if (block === undefined) {
      const words = [name, ...this.#immediates(node), ...hints].join(' ')
      return list(words, ...this.parts(operands))
    }
    const { scope, type, arms } = block
    const label = scope.isTarget ? [labelOf(scope)] : []
    const result = type === undefined ? [] : [`(result ${type})`]
    const head = [name, ...label, ...hints, ...result].join(' ')
    const bodies = arms.map((arm) => this.parts(arm))
    if (name !== 'if') return list(head, ...bodies[0]!)
    const named = bodies.map((body, index) => list(index === 0 ? 'then' : 'else', ...body))
    return list(head, ...this.parts(operands), ...named)
  }

  #immediates({ local, place, targets, text }: Node): string[] {
    if (local !== undefined) return [this.local(local)]
    if (targets !== undefined) return targets.map(labelOf)
    if (place === undefined) return text === undefined ? [] : [text]
    const { memory, offset } = place
    const named = this.#options.place?.(memory, offset)
    return [
      ...(memory === 0 ? [] : [`$${this.#module.memories[memory]}`]),
      ...(offset === 0 ? [] : [`offset=${named?.name ?? offset}`]),
    ]
  }
}

const labelOf = ({ kind, depth }: Scope): string => `$${kind}${depth}`

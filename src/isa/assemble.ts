/**
 * A small assembler for bare programs and tests: instructions as in the tables, pseudo-instructions
 * (pseudo.ts), labels, and data. The first pass lays statements out, the second encodes them, when all
 * labels are known; so what decides a size (`li`, `.zero`, `.align`, `.equ`) may use only what comes
 * before it.
 *
 *     loop:   amoadd.w a0, a1, (a2)      # or // to the end of the line; `;` separates statements
 *     1:      bnez a0, 1b                numbered labels, nearest backwards (b) and forwards (f)
 *     .byte .half .word .dword .2byte .4byte .8byte .ascii .asciz
 *     .zero n   .align n (to 2^n bytes)   .equ name, value
 */
import { UserError } from '../base/errors.ts'
import { instructionNamed } from './encode.ts'
import { evaluate, type SymbolLookup, unescapeText } from './expression.ts'
import { findInstruction } from './instructions.ts'
import { OperandReader, type Ordering } from './operands.ts'
import { encodePattern } from './pattern.ts'
import { expandPseudo, loadConstant } from './pseudo.ts'

export interface Assembly {
  readonly bytes: Uint8Array
  /** Addresses of the labels, and values of `.equ` names. */
  readonly labels: ReadonlyMap<string, bigint>
}

/** Translates a program to be loaded at address `base`. Throws UserError that names the line. */
export function assemble(source: string, base: bigint): Assembly {
  const assembler = new Assembler(base)
  for (const [index, line] of source.split('\n').entries()) {
    assembler.onLine(index + 1, () => {
      for (const statement of splitOutsideText(stripComment(line), ';'))
        assembler.layOut(statement, index + 1)
    })
  }
  return assembler.finish()
}

/** Bytes whose values are known in the second pass. `symbol` resolves names as seen from the statement. */
interface Chunk {
  readonly line: number
  readonly address: bigint
  readonly size: number
  readonly value: (symbol: SymbolLookup) => bigint
}

interface NumberedLabel {
  readonly name: string
  readonly address: bigint
  /** How many chunks stand before it. */
  readonly chunkIndex: number
}

const dataSizes: Readonly<Record<string, number>> = {
  '.byte': 1,
  '.half': 2,
  '.2byte': 2,
  '.word': 4,
  '.4byte': 4,
  '.dword': 8,
  '.8byte': 8,
}

class Assembler {
  readonly #base: bigint
  #size = 0
  readonly #labels = new Map<string, bigint>()
  readonly #numbered: NumberedLabel[] = []
  readonly #chunks: Chunk[] = []

  constructor(base: bigint) {
    this.#base = base
  }

  /** Runs `body`, naming the line in its UserErrors. */
  onLine(line: number, body: () => void): void {
    try {
      body()
    } catch (error) {
      if (error instanceof UserError) throw new UserError(`assembly line ${line}: ${error.message}`)
      throw error
    }
  }

  layOut(text: string, line: number): void {
    const statement = this.#takeLabels(text.trim())
    if (statement === '') return
    const [, name = '', rest = ''] = /^(\S+)\s*(.*)$/s.exec(statement) ?? []
    const operands = rest === '' ? [] : splitOutsideText(rest, ',').map((operand) => operand.trim())
    if (name.startsWith('.')) this.#directive(name, operands, line)
    else this.#instruction(name, operands, line)
  }

  finish(): Assembly {
    const bytes = new Uint8Array(this.#size)
    for (const [index, chunk] of this.#chunks.entries()) {
      this.onLine(chunk.line, () => {
        const value = chunk.value((name) => this.#lookup(name, chunk.address, index))
        const start = Number(chunk.address - this.#base)
        for (let at = 0; at < chunk.size; at++) bytes[start + at] = Number((value >> BigInt(8 * at)) & 0xffn)
      })
    }
    return { bytes, labels: this.#labels }
  }

  get #here(): bigint {
    return this.#base + BigInt(this.#size)
  }

  #takeLabels(text: string): string {
    const found = /^([\w.$]+):\s*(.*)$/s.exec(text)
    if (!found) return text
    const [, name = '', rest = ''] = found
    if (/^\d+$/.test(name)) {
      this.#numbered.push({ name, address: this.#here, chunkIndex: this.#chunks.length })
    } else {
      this.#define(name, this.#here)
    }
    return this.#takeLabels(rest)
  }

  #define(name: string, value: bigint): void {
    if (this.#labels.has(name)) throw new UserError(`the label '${name}' is defined twice`)
    this.#labels.set(name, value)
  }

  #lookup(name: string, here: bigint, chunkIndex: number): bigint {
    if (name === '.') return here
    const numbered = /^(\d+)([bf])$/.exec(name)
    const value = numbered
      ? this.#findNumbered(numbered[1]!, numbered[2] === 'f', chunkIndex)
      : this.#labels.get(name)
    if (value === undefined) throw new UserError(`there is no label '${name}'`)
    return value
  }

  #findNumbered(name: string, forwards: boolean, chunkIndex: number): bigint | undefined {
    const labels = this.#numbered.filter((label) => label.name === name)
    if (forwards) return labels.find((label) => label.chunkIndex > chunkIndex)?.address
    return labels.findLast((label) => label.chunkIndex <= chunkIndex)?.address
  }

  /** The value of an expression that decides a size. */
  #known(text: string): bigint {
    return evaluate(text, (name) => this.#lookup(name, this.#here, this.#chunks.length))
  }

  #reserve(text: string): void {
    const count = this.#known(text)
    if (count < 0n || count > 0x1000_0000n) throw new UserError(`cannot reserve ${count} bytes`)
    this.#size += Number(count)
  }

  #add(line: number, size: number, value: Chunk['value']): void {
    this.#chunks.push({ line, address: this.#here, size, value })
    this.#size += size
  }

  #directive(name: string, operands: readonly string[], line: number): void {
    const size = dataSizes[name]
    const [first = '', second = ''] = operands
    if (size !== undefined) {
      for (const operand of operands) {
        this.#add(line, size, (symbol) => checkedData(evaluate(operand, symbol), size))
      }
    } else if (name === '.ascii' || name === '.asciz') {
      for (const operand of operands) this.#text(operand, name === '.asciz', line)
    } else if (name === '.zero') {
      this.#reserve(first)
    } else if (name === '.align') {
      this.#reserve(`-. & ((1 << (${first})) - 1)`)
    } else if (name === '.equ') {
      this.#define(first, this.#known(second))
    } else {
      throw new UserError(`there is no directive '${name}'`)
    }
  }

  #text(operand: string, terminated: boolean, line: number): void {
    const quoted = /^"(.*)"$/s.exec(operand)
    if (!quoted) throw new UserError(`expected text in double quotes, found '${operand}'`)
    const text = unescapeText(quoted[1]!) + (terminated ? '\0' : '')
    for (const character of text) this.#add(line, 1, () => checkedData(BigInt(character.codePointAt(0)!), 1))
  }

  #instruction(name: string, operands: readonly string[], line: number): void {
    if (name === 'li' && operands.length === 2) {
      for (const text of loadConstant(operands[0]!, this.#known(operands[1]!))) this.layOut(text, line)
      return
    }
    const expanded = expandPseudo(name, operands)
    if (expanded) {
      for (const text of expanded) this.layOut(text, line)
      return
    }
    const { base, ordering } = splitOrdering(name)
    const { pattern, operands: template } = instructionNamed(base)
    const address = this.#here
    this.#add(line, pattern.size / 8, (symbol) => {
      const values = new OperandReader(symbol, address, ordering).read(name, template, operands)
      return BigInt(encodePattern(pattern, name, values))
    })
  }
}

/** Takes `.aq`, `.rl` or `.aqrl` off the name of an atomic instruction. */
function splitOrdering(name: string): { base: string; ordering: Ordering } {
  const [, base = name, suffix = ''] = /^(.*?)(?:\.(aq|rl|aqrl))?$/.exec(name) ?? []
  if (findInstruction(base)?.extension !== 'A') return { base: name, ordering: { aq: 0, rl: 0 } }
  return { base, ordering: { aq: suffix.includes('aq') ? 1 : 0, rl: suffix.includes('rl') ? 1 : 0 } }
}

function checkedData(value: bigint, size: number): bigint {
  const bits = size * 8
  if (BigInt.asUintN(bits, value) !== value && BigInt.asIntN(bits, value) !== value) {
    throw new UserError(`${value} does not fit into ${size} bytes`)
  }
  return value
}

function stripComment(line: string): string {
  return /^(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])'|(?!\/\/)[^#"'])*/.exec(line)?.[0] ?? line
}

/** Splits at a separator that stands outside of quotes. */
function splitOutsideText(text: string, separator: string): string[] {
  const parts = ['']
  for (const [piece] of text.matchAll(/"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])'|./gs)) {
    if (piece === separator) parts.push('')
    else parts.push(parts.pop()! + piece)
  }
  return parts
}

/** Operands of assembly text, read as the tables' operand templates say (instructions.ts). */
import { UserError } from '../base/errors.ts'
import { findCsr } from './csr.ts'
import { evaluate, type SymbolLookup } from './expression.ts'
import { registerOperand } from './instructions.ts'
import type { FieldName, FieldValues } from './pattern.ts'
import { fenceSet, registerNumber, roundingModes } from './registers.ts'

/** The acquire and release bits of an atomic instruction. */
export type Ordering = { readonly aq: number; readonly rl: number }

/** Reads the operands of the instruction at `address` into the fields of its encoding. */
export class OperandReader {
  readonly #symbol: SymbolLookup
  readonly #address: bigint
  readonly #values: { [name in FieldName]?: number }

  constructor(symbol: SymbolLookup, address: bigint, ordering: Ordering) {
    this.#symbol = symbol
    this.#address = address
    this.#values = { ...ordering }
  }

  /**
   * The fields of the instruction `name` with these operands, as its table's `template` names them. Throws
   * UserError for operands that are missing or of the wrong kind.
   */
  read(name: string, template: string, texts: readonly string[]): FieldValues {
    const operands = template === '' ? [] : template.split(', ')
    const last = operands.at(-1)
    const given = [...texts]
    if ((last === 'rm' || last === 'exact') && given.length === operands.length - 1) {
      given.push(last === 'rm' ? 'dyn' : 'rne')
    }
    if (given.length !== operands.length) {
      throw new UserError(`${name} takes ${template === '' ? 'no operands' : `the operands ${template}`}`)
    }
    for (const [index, operand] of operands.entries()) this.#operand(operand, given[index]!)
    return this.#values
  }

  #operand(operand: string, text: string): void {
    const memory = /^(\w*)\((\w+)\)$/.exec(operand)
    if (!memory) {
      this.#single(operand, text)
      return
    }
    const given = /^(.*)\(\s*(\w+)\s*\)$/s.exec(text)
    if (!given) throw new UserError(`expected ${operand}, found '${text}'`)
    const offset = given[1]!.trim() || '0'
    if (memory[1]) this.#single(memory[1], offset)
    else if (this.#value(offset) !== 0) throw new UserError(`expected ${operand}, without an offset`)
    this.#single(memory[2]!, given[2]!)
  }

  #single(operand: string, text: string): void {
    const register = registerOperand(operand)
    if (register) this.#values[register[0]] = this.#found(registerNumber(register[1], text), operand, text)
    else if (operand === 'sp') this.#found(registerNumber('x', text) === 2 ? 2 : undefined, operand, text)
    else if (operand === 'zimm') this.#values.rs1 = this.#value(text)
    else if (operand === 'rm' || operand === 'exact') {
      this.#values.rm = this.#found(foundIndex(roundingModes.indexOf(text)), 'a rounding mode', text)
    } else if (operand === 'pred') {
      this.#values.imm = this.#found(fenceSet(text), 'a set of i, o, r, w', text) << 4
    } else if (operand === 'succ') {
      this.#values.imm = (this.#values.imm ?? 0) | this.#found(fenceSet(text), 'a set of i, o, r, w', text)
    } else this.#values.imm = this.#immediate(operand, text)
  }

  #immediate(operand: string, text: string): number {
    if (operand === 'csr') return findCsr(text) ?? this.#value(text)
    if (operand === 'target') return Number(BigInt.asIntN(64, evaluate(text, this.#symbol) - this.#address))
    const value = this.#value(text)
    if (operand !== 'hi') return value
    if (value < -0x80000 || value > 0xfffff) throw new UserError(`${value} does not fit into 20 bits`)
    return (value << 12) | 0
  }

  #value(text: string): number {
    return Number(evaluate(text, this.#symbol))
  }

  #found(value: number | undefined, what: string, text: string): number {
    if (value === undefined) throw new UserError(`expected ${what}, found '${text}'`)
    return value
  }
}

function foundIndex(index: number): number | undefined {
  return index < 0 ? undefined : index
}

/**
 * Constant expressions of the assembler, over integers of any size:
 *
 *     numbers 12, 0x1f, 0b101, 'a'     labels, numbered labels 1b 1f, and `.` (this address)
 *     ( )   unary - ~   * / %   + -   << >>   &   ^   |, binding as in C
 *     %hi(x) and %lo(x), the parts of x for lui or auipc and for the twelve bits that are added afterwards
 */
import { UserError } from '../base/errors.ts'

/** The value of a label, of `.`, or of a numbered label such as `1f`; throws UserError if there is none. */
export type SymbolLookup = (name: string) => bigint

const token =
  /\s*(0x[\da-f_]+|0b[01_]+(?!\w)|\d+[bf](?!\w)|\d[\d_]*|'(?:\\.|[^'])'|%hi|%lo|[a-z_.$][\w.$]*|<<|>>|[-+*/%&|^~()])/iy

const binaryLevels: readonly (readonly string[])[] = [
  ['|'],
  ['^'],
  ['&'],
  ['<<', '>>'],
  ['+', '-'],
  ['*', '/', '%'],
]

const escapes: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', '0': '\0' }

/** Replaces the escapes \n \t \r \0 and any other \c by the characters that they mean. */
export function unescapeText(text: string): string {
  return text.replace(/\\(.)/g, (_, letter: string) => escapes[letter] ?? letter)
}

/** The value of an expression. Throws UserError for a mistake in it. */
export function evaluate(text: string, lookup: SymbolLookup): bigint {
  return new Evaluation(text, lookup).value()
}

class Evaluation {
  readonly #text: string
  readonly #tokens: string[]
  readonly #lookup: SymbolLookup
  #position = 0

  constructor(text: string, lookup: SymbolLookup) {
    this.#text = text
    this.#tokens = tokenize(text)
    this.#lookup = lookup
  }

  value(): bigint {
    const value = this.#binary(0)
    if (this.#position !== this.#tokens.length) throw this.#error()
    return value
  }

  #binary(level: number): bigint {
    const operators = binaryLevels[level]
    if (!operators) return this.#unary()
    let value = this.#binary(level + 1)
    for (;;) {
      const operator = this.#tokens[this.#position]
      if (operator === undefined || !operators.includes(operator)) return value
      this.#position++
      value = this.#apply(operator, value, this.#binary(level + 1))
    }
  }

  #apply(operator: string, left: bigint, right: bigint): bigint {
    const wrong =
      operator === '/' || operator === '%' ? right === 0n : operator.length === 2 && right > 0xffffn
    if (wrong) throw this.#error()
    if (operator === '|') return left | right
    if (operator === '^') return left ^ right
    if (operator === '&') return left & right
    if (operator === '<<') return left << right
    if (operator === '>>') return left >> right
    if (operator === '+') return left + right
    if (operator === '-') return left - right
    if (operator === '*') return left * right
    return operator === '/' ? left / right : left % right
  }

  #unary(): bigint {
    const next = this.#tokens[this.#position++]
    if (next === undefined) throw this.#error()
    if (next === '-') return -this.#unary()
    if (next === '+') return this.#unary()
    if (next === '~') return ~this.#unary()
    if (next === '(') return this.#closed()
    if (next === '%hi' || next === '%lo') {
      if (this.#tokens[this.#position++] !== '(') throw this.#error()
      return addressPart(next, this.#closed())
    }
    if (next.startsWith("'")) return BigInt(unescapeText(next.slice(1, -1)).codePointAt(0)!)
    if (/^\d+[bf]$/.test(next) || /^[a-z_.$]/i.test(next)) return this.#lookup(next)
    if (/^\d/.test(next)) return BigInt(next.replaceAll('_', ''))
    throw this.#error()
  }

  #closed(): bigint {
    const value = this.#binary(0)
    if (this.#tokens[this.#position++] !== ')') throw this.#error()
    return value
  }

  #error(): UserError {
    return new UserError(`cannot understand the expression '${this.#text}'`)
  }
}

function addressPart(part: string, value: bigint): bigint {
  if (part === '%lo') return BigInt.asIntN(12, value)
  const high = (value + 0x800n) >> 12n
  if (high < -0x80000n || high > 0xfffffn) throw new UserError(`${value} is out of the reach of 32 bits`)
  return high
}

function tokenize(text: string): string[] {
  const tokens: string[] = []
  token.lastIndex = 0
  const trimmed = text.trim()
  while (token.lastIndex < trimmed.length) {
    const found = token.exec(trimmed)
    if (!found) throw new UserError(`cannot understand the expression '${text}'`)
    tokens.push(found[1]!)
  }
  return tokens
}

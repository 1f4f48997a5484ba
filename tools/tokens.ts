/**
 * TypeScript source as a list of words, strings and punctuation: enough for rules about names and imports, without
 * being misled by comments and text. Not a parser: the token before a slash decides whether it divides or begins a
 * regular expression.
 */

export interface Token {
  /** `word` covers identifiers, keywords, private names and numbers. */
  readonly kind: 'word' | 'string' | 'template' | 'regex' | 'punctuation'
  /** As written; a string without its quotes. */
  readonly text: string
  /** Where it begins, counted from 1. */
  readonly line: number
}

const BLANK = /(?:\s+|\/\/[^\n]*|\/\*[\s\S]*?\*\/)+/y
const WORD = /[#\w$\u0080-\uffff]+/y
const STRING = /'(?:[^'\\\n]|\\[\s\S])*'|"(?:[^"\\\n]|\\[\s\S])*"/y
const REGEX = /\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/\w*/y
/** The text of a template up to its end or to the next `${`, with what ends it. */
const TEMPLATE = /(?:[^`\\$]|\\[\s\S]|\$(?!\{))*(?:`|\$\{|$)/y
const PUNCTUATION = /=>|\?\.|\.\.\.|[\s\S]/y

/** After these words an expression begins, so that a slash begins a regular expression. */
const wordsBeforeExpression = new Set([
  'return',
  'typeof',
  'case',
  'in',
  'of',
  'void',
  'throw',
  'await',
  'yield',
])

export function tokenize(source: string): Token[] {
  return new Tokenizer(source).run()
}

class Tokenizer {
  readonly #source: string
  readonly #tokens: Token[] = []
  /** For each open brace, whether it is the `${` of a template. */
  readonly #braces: boolean[] = []
  #position = 0
  #line = 1

  constructor(source: string) {
    this.#source = source
    if (source.startsWith('#!')) this.#position = source.indexOf('\n')
  }

  run(): Token[] {
    this.#match(BLANK)
    while (this.#position < this.#source.length) {
      this.#token()
      this.#match(BLANK)
    }
    return this.#tokens
  }

  #token(): void {
    if (this.#take('word', WORD) || this.#take('string', STRING)) return
    if (this.#expressionBegins() && this.#take('regex', REGEX)) return
    const line = this.#line
    const text = this.#match(PUNCTUATION)!
    if (text === '`') {
      this.#template(line)
      return
    }
    this.#tokens.push({ kind: 'punctuation', text, line })
    if (text === '{') this.#braces.push(false)
    if (text === '}' && this.#braces.pop()) this.#template(line)
  }

  #template(line: number): void {
    const text = this.#match(TEMPLATE) ?? ''
    this.#tokens.push({ kind: 'template', text, line })
    if (text.endsWith('${')) this.#braces.push(true)
  }

  #take(kind: Token['kind'], pattern: RegExp): boolean {
    const line = this.#line
    const found = this.#match(pattern)
    if (found === undefined) return false
    this.#tokens.push({ kind, text: kind === 'string' ? found.slice(1, -1) : found, line })
    return true
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#position
    const found = pattern.exec(this.#source)?.[0]
    if (found === undefined) return undefined
    this.#position += found.length
    this.#line += found.split('\n').length - 1
    return found
  }

  #expressionBegins(): boolean {
    const before = this.#tokens.at(-1)
    if (!before) return true
    if (before.kind === 'word') return wordsBeforeExpression.has(before.text)
    return before.kind === 'punctuation' && before.text !== ')' && before.text !== ']'
  }
}

export interface Import {
  readonly specifier: string
  readonly line: number
  /** `import type ...` or `export type ...`: gone when the program runs. */
  readonly isTypeOnly: boolean
}

/** Every module that the tokens name: imports, re-exports, `import('...')`. */
export function importsOf(tokens: readonly Token[]): Import[] {
  const imports: Import[] = []
  let isTypeOnly = false
  for (const [index, token] of tokens.entries()) {
    const before = tokens[index - 1]
    if (token.kind === 'word' && (token.text === 'import' || token.text === 'export')) {
      isTypeOnly = tokens[index + 1]?.text === 'type'
    }
    if (token.kind !== 'string' || !before) continue
    const isDynamic = before.text === '(' && tokens[index - 2]?.text === 'import'
    const isStatic = before.kind === 'word' && (before.text === 'from' || before.text === 'import')
    if (isDynamic || isStatic) {
      imports.push({ specifier: token.text, line: token.line, isTypeOnly: isStatic && isTypeOnly })
    }
  }
  return imports
}

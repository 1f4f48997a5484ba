import assert from 'node:assert/strict'
import { test } from 'node:test'
import { importsOf, tokenize } from './tokens.ts'

function words(source: string): string[] {
  return tokenize(source)
    .filter((token) => token.kind === 'word')
    .map((token) => token.text)
}

test('comments, strings and regular expressions hide their words', () => {
  assert.deepEqual(words(`a // b\n/* c */ d + 'e' + "f" + /g'/ + h`), ['a', 'd', 'h'])
  assert.deepEqual(words(`return /[/'"]b/.test(c)`), ['return', 'test', 'c'])
  assert.deepEqual(words(`'it\\'s' + "\\\\" + a`), ['a'])
})

test('a slash after a value divides', () => {
  assert.deepEqual(words('a / b / c'), ['a', 'b', 'c'])
  assert.deepEqual(words('(a) / b / c[0] / d'), ['a', 'b', 'c', '0', 'd'])
})

test('the expressions of a template are seen, its text is not', () => {
  assert.deepEqual(words('`a ${b + `c ${ { d: 1 }.d } e`} f` + g'), ['b', 'd', '1', 'd', 'g'])
  assert.deepEqual(words('`\\${a} $b \\`` + c'), ['c'])
})

test('lines are counted through comments, templates and strings', () => {
  const last = tokenize('#!/usr/bin/env node\n/*\n*/ `\n${a}\n` + b').at(-1)
  assert.deepEqual(last, { kind: 'word', text: 'b', line: 5 })
})

test('every kind of import is found, and whether it is of types only', () => {
  const source = `
    import a from './a.ts'
    import type { B } from './b.ts'
    import { type C, c } from './c.ts'
    import './d.ts'
    export * from './e.ts'
    export type { F } from './f.ts'
    const g = import('./g.ts')
    const text = "import x from './no.ts'"
    call(from, './no.ts')`
  assert.deepEqual(
    importsOf(tokenize(source)).map(({ specifier, line, isTypeOnly }) => [specifier, line, isTypeOnly]),
    [
      ['./a.ts', 2, false],
      ['./b.ts', 3, true],
      ['./c.ts', 4, false],
      ['./d.ts', 5, false],
      ['./e.ts', 6, false],
      ['./f.ts', 7, true],
      ['./g.ts', 8, false],
    ],
  )
})

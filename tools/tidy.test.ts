/** Plants each violation in a piece of source and expects it to be named; the repository itself must have none. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { root } from './runtime.ts'
import { tidyRepository } from './tidy.ts'
import { FILE_LINES_MAX, type LayerConfiguration, tidyConfiguration, tidyFile } from './tidy_rules.ts'

function messages(path: string, text: string): string[] {
  return tidyFile({ path, text }).map(({ line, message }) => `${line}: ${message}`)
}

function accepted(path: string, text: string): void {
  assert.deepEqual(messages(path, text), [])
}

test('the repository has no violation', () => {
  assert.deepEqual(tidyRepository(), [])
})

test('an import against the arrows is caught', () => {
  assert.deepEqual(messages('src/isa/a.ts', `\nimport { b } from '../machine/b.ts'\n`), [
    '2: isa must not import machine',
  ])
  assert.deepEqual(messages('src/cli/a.ts', `export * from '../host/deep/b.ts'\n`), [
    '1: cli must not import host',
  ])
  assert.deepEqual(messages('src/machine/deep/a.ts', `const b = import('../../log/b.ts')\n`), [
    '1: machine must not import log',
  ])
  assert.deepEqual(messages('src/base/a.ts', `import type { B } from '../../tools/b.ts'\n`), [
    '1: imports tools/b.ts, which is in no layer',
  ])
  assert.deepEqual(messages('src/extra/a.ts', `import { b } from '../base/b.ts'\n`), [
    "1: 'extra' is not a layer: see tools/layers.ts",
  ])
})

test('imports along the arrows and within a layer are accepted', () => {
  accepted('src/machine/a.ts', `import { b } from '../isa/b.ts'\nimport { c } from './deep/c.ts'\n`)
  accepted('src/machine/deep/a.ts', `import { b } from '../b.ts'\n`)
  accepted('src/node/a.ts', `import { b } from '../host/b.ts'\nimport { c } from 'node:fs'\n`)
  accepted('test/a.test.ts', `import { b } from '../src/machine/b.ts'\n`)
})

test('of a port only the types may be imported', () => {
  accepted('src/host/a.ts', `import type { Engine } from '../wasm/engine.ts'\n`)
  assert.deepEqual(messages('src/host/a.ts', `import { type Engine } from '../wasm/engine.ts'\n`), [
    "1: host may import only types of wasm: use 'import type'",
  ])
})

test('a test may import the host and packages, but no layer that its own must not know', () => {
  accepted(
    'src/machine/a.test.ts',
    `import { nodeEngine } from '../host/engine.ts'\nimport fc from 'fast-check'\n`,
  )
  accepted('src/machine/a.test.ts', 'await new Promise((done) => setTimeout(done, 10))\n')
  assert.deepEqual(messages('src/machine/a.test.ts', `import { b } from '../devices/b.ts'\n`), [
    '1: machine must not import devices',
  ])
  assert.deepEqual(messages('src/isa/a.ts', `import { b } from './b.test.ts'\n`), [
    '1: imports the test src/isa/b.test.ts',
  ])
})

test('the layer beside src/ keeps its rules, and nothing in src/ imports it', () => {
  accepted('sim/deep/a.ts', `import { b } from '../../src/log/b.ts'\nimport { c } from '../c.ts'\n`)
  accepted('sim/a.test.ts', `import fc from 'fast-check'\nimport { b } from './b.ts'\n`)
  assert.deepEqual(messages('sim/a.ts', `import { b } from '../src/machine/b.ts'\n`), [
    '1: sim must not import machine',
  ])
  assert.deepEqual(messages('sim/a.ts', `import fc from 'fast-check'\n`), [
    "1: imports 'fast-check': sim is pure and imports nothing from outside",
  ])
  assert.deepEqual(messages('src/node/a.ts', `import { b } from '../../sim/b.ts'\n`), [
    '1: node must not import sim',
  ])
  assert.deepEqual(messages('src/sim/a.ts', `import { b } from '../base/b.ts'\n`), [
    "1: 'src/sim' is not a layer: see tools/layers.ts",
  ])
})

test('imports name a file with its ending', () => {
  assert.deepEqual(messages('tools/a.ts', `import { b } from './b'\nimport { c } from './c.js'\n`), [
    "1: imports './b' without the ending .ts",
    "2: imports './c.js' without the ending .ts",
  ])
})

test('whatever is impure is caught in pure layers', () => {
  const impure: [text: string, name: string][] = [
    ['const now = Date.now()', 'Date'],
    ['let when: Date', 'Date'],
    ['const x = Math.random()', 'Math.random'],
    ['const x = Math?.random()', 'Math.random'],
    ['performance.now()', 'performance'],
    ['process.exit(1)', 'process'],
    ['setTimeout(work, 1)', 'setTimeout'],
    ['setInterval(work, 1)', 'setInterval'],
    ['queueMicrotask(work)', 'queueMicrotask'],
    ['let later: Promise<number>', 'Promise'],
    ['async function work() {}', 'async'],
    ['const text = `${await work()}`', 'await'],
    ['const all = { a: 1, ...process.env }', 'process'],
    ['new WebAssembly.Module(bytes)', 'WebAssembly'],
    ['new WeakRef(page)', 'WeakRef'],
  ]
  const pure = ['base', 'wasm', 'isa', 'machine', 'devices', 'board', 'log', 'replication']
  for (const folder of [...pure.map((layer) => `src/${layer}`), 'sim']) {
    const layer = folder.replace('src/', '')
    for (const [text, name] of impure) {
      assert.deepEqual(messages(`${folder}/a.ts`, `${text}\n`), [`1: '${name}' in ${layer}, which is pure`])
    }
  }
  assert.deepEqual(messages('src/log/a.ts', `import { readFileSync } from 'node:fs'\n`), [
    "1: imports 'node:fs': log is pure and imports nothing from outside",
  ])
})

test('a pure folder of a layer that is not pure keeps the rules of purity', () => {
  accepted(
    'src/gateway/a.ts',
    `import { b } from 'node:net'\nimport { c } from './stack/c.ts'\nsetTimeout(b, 1)\n`,
  )
  accepted('src/gateway/stack/a.ts', `import { b } from '../../base/b.ts'\nimport { c } from './c.ts'\n`)
  accepted(
    'src/gateway/stack/a.test.ts',
    `import { b } from '../testing/b.ts'\nimport fc from 'fast-check'\n`,
  )
  assert.deepEqual(messages('src/gateway/stack/a.ts', `import { b } from '../b.ts'\nsetTimeout(b, 1)\n`), [
    '1: src/gateway/stack is pure and must not import src/gateway/b.ts',
    "2: 'setTimeout' in src/gateway/stack, which is pure",
  ])
  assert.deepEqual(messages('src/gateway/stack/a.ts', `import { b } from 'node:net'\n`), [
    "1: imports 'node:net': src/gateway/stack is pure and imports nothing from outside",
  ])
})

test('words that only look impure are accepted', () => {
  accepted('src/base/a.ts', `// Date.now() and process\nconst text = 'await a Promise'\n`)
  accepted(
    'src/base/a.ts',
    'record.process()\nconst x = { process: 1, Date: 2 }\ninterface Y { readonly async: 1 }\n',
  )
  accepted('src/base/a.ts', 'const x = source.random()\n')
  accepted('src/host/a.ts', 'export async function work() { await Date.now() }\n')
})

test('a file that is too long is caught, unless it is on the list', () => {
  const path = 'src/isa/a.ts'
  const long = 'a()\n'.repeat(FILE_LINES_MAX + 1)
  const list = [{ path, reason: 'a table' }]
  accepted(path, 'a()\n'.repeat(FILE_LINES_MAX))
  assert.deepEqual(messages(path, long), ['501: 501 lines, at most 500: divide the file'])
  assert.deepEqual(tidyFile({ path, text: long }, list), [])
  assert.match(tidyFile({ path, text: 'a()\n' }, list)[0]!.message, /^is no longer too long/)
})

test('forbidden words and vague names are caught', () => {
  for (const word of ['TO DO', 'FIX ME', 'X XX'].map((text) => text.replace(' ', ''))) {
    assert.deepEqual(messages('docs/a.md', `\n<!-- ${word} later -->\n`), [
      `2: ${word}: do it or leave it out`,
    ])
  }
  for (const path of [
    'src/base/utils.ts',
    'src/helpers/a.ts',
    'src/isa/csr_common.ts',
    'test/misc.test.ts',
  ]) {
    assert.match(messages(path, '')[0]!, /says nothing: name the file by what is in it$/)
  }
})

test("a layer's tsconfig must not let the compiler see more than the layer may import", () => {
  const configuration = (
    references: string[],
    compilerOptions: LayerConfiguration['compilerOptions'] = {},
  ) => ({
    compilerOptions,
    references: references.map((path) => ({ path })),
  })
  assert.deepEqual(tidyConfiguration('host', configuration(['../base', '../wasm'], { types: ['node'] })), [])
  const violations = tidyConfiguration('isa', configuration(['../base', '../machine'], { types: ['node'] }))
  assert.deepEqual(
    violations.map(({ message }) => message),
    ['isa must not refer to machine', 'isa is pure: no types of Node or of browsers'],
  )
  assert.deepEqual(tidyConfiguration('sim', configuration(['../src/base', '../src/host'])), [
    { path: 'sim/tsconfig.json', line: 1, message: 'sim must not refer to host' },
  ])
})

test('Biome refuses a function with more than 70 lines in its body', () => {
  const folder = mkdtempSync(join(tmpdir(), 'understudy-tidy-'))
  const lint = (lines: number) => {
    const path = join(folder, 'long.ts')
    const body = Array.from({ length: lines }, (_, index) => `  console.log(${index})\n`).join('')
    writeFileSync(path, `export function long() {\n${body}}\n`)
    const biome = join(root, 'node_modules', '@biomejs', 'biome', 'bin', 'biome')
    const program = [biome, 'lint', `--config-path=${root}`, path]
    return spawnSync(process.execPath, program, { encoding: 'utf8' })
  }
  try {
    assert.equal(lint(70).status, 0)
    const { status, stderr } = lint(71)
    assert.equal(status, 1)
    assert.match(stderr, /noExcessiveLinesPerFunction/)
  } finally {
    rmSync(folder, { recursive: true })
  }
})

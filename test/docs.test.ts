/** What the documents name exists: commands, options, scripts, files, exit codes. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { EXIT_CODE } from '../src/cli/exit_codes.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const paths = ['README.md', 'CHANGELOG.md', ...listDocuments('docs')]
const documents = paths.map((path) => ({ path, text: readFileSync(join(root, path), 'utf8') }))

function listDocuments(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.md'))
    .map((path) => join(folder, path))
}

/** All that `pattern` finds in the documents: where, and its first group. */
function* named(pattern: RegExp): Generator<{ path: string; name: string }> {
  for (const { path, text } of documents)
    for (const match of text.matchAll(pattern)) yield { path, name: match[1]! }
}

/** The help of `understudy image build debian`, say; undefined if there is no such command. */
function help(command: string): string | undefined {
  const { status, stdout } = spawnSync(join(root, 'understudy'), [...command.split(' '), '--help'], {
    encoding: 'utf8',
  })
  const isKnown = status === 0 && stdout.startsWith(`Usage: understudy ${command} `)
  return isKnown ? stdout : undefined
}

test('every command that is named exists, and has the options that it is given', () => {
  const helps = new Map<string, string | undefined>()
  for (const { path, name } of named(/(?:^|`)\.?\/?understudy ((?!--)[a-z][^`\n]*)/gm)) {
    const command = /^(?:image [a-z]+(?: debian)?|[a-z]+)/.exec(name)![0]
    if (!helps.has(command)) helps.set(command, help(command))
    const found = helps.get(command)
    assert.ok(found !== undefined, `${path}: understudy ${command}`)
    const words = name.replaceAll(/'[^']*'/g, '')
    for (const [option] of words.matchAll(/--[a-z-]+/g))
      assert.ok(
        found.includes(`${option} `) || option === '--help',
        `${path}: understudy ${command} ${option}`,
      )
  }
  assert.ok(helps.size >= 5)
})

test('every npm script that is named exists', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: object }
  for (const { path, name } of named(/`npm run ([a-z]+)/g))
    assert.ok(name in scripts, `${path}: npm run ${name}`)
})

test('every file that is named or linked to exists', () => {
  for (const { path, name } of named(/`((?:src|sim|model|test|tools|docs)\/[\w./-]*)`/g))
    assert.ok(existsSync(join(root, name)), `${path}: ${name}`)
  for (const { path, name } of named(/\]\(((?!https?:)[^)#]+)\)/g))
    assert.ok(existsSync(join(root, dirname(path), name)), `${path}: link to ${name}`)
})

test('every link within a document leads to a heading', () => {
  for (const { path, text } of documents) {
    const headings = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
      heading!
        .toLowerCase()
        .replaceAll(/[^\w\s-]/g, '')
        .replaceAll(' ', '-'),
    )
    for (const [, anchor] of text.matchAll(/\]\(#([^)]+)\)/g))
      assert.ok(headings.includes(anchor!), `${path}: #${anchor}`)
  }
})

test("every exit status of our own that is named is one of Understudy's", () => {
  const known: readonly number[] = Object.values(EXIT_CODE)
  for (const { path, name } of named(/\bstatus (1\d\d)\b/g))
    assert.ok(known.includes(Number(name)), `${path}: status ${name}`)
})

test('the statements of the protocol are numbered without gaps, and every one that is cited exists', () => {
  const text = readFileSync(join(root, 'docs', 'protocol.md'), 'utf8')
  const numbers = [...text.matchAll(/^- \*\*P(\d+)\*\*/gm)].map((match) => Number(match[1]))
  // A later one stands where it belongs: a number that is cited stays.
  assert.deepEqual(
    numbers.toSorted((a, b) => a - b),
    Array.from(numbers, (_, index) => index + 1),
  )
  const sources = ['src', 'sim', 'model', 'test'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((path) => /\.(?:ts|pml)$/.test(path))
      .map((path) => join(folder, path)),
  )
  for (const path of [...sources, 'docs/protocol.md'])
    for (const [citation] of readFileSync(join(root, path), 'utf8').matchAll(
      /\((?:[^()]* )?P\d+(?:(?:,| to| and) P\d+)*\)/g,
    ))
      for (const [, cited] of citation.matchAll(/\bP(\d+)/g))
        assert.ok(numbers.includes(Number(cited)), `${path}: P${cited}`)
})

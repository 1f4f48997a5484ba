/**
 * The launcher and the package that npm makes: packed, installed into an empty folder, and started there. The
 * command line is replaced by a probe that says how it was started.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

const probe = `import { Command } from 'commander'
import { encodeAscii } from '../base/text.ts'

console.log(JSON.stringify([
  process.versions.node,
  process.argv.slice(2),
  encodeAscii(new Command('probe').name()).length,
  import.meta.url,
]))
process.exitCode = 7
`

const parts = ['understudy', 'package.json', 'tsconfig.base.json', 'tsconfig.package.json', 'src', 'tools']
let folder = ''
let checkout = ''

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'understudy-package-'))
  checkout = join(folder, 'a checkout')
  mkdirSync(checkout)
  for (const part of [...parts, 'README.md', 'LICENSE', 'CHANGELOG.md']) {
    cpSync(join(root, part), join(checkout, part), { recursive: true })
  }
  symlinkSync(join(root, 'node_modules'), join(checkout, 'node_modules'))
  writeFileSync(join(checkout, 'src', 'cli', 'main.ts'), probe)
})
after(() => rmSync(folder, { recursive: true }))

interface Outcome {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

function run(program: string, args: readonly string[], cwd = folder, path = process.env['PATH']): Outcome {
  const env = { ...process.env, PATH: path }
  const { error, ...outcome } = spawnSync(program, args, { cwd, env, encoding: 'utf8' })
  if (error) throw error
  return outcome
}

function succeed(program: string, args: readonly string[], cwd: string): string {
  const { status, stdout, stderr } = run(program, args, cwd)
  assert.equal(status, 0, stderr + stdout)
  return stdout
}

/** The npm that runs this, under its own Node: one that a distribution has patched does not run under another. */
function npm(args: readonly string[], cwd: string): void {
  const { npm_execpath: path, npm_node_execpath: node } = process.env
  if (path && node) succeed(node, [path, ...args], cwd)
  else succeed('npm', args, cwd)
}

/** Starts the launcher at `path` with a PATH that has no Node, and expects the probe at `main`. */
function startsProbe(path: string, main: string): void {
  const tools = join(folder, 'tools')
  if (!readdirSync(folder).includes('tools')) {
    mkdirSync(tools)
    for (const name of ['sh', 'dirname', 'readlink', 'uname']) {
      symlinkSync(succeed('sh', ['-c', `command -v ${name}`], folder).trim(), join(tools, name))
    }
  }
  const { status, stdout, stderr } = run(path, ['boot', 'an image', ''], folder, tools)
  assert.equal(stderr, '')
  assert.equal(status, 7)
  const [version, args, nameLength, url] = JSON.parse(stdout)
  assert.equal(version, process.versions.node)
  assert.deepEqual(args, ['boot', 'an image', ''])
  assert.equal(nameLength, 5)
  assert.equal(fileURLToPath(url), main)
}

test('the launcher of a checkout starts the pinned runtime, also through a symbolic link', () => {
  const main = join(checkout, 'src', 'cli', 'main.ts')
  startsProbe(join(checkout, 'understudy'), main)
  symlinkSync('a checkout/understudy', join(folder, 'link'))
  startsProbe(join(folder, 'link'), main)
})

test('without node_modules the launcher says in one line what to do', () => {
  const bare = join(folder, 'bare')
  mkdirSync(join(bare, 'src', 'cli'), { recursive: true })
  cpSync(join(root, 'understudy'), join(bare, 'understudy'))
  writeFileSync(join(bare, 'src', 'cli', 'main.ts'), probe)
  const { status, stdout, stderr } = run(join(bare, 'understudy'), [])
  assert.equal(status, 1)
  assert.equal(stdout, '')
  assert.match(
    stderr,
    /^understudy: node_modules\/node-linux-\w+, the runtime, is missing: run npm install\n$/,
  )
})

test('the packed package runs where npm installs it', () => {
  const target = join(folder, 'installed')
  mkdirSync(target)
  npm(['pack', '--pack-destination', target], checkout)
  const archive = readdirSync(target).find((name) => name.endsWith('.tgz'))!
  const files = succeed('tar', ['tzf', archive], target).trim().split('\n')
  const unexpected = files.filter(
    (file) => !/^package\/(dist\/.+\.js|[A-Z]+(\.md)?|package\.json|understudy)$/.test(file),
  )
  assert.deepEqual(unexpected, [])
  writeFileSync(join(target, 'package.json'), '{ "private": true }\n')
  npm(['install', '--prefer-offline', '--no-audit', '--no-fund', `./${archive}`], target)
  const main = join(target, 'node_modules', 'understudy', 'dist', 'cli', 'main.js')
  startsProbe(join(target, 'node_modules', '.bin', 'understudy'), main)
})

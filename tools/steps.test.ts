import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { root } from './runtime.ts'
import { testFiles } from './steps.ts'

/** Runs Node as from a shell: a test runner below a test runner would report to it instead. */
function node(...args: string[]) {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env
  return spawnSync(process.execPath, args, { cwd: root, env, encoding: 'utf8' })
}

test('test files are found in every folder', () => {
  const files = testFiles(['src', 'sim', 'tools'])
  for (const path of [
    'tools/steps.test.ts',
    'src/isa/decode.test.ts',
    'sim/checkers/linearizability.test.ts',
  ])
    assert.ok(files.includes(path), path)
})

test('a failing test fails the run, which still goes through all steps and ends with the counts', () => {
  const folder = mkdtempSync(join(tmpdir(), 'understudy-steps-'))
  try {
    const path = join(folder, 'planted.test.ts')
    writeFileSync(
      path,
      `import { test } from 'node:test'\ntest('one', () => {})\ntest('two', () => { throw 1 })\n`,
    )
    const steps = `[{ name: 'broken', program: ['-e', 'process.exit(3)'] }, testStep(['${path}'])]`
    const program = `import { runSteps, testStep } from './tools/steps.ts'; runSteps(${steps})`
    const { status, stdout, stderr } = node('--input-type=module', '-e', program)
    assert.equal(status, 1)
    assert.match(stdout, /^ℹ pass 1\nℹ fail 1$/m)
    assert.equal(stderr, 'FAILED: broken, tests (1 files)\n')
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('a pattern that no test file has is an error', () => {
  const { status, stderr } = node('tools/test.ts', 'nowhere')
  assert.equal(status, 1)
  assert.equal(stderr, "no test file has 'nowhere' in its path\n")
})

test('a pattern selects test files', () => {
  const { status, stdout } = node('tools/test.ts', 'tools/tokens')
  assert.equal(status, 0)
  assert.match(stdout, /^▶ tests \(1 files\)\n[\s\S]*^ℹ fail 0$/m)
})

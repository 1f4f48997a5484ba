import assert from 'node:assert/strict'
import { test } from 'node:test'
import { commandError, requireCommand, runCommand } from './command.ts'

test('a missing program is reported with its package', async () => {
  await assert.rejects(runCommand('no-such-program', []), {
    name: 'UserError',
    message: 'no-such-program is not installed here: install the package no-such-program',
  })
})

test('a command gets its input, and its status lines are heard one by one', async () => {
  const lines: string[] = []
  const output = await requireCommand('sh', ['-c', 'cat; printf "one\\ntwo\\n" >&3'], {
    input: 'text',
    onStatusLine: (line) => lines.push(line),
  })
  assert.equal(output.toString(), 'text')
  assert.deepEqual(lines, ['one', 'two'])
})

test('a failed command is told in one line, and a full disk as such', () => {
  const failed = (stderr: string) => commandError('apt-get', { status: 100, stdout: Buffer.alloc(0), stderr })
  assert.equal(failed('W: x\nE: first\nE: second\n').message, 'apt-get failed with status 100: first')
  assert.match(failed('tar: ./a: Cannot write: No space left on device\n').message, /^the disk is full/)
})

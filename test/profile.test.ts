/** `--profile` as users meet it: the file, the table, and what is refused before anything runs. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { EXIT_CODE } from '../src/cli/exit_codes.ts'
import type { GuestProfile } from '../src/node/profile/guest_profile.ts'
import { bareElf } from './bare_elf.ts'
import { understudy } from './guest_process.ts'

const directory = mkdtempSync(join(tmpdir(), 'understudy-profile-'))
after(() => rmSync(directory, { recursive: true }))

const STEPS = 300_000_000

describe('exec --profile', () => {
  it('writes where the time went, and a table of it', async () => {
    writeFileSync(join(directory, 'loop.elf'), bareElf('_start: addi a0, a0, 1; j _start'))
    const parameters = ['exec', 'loop.elf', '--max-instructions', `${STEPS}`, '--profile', 'profile.json']
    const { status, stdout, stderr } = await understudy(parameters, { directory })
    assert.deepEqual([status, stdout], [EXIT_CODE.limit, ''], stderr)
    const profile = JSON.parse(readFileSync(join(directory, 'profile.json'), 'utf8')) as GuestProfile
    assert.deepEqual([profile.kind, profile.version], ['understudy-profile', 1])
    assert.equal(profile.steps.total, STEPS)
    assert.ok(profile.tiers.interpreter.seconds + profile.tiers.translated.seconds > 0)
    assert.equal(profile.symbols, 1)
    assert.match(stderr, /^time {3}.*\nsteps {2}300 M in .*\n/)
  })
})

describe('a profile that could not be written', { skip: process.platform !== 'linux' }, () => {
  for (const command of ['boot', 'exec', 'replay'])
    it(`is refused by ${command} before it begins`, async () => {
      const { status, stderr } = await understudy([command, 'none', '--profile', '/proc/profile'])
      assert.equal(status, EXIT_CODE.file)
      assert.match(stderr, /^understudy: cannot write \/proc\/profile: [^\n]+\n$/)
    })

  it('is refused where another option names the same file', async () => {
    const { status, stderr } = await understudy(['boot', 'none', '--report', 'a', '--profile', 'a'])
    assert.equal(status, EXIT_CODE.usage)
    assert.match(stderr, /a is named twice: these options need a file each/)
    for (const command of [
      ['exec', 'a', '--profile', './a'],
      ['replay', 'b', '--report', 'a', '--profile', 'a'],
    ]) {
      const refused = await understudy(command)
      assert.equal(refused.status, EXIT_CODE.usage)
      assert.match(refused.stderr, /a is named twice: --profile needs a file of its own/)
    }
  })
})

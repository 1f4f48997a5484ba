import assert from 'node:assert/strict'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { NoticeLimit, printable } from './secure_notices.ts'
import { openSecret } from './secure_secret.ts'

let folder: string
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'secure-secret-'))
})
after(() => rmSync(folder, { recursive: true }))

function stored(name: string, text: string, mode = 0o600): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  chmodSync(path, mode)
  return path
}

test('the first use makes a secret that only its owner can read, and all later ones find it', async () => {
  mkdirSync(join(folder, 'new'))
  const path = join(folder, 'new', 'secret')
  const secrets = await Promise.all(Array.from({ length: 20 }, () => openSecret(path)))
  assert.equal(secrets[0]!.length, 32)
  for (const secret of secrets) assert.deepEqual(secret, secrets[0])
  assert.equal(statSync(path).mode & 0o777, 0o600)
  assert.match(readFileSync(path, 'latin1'), /^[0-9a-f]{64}\n$/)
  assert.deepEqual(readdirSync(join(folder, 'new')), ['secret'])
  assert.notDeepEqual(await openSecret(join(folder, 'new', 'another')), secrets[0])
})

test('a secret may be written in hexadecimal or base64', async () => {
  const bytes = Buffer.from(Array.from({ length: 32 }, (_, i) => 255 - i))
  for (const text of [
    bytes.toString('hex'),
    `${bytes.toString('hex').toUpperCase()}\n`,
    bytes.toString('base64'),
  ]) {
    assert.deepEqual(await openSecret(stored('written', text)), new Uint8Array(bytes))
  }
})

test('a secret that is too short, too long or something else is refused by name', async () => {
  for (const text of [
    '',
    'ab'.repeat(31),
    'ab'.repeat(33),
    'ab'.repeat(500),
    'no secret at all',
    'g'.repeat(64),
  ]) {
    await assert.rejects(openSecret(stored('malformed', text)), /malformed: not a secret of 32 bytes/)
  }
})

test('a secret that others can read or change is refused with the remedy', async () => {
  for (const mode of [0o640, 0o604, 0o660, 0o620]) {
    await assert.rejects(openSecret(stored('open', 'ab'.repeat(32), mode)), /others may .*chmod 600/)
  }
})

test('what cannot be a file is refused', async () => {
  await assert.rejects(openSecret(folder), /not a plain file/)
  await assert.rejects(
    openSecret(join(folder, 'missing', 'secret')),
    /cannot write .*no such file or directory/,
  )
})

test('notices are passed on so many in a while, and what was left out is counted', () => {
  let nowMs = 0
  const lines: string[] = []
  const limit = new NoticeLimit(
    (line) => lines.push(line),
    () => nowMs,
  )
  for (let i = 0; i < 25; i++) limit.say(`line ${i}`)
  assert.equal(lines.length, 10)
  nowMs = 10_000
  limit.say('later')
  limit.say('last')
  assert.deepEqual(lines.slice(10), ['later (and 15 notices before this, left out)', 'last'])
})

test('a notice is one short line, whatever it quotes', () => {
  assert.equal(printable('a\nb\x1b[31m\u202e'), 'a?b?[31m?')
  assert.equal(printable('x'.repeat(1000)).length, 300)
})

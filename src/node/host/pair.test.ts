import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { Pair } from './pair.ts'

test('a name that no machine can have is refused before anything is made', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'pair-'))
  t.after(() => rmSync(root, { recursive: true }))
  const image = { name: 'small', kernel: '', initramfs: '', disk: '' }
  const rest = { image, commandLine: '', ramBytes: 2 ** 26, harts: 1, forwards: [], settings: {} }
  for (const name of ['../elsewhere', 'a b', '', '.', 'a/b']) {
    await assert.rejects(Pair.create(join(root, 'machines'), { name, ...rest }), /^UserError: machine name '/)
  }
  assert.deepEqual(readdirSync(root), [])
})

import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

test('a process ends although one of its files hangs, which process.exit waits for', async (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'end-at-once-'))
  context.after(() => rmSync(folder, { recursive: true }))
  const pipe = join(folder, 'pipe')
  // To open a pipe that nobody writes to is as a disk that hangs: the thread waits in the system.
  execFileSync('mkfifo', [pipe])
  const module = new URL('./end_at_once.ts', import.meta.url).href
  const program = `
    import { open } from 'node:fs'
    import { endAtOnce } from '${module}'
    open('${pipe}', 'r', () => {})
    setTimeout(endAtOnce, 200)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'inherit' })
  const signal = await new Promise((resolve) => child.once('exit', (_, signal) => resolve(signal)))
  assert.equal(signal, 'SIGKILL')
})

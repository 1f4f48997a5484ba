/** The arbiter on storage that is full, read-only, or mounted over. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { lacksMounts } from '../mounts.ts'

const directory = mkdtempSync(join(tmpdir(), 'arbiter-mounts-'))
after(() => rmSync(directory, { recursive: true }))

const module = new URL('../../src/host/file_arbiter.ts', import.meta.url).href
const program = (actions: string): string => `
  import { execSync } from 'node:child_process'
  const { FileArbiter } = await import(${JSON.stringify(module)})
  const arbiter = new FileArbiter('shared', 'm', 20_000)
  const decision = (epoch) => epoch === 0 ? undefined : { epoch, text: 'decision ' + epoch }
  const say = (answer) => console.log(answer.kind, answer.reason ?? answer.decision?.text)
  const read = () => new Promise((resolve) => arbiter.read(resolve)).then(say)
  const propose = (epoch) => new Promise((resolve) =>
    arbiter.propose(decision(epoch - 1), decision(epoch), resolve)).then(say)
  const shell = (script) => execSync(script, { stdio: ['ignore', 'ignore', 'ignore'] })
  ${actions}
  arbiter.close()`

/** Runs a program with an arbiter where ./shared is a file system of its own. Returns its lines. */
function withMount(actions: string): string[] {
  const folder = join(directory, 'shared')
  mkdirSync(folder, { recursive: true })
  const script = `mount -t tmpfs -o size=64k tmpfs ${folder} && exec "$node" --input-type=module -e "$program"`
  const env = { ...process.env, node: process.execPath, program: program(actions) }
  const options = { cwd: directory, env, encoding: 'utf8', timeout: 60_000 } as const
  const { stdout, stderr } = spawnSync('unshare', ['-m', 'sh', '-c', script], options)
  assert.equal(stderr, '')
  return stdout.trim().split('\n')
}

describe('shared storage with a fault', { skip: lacksMounts(directory) }, () => {
  it('that is full can still be read, and goes on when there is room', () => {
    const lines = withMount(`
      await propose(1)
      shell('dd if=/dev/zero of=shared/filler bs=4k; true')
      await propose(2); await read()
      shell('ls -A shared/m >shared.list; rm shared/filler')
      await propose(2)`)
    assert.equal(lines[0], 'current decision 1')
    assert.match(
      lines[1]!,
      /^unreachable cannot write shared\/m\/\.0000000002\.\S+: the file system is full: /,
    )
    assert.deepEqual(lines.slice(2), ['current decision 1', 'current decision 2'])
  })

  it('that became read-only is unreachable, and says why', () => {
    const lines = withMount(
      `await propose(1); shell('mount -o remount,ro shared'); await read(); await propose(2)`,
    )
    assert.equal(lines[0], 'current decision 1')
    for (const line of lines.slice(1))
      assert.match(line, /^unreachable cannot link \S+: the file system is read-only: /)
    assert.equal(lines.length, 3)
  })

  it('that is no longer mounted is not trusted, until it is back', () => {
    const lines = withMount(`
      await propose(1)
      shell('mkdir aside; mount --move shared aside')
      await read(); await propose(2)
      shell('mount --move aside shared')
      await propose(2)
      shell('mount -t tmpfs tmpfs shared')
      await read()`)
    assert.equal(lines[0], 'current decision 1')
    for (const i of [1, 2, 4]) assert.match(lines[i]!, /^untrusted shared is another directory than before/)
    assert.equal(lines[3], 'current decision 2')
  })
})

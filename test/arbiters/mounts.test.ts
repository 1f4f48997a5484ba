/** The arbiter on storage that is full, read-only, or mounted over. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { lacksMounts } from '../mounts.ts'

const directory = mkdtempSync(join(tmpdir(), 'arbiter-mounts-'))
after(() => rmSync(directory, { recursive: true }))

const module = new URL('../../src/host/file_arbiter.ts', import.meta.url).href
const program = (actions: string, timeoutMs: number): string => `
  import { execSync } from 'node:child_process'
  const { FileArbiter } = await import(${JSON.stringify(module)})
  const arbiter = new FileArbiter('shared', 'm', ${timeoutMs})
  const decision = (epoch) => epoch === 0 ? undefined : { epoch, text: 'decision ' + epoch }
  const say = (answer) => console.log(answer.kind, answer.reason ?? answer.decision?.text)
  const read = () => new Promise((resolve) => arbiter.read(resolve)).then(say)
  const propose = (epoch) => new Promise((resolve) =>
    arbiter.propose(decision(epoch - 1), decision(epoch), resolve)).then(say)
  const shell = (script) => execSync(script, { stdio: ['ignore', 'ignore', 'ignore'] })
  ${actions}
  arbiter.close()`

/** Runs a program with an arbiter where ./shared is a file system that `mount` makes. Returns its lines. */
function withMount(
  actions: string,
  { mount = 'mount -t tmpfs -o size=64k tmpfs shared', timeoutMs = 20_000 } = {},
) {
  mkdirSync(join(directory, 'shared'), { recursive: true })
  // However it ends, nothing stays frozen.
  const script = `${mount} && timeout --signal=KILL 60 "$node" --input-type=module -e "$program"
    fsfreeze --unfreeze shared 2>/dev/null; true`
  const env = { ...process.env, node: process.execPath, program: program(actions, timeoutMs) }
  const { stdout, stderr } = spawnSync('unshare', ['-m', 'sh', '-c', script], {
    ...{ cwd: directory, env, encoding: 'utf8' },
  })
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

  it('that is no longer mounted does not answer, until it is back', () => {
    const lines = withMount(`
      await propose(1)
      shell('mkdir aside; mount --move shared aside')
      await read(); await propose(2)
      shell('mount --move aside shared')
      await propose(2)
      shell('mount -t tmpfs tmpfs shared')
      await read()`)
    assert.equal(lines[0], 'current decision 1')
    for (const i of [1, 2])
      assert.match(
        lines[i]!,
        /^unreachable shared is not the directory of decisions any more: is it mounted\?/,
      )
    assert.match(lines[4]!, /^unreachable shared is not the directory/)
    assert.equal(lines[3], 'current decision 2')
  })
})

const withoutLoops = !existsSync('/dev/loop-control') && 'NOT TESTED: this system has no loop devices'

describe('shared storage that hangs', { skip: lacksMounts(directory) || withoutLoops }, () => {
  it('is given up by few processes, which cannot be killed, and used again when it answers', () => {
    // A file system that is frozen holds whoever changes it, beyond the reach of any signal.
    const mount = 'truncate -s 16M image && mkfs.ext4 -q -F image && mount -o loop image shared'
    const lines = withMount(
      `
      while ((await new Promise((resolve) => arbiter.read(resolve))).kind !== 'current') continue
      await propose(1)
      shell('fsfreeze --freeze shared')
      const hanging = new Set()
      let [ticks, tried, reason] = [0, 0, '']
      const ticking = setInterval(() => ticks++, 10)
      const start = performance.now()
      for (; !reason.includes('processes hang') && tried < 400; tried++) {
        hanging.add(arbiter.pid)
        reason = (await new Promise((resolve) => arbiter.read(resolve))).reason
      }
      const took = performance.now() - start
      clearInterval(ticking)
      console.log(reason)
      hanging.delete(undefined)
      for (const pid of hanging) process.kill(pid, 0)
      console.log(hanging.size, ticks > took / 40 ? 'not stalled' : ticks + ' ticks in ' + took + ' ms')
      shell('fsfreeze --unfreeze shared')
      while ((await new Promise((resolve) => arbiter.read(resolve))).kind !== 'current') continue
      await read(); await propose(2)`,
      { mount, timeoutMs: 1000 },
    )
    assert.match(lines[0]!, /^current decision 1/)
    assert.match(lines[1]!, /^4 processes hang in shared: the storage does not answer$/)
    assert.deepEqual(lines.slice(2), ['4 not stalled', 'current decision 1', 'current decision 2'])
  })
})

/** The demo as people start it: it kills its primary, loses nothing, and leaves nothing running. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { systemImage, testHome } from './system_image.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const image = await systemImage()
const skip = 'missing' in image ? image.missing : false

describe('understudy demo', { skip }, () => {
  let home: string
  let running: ChildProcess | undefined

  before(() => {
    home = mkdtempSync(join(tmpdir(), 'understudy-demo-'))
    symlinkSync(join(testHome, 'images'), join(home, 'images'))
  })
  after(async () => {
    if (running !== undefined && running.exitCode === null) {
      running.kill('SIGTERM')
      await once(running, 'exit')
    }
    rmSync(home, { recursive: true, force: true })
  })

  const demo = async (parameters: readonly string[]) => {
    assert.ok('name' in image)
    const words = ['demo', '--image', image.name, ...parameters]
    const child = spawn(join(root, 'understudy'), words, {
      ...{ cwd: root, env: { ...process.env, UNDERSTUDY_HOME: home }, stdio: ['ignore', 'pipe', 'pipe'] },
    })
    running = child
    let text = ''
    const keep = (bytes: Buffer): void => {
      text += bytes.toString()
    }
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    const [status] = await once(child, 'close')
    return { status, text }
  }

  it('kills the primary, and finds every acknowledged write afterwards', async () => {
    const { status, text } = await demo(['--rounds', '1', '--kill-after', '2'])
    const result = /(\d+) writes acknowledged, 0 lost, 0 wrong .* 1 kill, longest pause \d+ ms\n$/.exec(text)
    assert.ok(result !== null, text)
    assert.ok(Number(result[1]) > 0, text)
    assert.equal(status, 0, text)
    assert.match(text, /saved: the next demo starts from here/)
    const killed = /the primary, ([ab]) \(pid \d+\), is killed/.exec(text)![1]
    const next = killed === 'a' ? 'b' : 'a'
    assert.match(text.slice(text.indexOf('is killed')), new RegExp(`the primary is ${next} `))
  })

  it('leaves no process running', () => {
    const directory = join(home, 'machines', 'demo')
    assert.ok(!existsSync(join(directory, 'supervisor.pid')))
    const started = readdirSync(directory)
      .filter((file) => file.endsWith('.log'))
      .flatMap((file) => [...readFileSync(join(directory, file), 'utf8').matchAll(/process (\d+)/g)])
      .map(([, pid]) => Number(pid))
    assert.ok(started.length >= 4, 'two hosts, one of them twice, and a gateway')
    // Another process may have the number by now, and not the directory among its words.
    for (const pid of started) {
      const path = `/proc/${pid}/cmdline`
      assert.ok(!existsSync(path) || !readFileSync(path, 'utf8').includes(home), `process ${pid} runs`)
    }
  })

  it('starts again where the machine that it has made was saved, and refuses to take it for another', async () => {
    const again = await demo(['--rounds', '0', '--kill-after', '0'])
    assert.match(again.text, /\d+ writes acknowledged, 0 lost, 0 wrong/)
    assert.equal(again.status, 0, again.text)
    const { firstSnapshot } = JSON.parse(readFileSync(join(home, 'machines', 'demo', 'a.json'), 'utf8'))
    assert.equal(firstSnapshot, join(home, 'machines', 'demo', 'first-boot.snap'))
    assert.doesNotMatch(again.text, /saved/)
    const other = await demo(['--image', 'another', '--rounds', '0'])
    assert.equal(other.status, 114)
    assert.match(other.text, /machine demo runs image system-\w+: give another --name/)
  })

  it('boots where what was saved cannot be used', async () => {
    truncateSync(join(home, 'machines', 'demo', 'first-boot.snap'), 100)
    const { status, text } = await demo(['--rounds', '0', '--kill-after', '0'])
    assert.match(text, /first-boot\.snap.*; the machine boots\n/)
    assert.match(text, /saved: the next demo starts from here/)
    assert.equal(status, 0, text)
  })
})

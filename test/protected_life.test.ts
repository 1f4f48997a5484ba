/**
 * What else a protected pair goes through: hand-overs in order, a lost backup, a primary that stands still and comes
 * back, a gateway that is killed, a stop, and the loss of everything at once. One machine goes through all of it.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { GuestConsole } from './guest_console.ts'
import { checkHistory } from './protected/check_history.ts'
import { hasEnded, ProtectedPair, signal } from './protected/pair.ts'
import { RedisClient } from './protected/redis_client.ts'
import { describeRound, type Fault, failOver, killBackup, killPrimary, runRound } from './protected/rounds.ts'
import { Workload } from './protected/workload.ts'
import { systemImage } from './system_image.ts'

const POLL_MS = 100
const WAIT_MS_MAX = 120_000
const PATIENCE_MS = 60_000

const image = await systemImage()
const skip =
  'missing' in image ? image.missing : process.platform !== 'linux' && 'needs /proc to find its processes'

async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + WAIT_MS_MAX; !(await isSo()); ) {
    assert.ok(performance.now() < end, `it does not come to this: ${what}`)
    await setTimeout(POLL_MS)
  }
}

/** The primary stands still until it has been replaced, and then goes on where it was: it has to find out, and end. */
const freezePrimary: Fault = async (pair, before) => {
  const { pid } = before.primary!
  signal(pid, 'SIGSTOP')
  await pair.until('served by the other host', ({ primary }) => primary !== null && primary.pid !== pid)
  signal(pid, 'SIGCONT')
  await until('the old primary ends', () => hasEnded(pid))
}

/** Asks once; the connection is good or this rejects. */
async function ask(port: number, ...words: readonly string[]): Promise<unknown> {
  const client = await RedisClient.connect(port)
  try {
    return (await client.command(...words)).reply
  } finally {
    client.close()
  }
}

/** Writes a value that is on the guest's disk when this resolves: WAITAOF waits for what its own connection has written. */
async function writeThrough(port: number, value: string): Promise<void> {
  const client = await RedisClient.connect(port)
  try {
    assert.equal((await client.command('SET', 'flushed', value)).reply, 'OK')
    assert.deepEqual((await client.command('WAITAOF', '1', '0', '0')).reply, [1, 0])
  } finally {
    client.close()
  }
}

describe('a protected pair', { skip }, () => {
  let pair: ProtectedPair
  before(async () => {
    assert.ok(!('missing' in image))
    pair = await ProtectedPair.start(image)
    await pair.untilServing()
    await pair.untilProtected()
  })
  after(() => pair?.end())

  const faults: readonly (readonly [what: string, fault: Fault])[] = [
    ['its backup is killed', killBackup],
    ['it is handed over in order', failOver],
    ['its primary stands still for too long, and comes back', freezePrimary],
  ]
  for (const [index, [what, fault]] of faults.entries()) {
    it(`goes on for its clients while ${what}`, async (context) => {
      const report = await runRound(pair, 101 + index, [fault])
      context.diagnostic(describeRound(report))
      assert.deepEqual(report.errors, [], pair.logs())
    })
  }

  it('does not stop the service for the loss of its backup', async () => {
    const status = await pair.untilProtected()
    const { primary } = status
    await killBackup(pair, status)
    const later = await pair.untilProtected(status.epoch!)
    assert.deepEqual(later.primary, primary)
  })

  it('keeps its console over a failover, with all that was printed and what runs on it', async () => {
    const child = pair.openConsole()
    const shell = new GuestConsole((keys) => child.stdin!.write(keys))
    child.stdout!.on('data', (bytes: Buffer) => shell.output(bytes))
    child.once('close', (status) => shell.end(`status ${status}`))
    shell.type('\n')
    await shell.shell()
    await shell.succeed('kept=1234; i=0')
    const status = await pair.untilProtected()
    const counting = shell.succeed('while [ $i -lt 300 ]; do i=$((i+1)); echo "line $i"; sleep 0.05; done')
    await setTimeout(1000)
    await killPrimary(pair, status)
    const lines = Array.from({ length: 300 }, (_, i) => `line ${i + 1}\n`)
    assert.equal(await counting, lines.join(''))
    assert.equal(await shell.succeed('echo $kept $i'), '1234 300\n')
    child.kill('SIGKILL')
    await once(child, 'close')
    await pair.untilProtected(status.epoch!)
  })

  it('refuses who does not know its secret, and whoever speaks nonsense, and goes on', async () => {
    const { hosts } = await pair.untilProtected()
    for (const name of ['a', 'b', 'gateway']) {
      const port = pair.listenPort(name)
      for (const bytes of [Buffer.from('GET / HTTP/1.1\r\n\r\n'), Buffer.alloc(70_000, 0xff)]) {
        const socket = connect(port, '127.0.0.1')
        socket.on('error', () => {}).resume()
        socket.write(bytes)
        await new Promise((resolve) => socket.once('close', resolve))
      }
    }
    assert.match(await pair.statusWithWrongSecret(), /stopped|no primary|no answer|starting|secret/)
    const later = await pair.untilProtected()
    assert.deepEqual(
      later.hosts.map(({ pid }) => pid),
      hosts.map(({ pid }) => pid),
    )
    assert.equal(await ask(pair.port, 'PING'), 'PONG')
  })

  it('serves new connections after its gateway was killed; old ones are reset', async () => {
    const old = await Workload.start({ port: pair.port, name: 'gateway', connections: 2 })
    await until('answers', () => old.operations > 20)
    const pid = pair.pid('gateway')
    signal(pid, 'SIGKILL')
    await until('the old connections are reset', () => old.connectionErrors.length === 2)
    await pair.untilServing()
    assert.notEqual(pair.pid('gateway'), pid)
    const { history } = await old.finish(PATIENCE_MS)
    // Two operations may be without an answer; what was answered is there.
    const keys = [...new Set(history.map(({ key }) => key))]
    const reader = await RedisClient.connect(pair.port)
    const finals = []
    for (const key of keys) {
      const { reply } = await reader.command('LRANGE', key, '0', '-1')
      finals.push({ client: 99, key, call: 1e9, return: 1e9 + 1, output: reply as string[] })
    }
    reader.close()
    const input = { kind: 'read', count: 'all' } as const
    const whole = [...history, ...finals.map((final) => ({ ...final, input }))]
    assert.deepEqual(checkHistory(whole, { openMax: 2 }).faults, [])
  })

  it('has what was flushed when it is stopped and run again', async () => {
    await pair.untilProtected()
    await writeThrough(pair.port, 'before the stop')
    await pair.command('stop')
    assert.equal((await pair.status()).protection, 'stopped')
    await pair.startAgain()
    await pair.untilServing()
    assert.equal(await ask(pair.port, 'GET', 'flushed'), 'before the stop')
    await pair.untilProtected()
  })

  it('has what was flushed when all its processes are killed at once and started again', async () => {
    await pair.untilProtected()
    await writeThrough(pair.port, 'before the outage')
    await pair.killEverything()
    await pair.startAgain()
    await pair.untilServing()
    assert.equal(await ask(pair.port, 'GET', 'flushed'), 'before the outage')
    await pair.untilProtected()
  })

  it('starts its hosts again by itself when both are killed at once', async () => {
    const status = await pair.untilProtected()
    await writeThrough(pair.port, 'before both hosts died')
    for (const { pid } of [status.primary!, status.backup!]) signal(pid, 'SIGKILL')
    await pair.until('another life', ({ epoch }) => (epoch ?? 0) > status.epoch!)
    await pair.untilServing()
    assert.equal(await ask(pair.port, 'GET', 'flushed'), 'before both hosts died')
    await pair.untilProtected()
  })
})

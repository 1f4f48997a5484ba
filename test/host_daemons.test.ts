/**
 * A machine on two hosts that have daemons, which only share the directory of the arbiter: `understudy run --hosts`. Its
 * processes die, and its daemons with them or without, and its client sees a pause and nothing else.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { understudy } from './guest_process.ts'
import { HostDaemonProcess } from './protected/host_daemon.ts'
import { hasEnded, ProtectedPair, signal } from './protected/pair.ts'
import { RedisClient } from './protected/redis_client.ts'
import { describeRound, killPrimary, runRound } from './protected/rounds.ts'
import { systemImage } from './system_image.ts'

const image = await systemImage()
const skip =
  'missing' in image ? image.missing : process.platform !== 'linux' && 'needs /proc to find its processes'

/** As operator and hosts call it. */
const MACHINE = 'pair'

describe('a machine at two hosts with daemons', { skip }, () => {
  let folder: string
  let secretFile: string
  let hosts: readonly [HostDaemonProcess, HostDaemonProcess]
  let pair: ProtectedPair
  /** Processes of the machine that were seen. */
  const pids = new Set<number>()

  before(async () => {
    assert.ok(!('missing' in image))
    folder = mkdtempSync(join(tmpdir(), 'understudy-hosts-'))
    secretFile = join(folder, 'secret')
    mkdirSync(join(folder, 'arbiter'))
    hosts = [
      new HostDaemonProcess(folder, 'alpha', secretFile),
      new HostDaemonProcess(folder, 'beta', secretFile),
    ]
    for (const host of hosts) await host.start()
    pair = await ProtectedPair.start(image, placement(secretFile))
    await pair.untilServing()
    await protectedNow()
  })
  after(async () => {
    await pair?.end()
    for (const host of hosts) await host.end([...pids])
    rmSync(folder, { recursive: true, force: true })
  })

  function placement(secret: string): string[] {
    const addresses = hosts.map(({ address }) => address).join()
    return ['--hosts', addresses, '--secret', secret, '--arbiter', `file:${join(folder, 'arbiter')}`]
  }

  async function protectedNow(beyond = 0) {
    const { primary, backup, epoch } = await pair.untilProtected(beyond)
    for (const { pid } of [primary!, backup!]) pids.add(pid)
    return { primary: primary!, backup: backup!, epoch: epoch! }
  }

  const daemonOf = (name: string): HostDaemonProcess => hosts.find((host) => host.name === name)!

  it('is refused to whoever has another secret, and garbage has no effect but a line in the log', async () => {
    assert.ok(!('missing' in image))
    const wrong = join(folder, 'wrong')
    writeFileSync(wrong, `${'0'.repeat(64)}\n`, { mode: 0o600 })
    const words = ['run', image.name, '--name', 'other', ...placement(wrong)]
    const { status, stderr } = await understudy(words, { environment: pair.environment })
    assert.notEqual(status, 0)
    assert.match(stderr, /^understudy: host 127\.0\.0\.1:\d+: .*the shared secret is not the same[^\n]*\n$/)
    const [host] = hosts
    const socket = connect(host.port, '127.0.0.1').on('error', () => {})
    socket.write(randomBytes(4000))
    await host.until('turning garbage away', () => /turned away: (?!the shared secret)/.test(host.log))
    socket.destroy()
    assert.deepEqual(host.machines, [MACHINE])
  })

  it('is refused where there is one of its name, and where the arbiter is no directory of both', async () => {
    assert.ok(!('missing' in image))
    const elsewhere = join(pair.home, 'another operator')
    const environment = { ...pair.environment, UNDERSTUDY_HOME: elsewhere }
    const ask = async (name: string, options: readonly string[]): Promise<string> =>
      (await understudy(['run', image.name, '--name', name, ...options], { environment })).stderr
    assert.match(await ask(MACHINE, placement(secretFile)), /host alpha: there is a machine pair already/)
    const nowhere = placement(secretFile).with(-1, `file:${join(folder, 'nowhere')}`)
    assert.match(await ask('other', nowhere), /host alpha: .*nowhere: no such directory/)
    assert.match(await ask('other', placement(secretFile).slice(0, -2)), /--hosts needs --arbiter/)
    for (const host of hosts) assert.deepEqual(host.machines, [MACHINE])
  })

  it("goes on for its clients when the primary's process is killed", async (context) => {
    const report = await runRound(pair, 1, [killPrimary])
    context.diagnostic(describeRound(report))
    assert.deepEqual(report.errors, [], hosts.map((host) => host.logs()).join(''))
    await protectedNow()
  })

  it('outlives a daemon that is killed; the next one leaves its process alone', async () => {
    const { primary, epoch } = await protectedNow()
    const host = daemonOf(primary.host)
    await host.kill()
    await host.start()
    const now = await protectedNow()
    assert.deepEqual([now.primary, now.epoch], [primary, epoch])
  })

  it('is protected again when a daemon is started that was killed with its process', async () => {
    const { primary, epoch } = await protectedNow()
    const host = daemonOf(primary.host)
    const client = await RedisClient.connect(pair.port)
    assert.equal((await client.command('SET', 'before', 'the host died')).reply, 'OK')
    await host.kill()
    signal(primary.pid, 'SIGKILL')
    await pair.until(
      'served by the other host',
      (status) => (status.primary?.host ?? host.name) !== host.name,
    )
    assert.equal((await client.command('GET', 'before')).reply, 'the host died')
    await host.start()
    await protectedNow(epoch)
    assert.equal(client.connectionError, undefined)
    client.close()
  })

  it("goes on when the operator's computer is shut down in order, which ends its gateway alone", async () => {
    const before = await protectedNow()
    const here = [pair.pid('supervisor'), pair.pid('gateway')]
    signal(here[0]!, 'SIGTERM')
    await pair.until('without supervisor and gateway', () => here.every(hasEnded))
    assert.match(pair.log('supervisor'), /machine pair goes on at its hosts\n$/)
    for (const host of hosts) assert.equal(host.state(MACHINE), 'wanted')
    assert.deepEqual(await protectedNow(), before)
    await pair.startAgain()
    await pair.untilServing()
    assert.deepEqual(await protectedNow(), before)
  })

  it('stays stopped, also when a daemon starts again, until it is run again', async () => {
    const { primary } = await protectedNow()
    const host = daemonOf(primary.host)
    await pair.command('stop')
    await host.until('rid of its process', () => hasEnded(primary.pid))
    assert.notEqual(host.state(MACHINE), 'wanted')
    await host.stop()
    const before = host.log.length
    await host.start()
    assert.doesNotMatch(host.log.slice(before), /process \d+ runs/)
    await pair.startAgain()
    await pair.untilServing()
    await protectedNow()
  })
})

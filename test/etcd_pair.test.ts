/**
 * A pair whose arbiter is etcd. On one computer: with it, without it, and without it when it is needed. At two hosts with
 * daemons, which share nothing else.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { EtcdProcess, freePorts } from './arbiters/etcd_process.ts'
import { lacks } from './guest_process.ts'
import { checkHistory } from './protected/check_history.ts'
import { HostDaemonProcess } from './protected/host_daemon.ts'
import { hasEnded, ProtectedPair, signal } from './protected/pair.ts'
import { requireGoodAnswers, Workload } from './protected/workload.ts'
import { systemImage } from './system_image.ts'

const image = await systemImage()
const skip = 'missing' in image ? image.missing : lacks('etcd')
const POLL_MS = 50
const WAIT_MS_MAX = 240_000
/** Answers after which it is believed that the service goes on. */
const SERVED = 100
/** For so long a backup without an arbiter is watched, while it must not go live. */
const LOOKS = 5

async function startEtcd(directory: string): Promise<EtcdProcess> {
  const [clientPort, peerPort] = await freePorts(2)
  const etcd = new EtcdProcess({ directory, clientPort: clientPort!, peerPort: peerPort! })
  await etcd.start()
  return etcd
}

describe('a pair whose arbiter is etcd', { skip }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-etcd-pair-'))
  let etcd: EtcdProcess
  let pair: ProtectedPair
  let workload: Workload

  before(async () => {
    assert.ok('files' in image)
    etcd = await startEtcd(directory)
    pair = await ProtectedPair.start(image, ['--arbiter', `etcd:${etcd.url}`, '--memory', '256M'])
    await pair.untilServing()
    await pair.untilProtected()
    workload = await Workload.start({ port: pair.port, name: 'etcd' })
  })
  after(async () => {
    await pair?.end()
    await etcd?.kill()
    rmSync(directory, { recursive: true, force: true })
  })

  async function untilServed(): Promise<void> {
    const wanted = workload.operations + SERVED
    for (const end = performance.now() + WAIT_MS_MAX; workload.operations < wanted; ) {
      assert.deepEqual(workload.connectionErrors, [])
      if (performance.now() > end) assert.fail(`the service does not go on${pair.logs()}`)
      await setTimeout(POLL_MS)
    }
  }

  it('fails over when the primary is killed', async () => {
    const { epoch, primary } = await pair.status()
    signal(primary!.pid, 'SIGKILL')
    await untilServed()
    await pair.untilProtected(epoch!)
  })

  it('goes on as if nothing had happened while etcd is down', async () => {
    const before = await pair.status()
    await etcd.kill()
    await untilServed()
    const without = await pair.status()
    assert.deepEqual([without.epoch, without.primary], [before.epoch, before.primary])
    await etcd.start()
    await untilServed()
    const { epoch, primary, backup } = await pair.untilProtected()
    assert.deepEqual([epoch, primary, backup], [before.epoch, before.primary, before.backup])
  })

  it('waits for etcd if that is down as the primary dies, says so, and goes on when it is back', async () => {
    const { epoch, primary, backup } = await pair.status()
    await etcd.kill()
    signal(primary!.pid, 'SIGKILL')
    const waiting = ({ primary, reason }: { primary: unknown; reason: string | null }): boolean =>
      primary === null && reason === 'arbiter unreachable'
    await pair.until('waiting for its arbiter', waiting)
    for (let looks = 0; looks < LOOKS; looks++) assert.equal((await pair.status()).primary, null)
    assert.match(await pair.command('status'), /not protected: arbiter unreachable/)
    await etcd.start()
    await untilServed()
    const after = await pair.untilProtected(epoch!)
    assert.deepEqual(after.primary, backup)
  })

  it('has lost no connection and no answered write in all this', async () => {
    const result = await workload.finish(WAIT_MS_MAX)
    requireGoodAnswers(result)
    assert.deepEqual(checkHistory(result.history).faults, [])
  })
})

describe('a machine at two hosts with daemons, whose arbiter is etcd', { skip }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'understudy-etcd-hosts-'))
  const secretFile = join(directory, 'secret')
  /** Processes of the machine that were seen. */
  const pids = new Set<number>()
  let etcd: EtcdProcess
  let hosts: readonly [HostDaemonProcess, HostDaemonProcess]
  let pair: ProtectedPair

  before(async () => {
    assert.ok('files' in image)
    etcd = await startEtcd(directory)
    hosts = [
      new HostDaemonProcess(directory, 'alpha', secretFile),
      new HostDaemonProcess(directory, 'beta', secretFile),
    ]
    for (const host of hosts) await host.start()
    const addresses = hosts.map(({ address }) => address).join()
    const placement = ['--hosts', addresses, '--secret', secretFile, '--arbiter', `etcd:${etcd.url}`]
    pair = await ProtectedPair.start(image, [...placement, '--memory', '256M'])
  })
  after(async () => {
    await pair?.end()
    for (const host of hosts ?? []) await host.end([...pids])
    await etcd?.kill()
    rmSync(directory, { recursive: true, force: true })
  })

  async function protectedNow(beyond = 0) {
    const { primary, backup, epoch } = await pair.untilProtected(beyond)
    for (const { pid } of [primary!, backup!]) pids.add(pid)
    return { primary: primary!, backup: backup!, epoch: epoch! }
  }

  it('is served and protected again after its primary was killed, though that was while it booted', async () => {
    const { primary, backup, epoch } = await protectedNow()
    signal(primary.pid, 'SIGKILL')
    const now = await protectedNow(epoch)
    assert.deepEqual([now.primary, now.backup.host], [backup, primary.host])
    await pair.untilServing()
  })

  it('stops, and its processes end at both hosts', async () => {
    await protectedNow()
    await pair.command('stop')
    for (const host of hosts) await host.until('rid of its processes', () => [...pids].every(hasEnded))
    assert.match(await pair.command('status'), /protection +stopped/)
    for (const host of hosts) assert.notEqual(host.state('pair'), 'wanted')
  })
})

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { HostStatus } from './control_methods.ts'
import { Pair } from './pair.ts'
import { combine, reasonText } from './pair_control.ts'

const HOST: HostStatus = {
  ...{ machine: 'db', host: 'a', pid: 7, role: 'primary', protection: 'protected', reason: null },
  ...{ epoch: 4, life: 1, position: '10', lagMs: 1, logBytes: 0, logBytesPerSecond: 5 },
  ...{ outputDelayMs: { p50: 1, p99: 2 }, joinStopMs: null },
  ...{ detail: null, refusals: {} },
}
const nobody = { epoch: null, life: null, lagMs: null }
const BACKUP: HostStatus = { ...HOST, ...nobody, host: 'b', pid: 8, role: 'backup' }
const waiting = (reason: string): HostStatus => ({
  ...{ ...HOST, ...nobody, role: 'starting', protection: 'not protected', reason },
})

describe('the status of a pair', () => {
  let root: string
  let pair: Pair
  before(async () => {
    root = mkdtempSync(join(tmpdir(), 'understudy-status-'))
    const paths = ['kernel', 'initramfs', 'disk'].map((part) => join(root, part))
    for (const path of paths) writeFileSync(path, new Uint8Array(4096))
    const [kernel, initramfs, disk] = paths as [string, string, string]
    pair = await Pair.create(root, {
      ...{ name: 'db', image: { name: 'debian', kernel, initramfs, disk }, commandLine: '' },
      ...{ ramBytes: 128 << 20, harts: 1, forwards: [], settings: {} },
    })
  })
  after(() => rmSync(root, { recursive: true, force: true }))

  it('is that of the primary, and of the later epoch if two think that they are', () => {
    const status = combine(pair, [HOST, BACKUP])
    assert.deepEqual([status.protection, status.reason, status.epoch], ['protected', null, 4])
    assert.deepEqual([status.primary?.pid, status.backup?.pid], [7, 8])
    const later: HostStatus = { ...HOST, host: 'b', pid: 9, epoch: 5 }
    assert.equal(combine(pair, [HOST, later]).primary?.pid, 9)
  })

  it('says what a machine without a primary waits for, if it does', () => {
    const reason = (...hosts: HostStatus[]): string | null => combine(pair, hosts).reason
    const joining = { ...waiting('backup joining'), role: 'joining' } as const
    assert.equal(reason(joining, waiting('waiting for the backup host')), 'waiting for the backup host')
    assert.equal(reason(waiting('arbiter unreachable')), 'arbiter unreachable')
    assert.equal(reason(BACKUP), 'no primary')
    assert.equal(reason(waiting('starting')), 'no primary: starting')
  })

  it('says why there is no second copy: who could be one is refused, or how the last one was lost', () => {
    const alone = { ...HOST, protection: 'not protected', reason: 'backup lost' } as const
    const lost = { ...alone, detail: 'the copy at b was lost: it yields: disk failed: no room' }
    const text = (...hosts: HostStatus[]): string | null => reasonText(combine(pair, hosts))
    assert.equal(text(alone), 'backup lost')
    assert.equal(text(lost), `backup lost: ${lost.detail}`)
    const refusing = { ...lost, refusals: { b: 'no agreement on build' } }
    assert.equal(text(refusing), 'backup lost: no channel with b: no agreement on build')
    const refused = { ...waiting('starting'), host: 'b', refusals: { a: 'another secret', c: 'unheard' } }
    assert.equal(text(lost, refused), 'backup lost: no channel with b: another secret')
    assert.equal(text(HOST, refused), null, 'a protected machine has no reason')
  })

  it('is stopped if nobody answers, and names where the metrics are all the same', () => {
    const { protection, reason, metrics } = combine(pair, [])
    assert.deepEqual([protection, reason], ['stopped', null])
    assert.equal(combine(pair, [], 'no answer').reason, 'no answer')
    assert.equal(combine(pair, [], 'starting').protection, 'not protected')
    assert.deepEqual(Object.keys(metrics), ['a', 'b'])
    for (const url of Object.values(metrics)) assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/metrics$/)
    assert.notEqual(metrics['a'], metrics['b'])
  })
})

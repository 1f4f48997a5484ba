import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { UserError } from '../../base/errors.ts'
import { Pair, type PairOptions } from './pair.ts'
import { pairDifference, type WantedPair } from './pair_difference.ts'

const RAM_BYTES = 128 << 20

describe('a pair that exists', () => {
  let root: string
  let options: PairOptions
  let pair: Pair
  before(async () => {
    root = mkdtempSync(join(tmpdir(), 'understudy-pair-'))
    const paths = ['kernel', 'initramfs', 'disk'].map((part) => join(root, part))
    for (const path of paths) writeFileSync(path, new Uint8Array(4096))
    const [kernel, initramfs, disk] = paths as [string, string, string]
    options = {
      ...{
        name: 'db',
        image: { name: 'debian', kernel, initramfs, disk },
        commandLine: 'root=/dev/vda quiet',
      },
      ...{ ramBytes: RAM_BYTES, harts: 1, forwards: ['8080:80', '6379:6379'], settings: { ack: 'executed' } },
    }
    pair = await Pair.create(root, options)
  })
  after(() => rmSync(root, { recursive: true, force: true }))

  it('is the one that is asked for if nothing that is asked for differs', () => {
    const same: WantedPair[] = [
      {},
      { image: 'debian', ramBytes: RAM_BYTES, harts: 1, network: { kind: 'gateway' }, append: 'quiet' },
      { forwards: ['127.0.0.1:6379:6379', '8080:80'], settings: { ack: 'executed', flushMs: undefined } },
      { allowLoopback: false, allowFaults: false, translates: true },
      { arbiter: `file:${join(root, 'db', 'arbiter')}` },
    ]
    for (const wanted of same) assert.equal(pairDifference(pair, wanted), undefined)
  })

  it('is told from another by whatever differs', () => {
    const others: [WantedPair, string][] = [
      [{ image: 'other' }, 'image'],
      [{ forwards: ['8080:80'] }, 'published ports'],
      [{ network: { kind: 'none' } }, 'network'],
      [{ network: { kind: 'stream', address: '/run/passt' } }, 'network'],
      [{ ramBytes: 2 * RAM_BYTES }, 'memory'],
      [{ harts: 2 }, 'harts'],
      [{ arbiter: 'etcd:http://127.0.0.1:2379' }, 'arbiter'],
      [{ append: 'debug' }, 'kernel parameters'],
      [{ allowLoopback: true }, 'access to the loopback'],
      [{ allowFaults: true }, 'faults that tests inject'],
      [{ translates: false }, 'translation of code'],
      [{ settings: { ack: 'received' } }, 'settings'],
      [{ image: 'debian', settings: {} }, 'settings'],
    ]
    for (const [wanted, difference] of others) assert.equal(pairDifference(pair, wanted), difference)
  })

  it('listens at other ports after they were changed', async () => {
    await pair.changeForwards(['127.0.0.1:9000:80'])
    const again = Pair.open(root, 'db')
    for (const one of [pair, again]) assert.equal(pairDifference(one, { forwards: ['9000:80'] }), undefined)
  })

  it('is not made of what its processes would refuse', async () => {
    const wrong: Partial<PairOptions>[] = [
      { forwards: ['http'] },
      { arbiter: 'consul:http://x' },
      { settings: { suspicionMs: 1 } },
    ]
    for (const part of wrong)
      await assert.rejects(Pair.create(root, { ...options, name: 'bad', ...part }), UserError)
    assert.deepEqual(Pair.names(root), ['db'])
  })
})

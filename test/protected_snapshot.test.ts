import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { understudy } from './guest_process.ts'
import { ProtectedPair } from './protected/pair.ts'
import { RedisClient } from './protected/redis_client.ts'
import { systemImage } from './system_image.ts'

const image = await systemImage()
const skip = 'missing' in image ? image.missing : false

describe('a protected machine that is saved and recorded', { skip }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'understudy-snapshot-'))
  const file = join(folder, 'machine.snap')
  let original: ProtectedPair
  let copy: ProtectedPair | undefined

  before(async () => {
    assert.ok(!('missing' in image))
    original = await ProtectedPair.start(image, ['--record'])
    await original.untilServing()
  })

  after(async () => {
    await copy?.end()
    await original.end()
    rmSync(folder, { recursive: true })
  })

  it('is taken while it runs and stays protected', async () => {
    const { epoch } = await original.untilProtected()
    const client = await RedisClient.connect(original.port)
    await client.command('SET', 'kept', 'as it was')
    assert.match(await original.command('snapshot', [file]), /at position \d+/)
    await client.command('SET', 'kept', 'otherwise')
    client.close()
    const status = await original.status()
    assert.deepEqual([status.protection, status.epoch], ['protected', epoch])
  })

  it('makes another machine, which goes on from there and is protected too', async () => {
    assert.ok(!('missing' in image))
    copy = await ProtectedPair.start(image, ['--load', file])
    const client = await RedisClient.connect(copy.port)
    assert.equal((await client.command('GET', 'kept')).reply, 'as it was')
    await copy.untilProtected()
    await client.command('SET', 'kept', 'by the copy')
    client.close()
  })

  it('is used for the first start alone: later ones are from power-on, on the disk as it is now', async () => {
    assert.ok(copy !== undefined)
    const client = await RedisClient.connect(copy.port)
    // Redis appends to its file once a second, and this waits until that is durable.
    assert.equal(String((await client.command('WAITAOF', '1', '0', '5000')).reply).split(',')[0], '1')
    client.close()
    await copy.command('stop')
    await copy.startAgain()
    await copy.untilServing()
    const again = await RedisClient.connect(copy.port)
    assert.equal((await again.command('GET', 'kept')).reply, 'by the copy')
    again.close()
  })

  it('leaves the original a log that gives the same outputs and digests again, which its backup had too', async () => {
    assert.equal((await original.status()).protection, 'protected')
    await original.command('stop')
    const log = join(original.directory, 'recordings', 'a', 'life-1.rec')
    const { status, stdout, stderr } = await understudy(['replay', log], {
      environment: original.environment,
    })
    assert.equal(status, 0, stderr)
    assert.match(stdout, /^equal up to position \d+: \d+ records, [1-9]\d* outputs and [1-9]\d* digests/)
    assert.equal(stderr, '')
  })
})

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mock, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { BaseImage } from '../../host/base_image.ts'
import { smallImage } from '../testing/small_image.ts'
import { smallReplica } from '../testing/small_replica.ts'
import { MachineHandle } from './machine_handle.ts'
import { SharedProgress } from './thread_messages.ts'

const WAIT_MS_MAX = 60_000

test('the thread is woken at the end of the turn, once for all that it is sent in it, each time anew', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'machine-handle-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const image = await smallImage(folder, 'again: wfi; j again')
  const base = await BaseImage.open(image.disk)
  t.after(() => base.close())
  const { thread, directory } = await smallReplica(folder, image, base, false)
  t.after(() => directory.close())
  const ring = mock.method(SharedProgress.prototype, 'ring')
  t.after(() => mock.restoreAll())
  const answered: number[] = []
  const handle = new MachineHandle(thread, (report) => {
    if (report.kind === 'inspected') answered.push(report.request)
  })
  t.after(() => handle.end())
  const untilAnswered = async (requests: readonly number[]): Promise<void> => {
    for (const end = performance.now() + WAIT_MS_MAX; answered.length < requests.length; ) {
      assert.ok(performance.now() < end, `only ${answered.length} answers: nobody wakes the thread`)
      await setTimeout(5)
    }
    assert.deepEqual(answered, requests)
  }
  for (const turn of [1, 2]) {
    for (const request of [10 * turn, 10 * turn + 1]) handle.send({ kind: 'inspect', request })
    await Promise.resolve()
    assert.equal(ring.mock.callCount(), turn - 1, 'not yet')
    await new Promise(setImmediate)
    assert.equal(ring.mock.callCount(), turn)
    await untilAnswered([10, 11, 20, 21].slice(0, 2 * turn))
  }
})

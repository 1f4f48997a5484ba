import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, mock, test } from 'node:test'
import { BaseImage } from '../../host/base_image.ts'
import type { OverlayDisk } from '../../host/overlay_disk.ts'
import { randomIdentity } from '../../host/overlay_files.ts'
import { ReplicaDisk } from '../../host/replica_disk.ts'
import type { Input } from '../../replication/ports.ts'
import type { ImageFiles } from '../boot_files.ts'
import { smallImage } from '../testing/small_image.ts'
import { smallReplica } from '../testing/small_replica.ts'
import { Replica } from './replica.ts'

const PATIENT_MS = 60_000
const IDLE_KERNEL = 'again: wfi; j again'

let folder: string
let image: ImageFiles
let base: BaseImage
before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'replica-'))
  image = await smallImage(folder, IDLE_KERNEL)
  base = await BaseImage.open(image.disk)
})
after(async () => {
  await base.close()
  rmSync(folder, { recursive: true })
})

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

interface Setting {
  readonly replica: Replica
  readonly given: Input[]
  /** Waits for an input of a kind. */
  until(kind: Input['kind']): Promise<Input>
}

async function newReplica(
  diskLimitMs = 30_000,
  onDisk: (disk: OverlayDisk) => void = () => {},
): Promise<Setting> {
  const given: Input[] = []
  const parts = await smallReplica(folder, image, base)
  onDisk(parts.disk!)
  const replica = new Replica({
    ...parts,
    joinGeneration: randomIdentity(),
    diskLimitMs,
    give: (input) => given.push(input),
    onNotice: () => {},
    onFailed: (message) => assert.fail(message),
  })
  closers.push(async () => {
    await replica.end()
    await parts.directory.close()
  })
  const until = async (kind: Input['kind']): Promise<Input> => {
    for (const end = performance.now() + PATIENT_MS; performance.now() < end; ) {
      const found = given.find((input) => input.kind === kind)
      if (found !== undefined) return found
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    return assert.fail(`no ${kind}: ${given.map((input) => input.kind).join(' ')}`)
  }
  return { replica, given, until }
}

test('what is asked of a machine whose disk is still being synced reaches it behind its boot', async () => {
  const { replica, until } = await newReplica()
  replica.perform({ kind: 'boot', life: 1 })
  replica.perform({ kind: 'snapshot', join: 1, baseGeneration: undefined })
  replica.perform({ kind: 'stopExecution' })
  const taken = await until('snapshotTaken')
  assert.equal(taken.kind === 'snapshotTaken' && taken.join, 1)
  await until('stopped')
})

test('a copy without a machine says so when it is inspected, and lives on', async () => {
  const { replica, until } = await newReplica()
  await assert.rejects(replica.inspect(), /has no machine yet/)
  replica.perform({ kind: 'boot', life: 1 })
  await until('appended')
  assert.equal(typeof (await replica.inspect()).digest, 'bigint')
})

test('before there is a machine nothing runs, so that waiting for it is no stall', async () => {
  const { replica } = await newReplica()
  replica.perform({ kind: 'boot', life: 1 })
  assert.deepEqual(replica.progress, { state: 'idle', position: 0n })
})

test('a disk that hangs at the start is told, and neither a state nor a join makes the machine wait for it', async () => {
  const end = Promise.withResolvers<void>()
  closers.push(async () => end.resolve())
  const { replica, until } = await newReplica(20, (disk) => {
    const flush = disk.flush.bind(disk)
    disk.flush = async () => {
      await end.promise
      await flush()
    }
  })
  replica.perform({ kind: 'boot', life: 1 })
  const failed = await until('diskFailed')
  assert.match(
    failed.kind === 'diskFailed' ? failed.reason : '',
    /^syncing the disk has not ended for 0.02 s$/,
  )
  await assert.rejects(replica.takeState(20), /requests to the disk do not end/)
  end.resolve()
  await until('appended')
  const { frontier, release } = await replica.takeState()
  assert.ok(frontier.nextIndex > 0n, "what was given up before is in nobody's way")
  release()
})

test('no join stops a machine whose disk hangs', async () => {
  const { replica, given, until } = await newReplica()
  replica.perform({ kind: 'boot', life: 1 })
  await until('appended')
  mock.getter(ReplicaDisk.prototype, 'isHanging', () => true)
  replica.perform({ kind: 'snapshot', join: 1, baseGeneration: undefined })
  const failed = await until('diskFailed')
  assert.equal(failed.kind === 'diskFailed' && failed.reason, 'the disk hangs')
  await replica.inspect()
  assert.ok(!given.some(({ kind }) => kind === 'snapshotTaken'))
  replica.perform({ kind: 'dropSnapshot', join: 1 })
  await assert.rejects(async () => replica.takeState(), /the disk of this copy hangs/)
  mock.restoreAll()
})

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, test } from 'node:test'
import { BaseImage } from '../../host/base_image.ts'
import { randomIdentity } from '../../host/overlay_files.ts'
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

async function newReplica(): Promise<Setting> {
  const given: Input[] = []
  const parts = await smallReplica(folder, image, base)
  const replica = new Replica({
    ...parts,
    joinGeneration: randomIdentity(),
    diskLimitMs: 30_000,
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

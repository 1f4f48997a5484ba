import assert from 'node:assert/strict'
import { mkdtemp, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { BaseImage } from '../host/base_image.ts'
import { createOverlay, openOverlay } from '../host/overlay_disk.ts'
import { randomIdentity } from '../host/overlay_files.ts'
import { type ReplayResult, replay } from './replay.ts'
import { type ImageFiles, Session } from './session.ts'
import { smallImage } from './testing/small_image.ts'

const MEBIBYTE = 2 ** 20

let folder: string
let image: ImageFiles

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'understudy-replay-'))
  image = await smallImage(folder, 'loop: wfi; j loop')
})

after(() => rm(folder, { recursive: true, force: true }))

test('a recording that began with data on its disk is not replayed without them', async () => {
  const disk = join(folder, 'disk.overlay')
  const base = await BaseImage.open(image.disk)
  await createOverlay(disk, base, randomIdentity())
  const overlay = await openOverlay(disk, base)
  await overlay.write(0, new Uint8Array(4096).fill(7))
  await overlay.close()
  await base.close()
  const [path, other] = [join(folder, 'session.rec'), join(folder, 'other.rec')]
  for (const record of [path, other]) {
    const session = await Session.open({
      ...{ image, harts: 1, ramBytes: 64 * MEBIBYTE, bootArguments: '', record, overlay: disk },
      onOutput: () => {},
      onNotice: () => {},
    })
    await session.close()
  }
  const again = (): Promise<ReplayResult> => replay({ path, findImage: () => image })
  assert.equal((await again()).divergence, undefined)
  await rm(`${path}.disk`, { recursive: true })
  await assert.rejects(again(), {
    name: 'FormatError',
    message: /^recording .*session\.rec: its disk .*session\.rec\.disk is missing: put it back/,
  })
  await rename(`${other}.disk`, `${path}.disk`)
  await assert.rejects(again(), /overlay .*session\.rec\.disk is of generation .*: it was saved with another/)
})

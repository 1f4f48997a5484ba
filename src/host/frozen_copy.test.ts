import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Random } from '../base/prng.ts'
import { BaseImage } from './base_image.ts'
import { copyFrozen } from './frozen_copy.ts'
import { createOverlay, openFrozenOverlay, openOverlay } from './overlay_disk.ts'
import { randomIdentity } from './overlay_files.ts'

const directory = mkdtempSync(join(tmpdir(), 'understudy-frozen-'))
after(() => rmSync(directory, { recursive: true }))

test('a frozen copy has what was held, and not what was written since', async () => {
  const random = new Random(5, 0)
  const sectors = 8 * 700 + 3
  const basePath = join(directory, 'base')
  writeFileSync(basePath, random.bytes(sectors * 512))
  const base = await BaseImage.open(basePath)
  const path = join(directory, 'disk')
  await createOverlay(path, base, randomIdentity())
  const disk = await openOverlay(path, base)
  const change = async (): Promise<void> => {
    const sector = random.below(sectors - 1)
    const count = 1 + random.below(Math.min(64, sectors - sector))
    if (random.chance(0.3)) await disk.zeroes(sector, count)
    else await disk.write(sector, random.bytes(count * 512))
  }
  for (let i = 0; i < 60; i++) await change()
  await disk.write(sectors - 2, random.bytes(2 * 512))
  const expected = await disk.read(0, sectors)
  const held = disk.hold()
  for (let i = 0; i < 60; i++) await change()
  const generation = randomIdentity()
  await copyFrozen(held, join(directory, 'frozen'), generation)
  held.release()
  const frozen = await openFrozenOverlay(join(directory, 'frozen'), base)
  frozen.requireGeneration(generation)
  assert.deepEqual(await frozen.read(0, sectors), expected)
  assert.notDeepEqual(await disk.read(0, sectors), expected)
  await frozen.close()
  await disk.close()
  await base.close()
})

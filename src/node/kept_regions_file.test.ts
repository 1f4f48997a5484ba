/** The file in which translated code is kept: what was written is read again, and what is not quite that is not. */
import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { nodeEngine } from '../host/engine.ts'
import { emissionPartsOf } from '../machine/testing/emission_parts.ts'
import type { EmissionParts } from '../machine/translator/emission.ts'
import type { KeptRegion } from '../machine/translator/kept_regions.ts'
import { KeptRegionsFile } from './kept_regions_file.ts'

const folder = mkdtempSync(join(tmpdir(), 'understudy-kept-'))
after(() => rmSync(folder, { recursive: true }))

const partsOf = (ramBytes: number): EmissionParts => emissionPartsOf(nodeEngine, ramBytes).parts

const parts = partsOf(2 << 20)

const region: KeptRegion = {
  body: { localTypes: ['i64', 'f64'], code: '\x20\xff\u0100\u0201' },
  source: { hash: 2n ** 64n - 1n, spans: [{ first: 4, end: 6 }], bytes: Uint8Array.of(0x13, 0) },
  others: [{ hash: 7n, spans: [{ first: 0, end: 2 }], bytes: Uint8Array.of(0x82, 0x80) }],
  ...{ leftOut: [8], entries: [4, 12], joins: [12], instructions: 2 },
}

async function written(name: string): Promise<string> {
  const directory = join(folder, name)
  const file = KeptRegionsFile.open(directory, parts)
  file.regions.keep(region, () => false)
  await file.write()
  return directory
}

const found = (directory: string, of = parts): KeptRegion[] => [
  ...KeptRegionsFile.open(directory, of).regions.of(region.source.hash),
]

test('what is written is there at the next start, each array of bytes by itself', async () => {
  const directory = await written('whole')
  const [file, ...others] = readdirSync(directory)
  assert.match(file!, /^[0-9a-f]{32}$/)
  assert.deepEqual(others, [])
  assert.deepEqual(found(directory), [region])
  const [{ source, others: taken }] = found(directory) as [KeptRegion]
  for (const { bytes } of [source, ...taken]) assert.equal(bytes.buffer.byteLength, 2)
  assert.equal(KeptRegionsFile.open(directory, parts).regions.machine, 2)
})

test('nothing is written if nothing is new', async () => {
  const directory = await written('unchanged')
  const path = join(directory, readdirSync(directory)[0]!)
  const before = readFileSync(path)
  const file = KeptRegionsFile.open(directory, parts)
  await file.write()
  assert.deepEqual(readFileSync(path), before)
  assert.equal(KeptRegionsFile.open(directory, parts).regions.machine, 2)
  file.regions.keep(region, () => false)
  await file.write()
  assert.equal(KeptRegionsFile.open(directory, parts).regions.machine, 3)
})

test('a machine of another kind has another file', async () => {
  const directory = await written('kinds')
  const others = [partsOf(4 << 20), { ...parts, linkage: { ...parts.linkage, other: true } }]
  for (const other of others) assert.deepEqual(found(directory, other), [])
  assert.deepEqual(found(directory, partsOf(2 << 20)), [region])
})

test('a damaged file is as none, and is replaced', async () => {
  const directory = await written('damaged')
  const path = join(directory, readdirSync(directory)[0]!)
  const whole = readFileSync(path)
  const damaged = [
    whole.subarray(0, whole.length - 1),
    whole.subarray(0, 20),
    Buffer.concat([whole, Buffer.of(0)]),
    ...[0, 8, 39, 40, whole.length - 1].map((at) => {
      const changed = Buffer.from(whole)
      changed[at]! ^= 1
      return changed
    }),
  ]
  for (const bytes of damaged) {
    writeFileSync(path, bytes)
    assert.deepEqual(found(directory), [])
    await written('damaged')
    assert.deepEqual(found(directory), [region])
  }
})

test('where nothing can be written nothing is, and no more than the latest files stay', async () => {
  const file = join(folder, 'file')
  writeFileSync(file, '')
  assert.deepEqual(found(await written('file')), [])
  assert.equal(readFileSync(file).length, 0)
  const directory = await written('many')
  const name = readdirSync(directory)[0]!
  const old = Array.from({ length: 6 }, (_, i) => `${i}`.repeat(32))
  for (const [i, one] of [...old, '.dead.tmp', 'other'].entries()) {
    writeFileSync(join(directory, one), '')
    utimesSync(join(directory, one), i + 1, i + 1)
  }
  writeFileSync(join(directory, '.living.tmp'), '')
  await written('many')
  assert.deepEqual(readdirSync(directory).sort(), [name, ...old.slice(3), 'other', '.living.tmp'].sort())
})

test('the same machine, opened again, is not another one', async () => {
  const directory = await written('again')
  const machines = [false, true].map((again) => KeptRegionsFile.open(directory, parts, again).regions.machine)
  assert.deepEqual(machines, [2, 1])
})

test('a directory whose parent has been removed does not come back', async () => {
  const parent = join(folder, 'image')
  assert.deepEqual(found(await written('image/translations')), [])
  assert.equal(existsSync(parent), false)
  mkdirSync(parent)
  assert.deepEqual(found(await written('image/translations')), [region])
})

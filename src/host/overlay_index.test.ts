import assert from 'node:assert/strict'
import { type FileHandle, mkdtemp, open, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, mock, test } from 'node:test'
import { BlockMap, type BlockRun, ZERO } from './block_map.ts'
import { OverlayIndex } from './overlay_index.ts'

const HEADER = { identity: '00'.repeat(16), baseDigest: '11'.repeat(32), sectors: 1 << 20, frozen: false }
const GENERATION = '22'.repeat(16)

let directory: string
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'index-test-'))
})
after(() => rm(directory, { recursive: true }))

/** An index in which the same blocks were written, zeroed and written again. */
async function longJournal(path: string): Promise<{ index: OverlayIndex; map: BlockMap }> {
  await OverlayIndex.write(path, HEADER, new BlockMap(), GENERATION)
  const { index, map } = await OverlayIndex.open(path, true)
  for (let round = 0; round < 50; round++) {
    const runs: BlockRun[] = [
      { block: 3000, count: 2000, slot: round % 2 === 0 ? ZERO : 1 },
      { block: 10, count: 2, slot: 2001 },
    ]
    for (const run of runs) map.set(run)
    await index.append(runs)
  }
  return { index, map }
}

async function runsAt(path: string): Promise<BlockRun[]> {
  const { index, map, generation } = await OverlayIndex.open(path, false)
  await index.close()
  assert.equal(generation, GENERATION)
  return [...map.runs()]
}

const FINAL: readonly BlockRun[] = [
  { block: 10, count: 2, slot: 2001 },
  { block: 3000, count: 2000, slot: 1 },
]

test('a rewritten index says the same in fewer bytes, and goes on', async () => {
  const path = join(directory, 'rewritten')
  const { index, map } = await longJournal(path)
  const { size } = await stat(path)
  await index.rewrite(map, GENERATION)
  assert.ok((await stat(path)).size < size / 5)
  assert.deepEqual(await runsAt(path), FINAL)
  await index.append([{ block: 0, count: 1, slot: ZERO }])
  await index.close()
  assert.deepEqual(await runsAt(path), [{ block: 0, count: 1, slot: ZERO }, ...FINAL])
})

test('where there is no room to rewrite an index, the old one stays and goes on', async () => {
  const path = join(directory, 'kept')
  const { index, map } = await longJournal(path)
  const file = await open(path, 'r')
  const error = Object.assign(new Error('ENOSPC'), { code: 'ENOSPC', syscall: 'fsync' })
  const sync = mock.method(Object.getPrototypeOf(file) as FileHandle, 'sync', async () => {
    throw error
  })
  const { size } = await stat(path)
  await index.rewrite(map, GENERATION)
  sync.mock.restore()
  await file.close()
  assert.equal((await stat(path)).size, size)
  await index.append([{ block: 0, count: 1, slot: ZERO }])
  await index.close()
  assert.deepEqual(await runsAt(path), [{ block: 0, count: 1, slot: ZERO }, ...FINAL])
  assert.deepEqual(
    (await readdir(directory)).filter((name) => name.endsWith('.tmp')),
    [],
  )
})

test('entries of more than one frame come back', async () => {
  const path = join(directory, 'many')
  const map = new BlockMap()
  for (let i = 0; i < 120_000; i++) map.set({ block: i, count: 1, slot: 200_000 - i })
  await OverlayIndex.write(path, HEADER, map, GENERATION)
  assert.deepEqual(await runsAt(path), [...map.runs()])
})

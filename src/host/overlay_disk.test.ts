import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { cp, mkdtemp, open, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, mock, test } from 'node:test'
import fc from 'fast-check'
import { BaseImage, SECTOR_BYTES } from './base_image.ts'
import {
  createOverlay,
  type OverlayDisk,
  openEphemeral,
  openFrozenOverlay,
  openOverlay,
} from './overlay_disk.ts'
import { INDEX_HEADER_BYTES } from './overlay_index.ts'

const FIRST = '0123456789abcdef0123456789abcdef'
const SECOND = 'fedcba9876543210fedcba9876543210'
/** Not a multiple of the block's eight sectors, and the disk is larger than its base. */
const BASE_SECTORS = 77
const SECTORS = 101

let directory: string
let base: BaseImage
let content: Buffer
let count = 0
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'overlay-test-'))
  content = Buffer.alloc(SECTORS * SECTOR_BYTES)
  randomBytes(BASE_SECTORS * SECTOR_BYTES).copy(content)
  await writeFile(join(directory, 'base'), content.subarray(0, BASE_SECTORS * SECTOR_BYTES))
  base = await BaseImage.open(join(directory, 'base'))
})
after(async () => {
  await base.close()
  await rm(directory, { recursive: true })
})

function newPath(): string {
  count++
  return join(directory, `disk${count}`)
}

async function newOverlay(): Promise<OverlayDisk> {
  const path = newPath()
  await createOverlay(path, base, FIRST, SECTORS)
  return openOverlay(path, base)
}

async function contentOf(disk: OverlayDisk): Promise<Buffer> {
  return Buffer.from(await disk.read(0, disk.sectors))
}

function filled(sectors: number, value: number): Uint8Array {
  return new Uint8Array(sectors * SECTOR_BYTES).fill(value)
}

/** A disk as it would be found after a crash now: the files as they are, without the lock. */
async function crashed(disk: OverlayDisk): Promise<string> {
  const path = newPath()
  await cp(disk.path, path, { recursive: true })
  await rm(join(path, 'lock'), { force: true })
  return path
}

async function withDisk<T>(path: string, use: (disk: OverlayDisk) => Promise<T>): Promise<T> {
  const disk = await openOverlay(path, base)
  try {
    return await use(disk)
  } finally {
    await disk.close()
  }
}

const place = fc.tuple(fc.nat(SECTORS - 1), fc.integer({ min: 1, max: 30 })).map(([sector, length]) => ({
  sector,
  sectors: Math.min(length, SECTORS - sector),
}))
const operation = fc.record({
  kind: fc.constantFrom('write', 'write', 'zeroes', 'discard', 'flush', 'reopen', 'snapshot', 'fork'),
  place,
  value: fc.integer({ min: 1, max: 255 }),
})

test('a disk reads what was last written, over any sequence of operations, closings and copies', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { maxLength: 25 }), async (operations) => {
      let disk = await newOverlay()
      const model = Buffer.from(content)
      for (const { kind, place, value } of operations) {
        const range = model.subarray(
          place.sector * SECTOR_BYTES,
          (place.sector + place.sectors) * SECTOR_BYTES,
        )
        if (kind === 'write') {
          await disk.write(place.sector, filled(place.sectors, value))
          range.fill(value)
        } else if (kind === 'zeroes' || kind === 'discard') {
          await disk[kind](place.sector, place.sectors)
          range.fill(0)
        } else if (kind === 'flush') {
          await disk.flush()
        } else if (kind === 'reopen') {
          await disk.close()
          disk = await openOverlay(disk.path, base)
        } else if (kind === 'snapshot') {
          disk = await overSnapshot(disk, model)
        } else {
          await checkFork(disk, model)
        }
        assert.ok(model.equals(await contentOf(disk)))
        assert.ok(Buffer.from(await disk.read(place.sector, place.sectors)).equals(range))
      }
      await disk.close()
    }),
    { numRuns: 25 },
  )
})

/** Goes on with a clone of a snapshot of the disk; the snapshot stays as it is. */
async function overSnapshot(disk: OverlayDisk, model: Buffer): Promise<OverlayDisk> {
  const [snapshot, clone] = [newPath(), newPath()]
  await disk.snapshotTo(snapshot, SECOND)
  await disk.write(0, filled(9, 0xee))
  await disk.close()
  const frozen = await openFrozenOverlay(snapshot, base)
  frozen.requireGeneration(SECOND)
  assert.throws(() => frozen.requireGeneration(FIRST), /UserError: .* is of generation fedc.*, not 0123/)
  await checkFork(frozen, model)
  await frozen.cloneTo(clone, FIRST)
  await frozen.close()
  return openOverlay(clone, base)
}

/** A fork starts with the same content, and its writes are seen nowhere else. */
async function checkFork(disk: OverlayDisk, model: Buffer): Promise<void> {
  const fork = await disk.forkPrivate(directory)
  assert.ok(model.equals(await contentOf(fork)))
  await fork.write(3, filled(20, 0xdd))
  assert.equal((await fork.read(22, 1))[5], 0xdd)
  await fork.close()
  assert.ok(model.equals(await contentOf(disk)))
}

test('a journal cut at any byte leaves the flushes before the cut', async () => {
  const disk = await newOverlay()
  const states = [{ end: (await readFile(join(disk.path, 'index'))).length, content: await contentOf(disk) }]
  for (let round = 0; round < 4; round++) {
    // Blocks that have no slot, so that nothing is overwritten in place.
    await disk.write(round * 16, filled(8, round + 1))
    await disk.write(round * 16 + 10, filled(3, round + 100))
    if (round > 0) await disk.discard((round - 1) * 16, 8)
    await disk.flush()
    const { length } = await readFile(join(disk.path, 'index'))
    states.push({ end: length, content: await contentOf(disk) })
    const before = states.at(-2)!
    for (let cut = before.end; cut <= length; cut++) {
      const path = await crashed(disk)
      await truncate(join(path, 'index'), cut)
      const expected = cut === length ? states.at(-1)! : before
      await withDisk(path, async (found) => {
        assert.ok(expected.content.equals(await contentOf(found)), `round ${round}, cut at ${cut}`)
        // And it can be used again.
        await found.write(99, filled(2, 7))
      })
      await withDisk(path, async (found) => assert.equal((await found.read(100, 1))[0], 7))
      await rm(path, { recursive: true })
    }
  }
  await disk.close()
})

test('a journal cut within its header or first frame is refused', async () => {
  const path = newPath()
  await createOverlay(path, base, FIRST)
  const { length } = await readFile(join(path, 'index'))
  for (let cut = length - 1; cut >= 0; cut -= 5) {
    await truncate(join(path, 'index'), cut)
    await assert.rejects(openOverlay(path, base), /^FormatError: overlay index .*byte \d+: /)
  }
})

test('after a crash at any time every block has its flushed content or a later one, never that of another', async () => {
  const step = fc.record({
    kind: fc.constantFrom('write', 'write', 'discard', 'flush', 'crash'),
    block: fc.nat(5),
    value: fc.integer({ min: 1, max: 255 }),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      const disk = await newOverlay()
      const original = Array.from({ length: 6 }, (_, block) => content[block * 4096]!)
      let possible = original.map((value) => new Set([value]))
      let current = [...original]
      for (const { kind, block, value } of steps) {
        if (kind === 'flush') {
          await disk.flush()
          possible = current.map((now) => new Set([now]))
        } else if (kind === 'crash') {
          await withDisk(await crashed(disk), async (found) => {
            for (const [i, values] of possible.entries()) {
              assert.ok(values.has((await found.read(i * 8, 1))[0]!), `block ${i}`)
            }
          })
        } else {
          if (kind === 'write') await disk.write(block * 8, filled(8, value))
          else await disk.discard(block * 8, 8)
          current = current.with(block, kind === 'write' ? value : 0)
          possible[block]!.add(current[block]!)
        }
      }
      await disk.close()
    }),
    { numRuns: 25 },
  )
})

test('the room of a discarded block is not used again before the discard is durable', async () => {
  const disk = await newOverlay()
  await disk.write(0, filled(8, 1))
  await disk.flush()
  await disk.discard(0, 8)
  await disk.write(8, filled(8, 2))
  await withDisk(await crashed(disk), async (found) => assert.equal((await found.read(0, 1))[0], 1))
  await disk.flush()
  const { length } = await readFile(join(disk.path, 'data'))
  await disk.write(16, filled(8, 3))
  assert.equal((await readFile(join(disk.path, 'data'))).length, length, 'then it is')
  await disk.close()
})

test('damage before the last frame is refused, since no crash can leave it', async () => {
  const disk = await newOverlay()
  const start = (await readFile(join(disk.path, 'index'))).length
  for (const sector of [0, 40]) {
    await disk.write(sector, filled(8, 1))
    await disk.flush()
  }
  await disk.close()
  const index = await readFile(join(disk.path, 'index'))
  const frameBytes = (index.length - start) / 2
  for (let at = 0; at < start + frameBytes; at++) {
    const damaged = Buffer.from(index)
    damaged[at]! ^= 1 << (at & 7)
    await writeFile(join(disk.path, 'index'), damaged)
    await assert.rejects(
      openOverlay(disk.path, base),
      /^FormatError: overlay index .*byte \d+: /,
      `byte ${at}`,
    )
  }
  assert.ok(start > INDEX_HEADER_BYTES)
})

test('data of another overlay, or cut off, are refused', async () => {
  const [disk, other] = [await newOverlay(), await newOverlay()]
  await disk.write(0, filled(8, 1))
  await disk.close()
  await other.close()
  const data = await readFile(join(disk.path, 'data'))
  await truncate(join(disk.path, 'data'), data.length - 1)
  await assert.rejects(openOverlay(disk.path, base), /^FormatError: overlay data .*byte 8191: cut off/)
  await cp(join(other.path, 'data'), join(disk.path, 'data'))
  await assert.rejects(openOverlay(disk.path, base), /not the data of the index beside it/)
})

test('an overlay says which base it needs, and a frozen one is not written', async () => {
  const disk = await newOverlay()
  const snapshot = newPath()
  await disk.snapshotTo(snapshot, SECOND)
  await assert.rejects(openFrozenOverlay(disk.path, base), /does not belong to a snapshot/)
  await assert.rejects(disk.snapshotTo(snapshot, SECOND), /cannot create overlay .*: it exists already/)
  await disk.close()
  await assert.rejects(openOverlay(snapshot, base), /belongs to a snapshot and is never written/)
  await writeFile(join(directory, 'other'), 'another base')
  const other = await BaseImage.open(join(directory, 'other'))
  await assert.rejects(openOverlay(disk.path, other), /made for another base than .*other/)
  await other.close()
})

test('an ephemeral disk leaves nothing behind, unless it is kept by a snapshot', async () => {
  const place = await mkdtemp(join(directory, 'ephemeral-'))
  const disk = await openEphemeral(base, FIRST, place)
  await disk.write(1, filled(2, 5))
  await disk.flush()
  const snapshot = newPath()
  await disk.snapshotTo(snapshot, SECOND)
  await disk.close()
  assert.deepEqual(await readdir(place), [])
  const frozen = await openFrozenOverlay(snapshot, base)
  assert.equal((await frozen.read(2, 1))[0], 5)
  await frozen.close()
})

test('a stamp is durable, and covers what was written before it', async () => {
  const disk = await newOverlay()
  await disk.write(0, filled(1, 3))
  await disk.stamp(SECOND)
  await withDisk(await crashed(disk), async (found) => {
    assert.equal(found.generation, SECOND)
    assert.equal((await found.read(0, 1))[0], 3)
  })
  await disk.close()
})

test('extents name what the overlay holds', async () => {
  const disk = await newOverlay()
  await disk.write(8, filled(16, 1))
  await disk.zeroes(32, 8)
  await disk.write(100, filled(1, 1))
  assert.deepEqual(
    [...disk.extents()],
    [
      { sector: 8, sectors: 16, zeros: false },
      { sector: 32, sectors: 8, zeros: true },
      { sector: 96, sectors: 5, zeros: false },
    ],
  )
  await disk.close()
})

test('partial writes to one fresh block at the same time do not lose each other', async () => {
  const disk = await newOverlay()
  await Promise.all(Array.from({ length: 8 }, (_, i) => disk.write(16 + i, filled(1, i + 1))))
  for (let i = 0; i < 8; i++) assert.equal((await disk.read(16 + i, 1))[0], i + 1)
  assert.deepEqual([...disk.extents()], [{ sector: 16, sectors: 8, zeros: false }])
  await disk.close()
})

/** Lets the next `times` writes to any file fail as on a full disk. */
async function fullDisk(times: number): Promise<void> {
  const file = await open(join(directory, 'base'), 'r')
  const prototype = Object.getPrototypeOf(file) as typeof file
  await file.close()
  const error = Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC', syscall: 'write' })
  const method = mock.method(prototype, 'write', async () => {
    if (method.mock.callCount() + 1 >= times) method.mock.restore()
    throw error
  })
}

test('a write that finds the disk full changes nothing and can be repeated', async () => {
  const disk = await newOverlay()
  await fullDisk(1)
  await assert.rejects(disk.write(0, filled(16, 9)), { code: 'ENOSPC' })
  assert.ok(content.equals(await contentOf(disk)))
  await disk.write(0, filled(16, 9))
  await fullDisk(1)
  await assert.rejects(disk.flush(), { code: 'ENOSPC' })
  await disk.flush()
  await withDisk(await crashed(disk), async (found) => assert.equal((await found.read(15, 1))[0], 9))
  await disk.close()
})

/** Lets every sync of data fail until it is restored; counts them. */
async function failSyncs(code: string | undefined): Promise<{ count: () => number; restore: () => void }> {
  const file = await open(join(directory, 'base'), 'r')
  const error = Object.assign(new Error(`${code}: failed`), { code, syscall: 'fdatasync' })
  const sync = mock.method(Object.getPrototypeOf(file) as typeof file, 'datasync', async () => {
    if (code !== undefined) throw error
  })
  await file.close()
  return { count: () => sync.mock.callCount(), restore: () => sync.mock.restore() }
}

test('a failed sync of the data fails every later flush, and is no full disk that one could wait for', async () => {
  for (const code of ['EIO', 'ENOSPC']) {
    const disk = await newOverlay()
    await disk.write(0, filled(8, 1))
    const syncs = await failSyncs(code)
    await assert.rejects(disk.flush(), { code: 'EIO' })
    syncs.restore()
    await assert.rejects(disk.flush(), { code: 'EIO' })
    await disk.close()
  }
})

test('the first flush covers what a process wrote that died before this one opened the disk', async () => {
  const disk = await newOverlay()
  await disk.write(0, filled(8, 1))
  await disk.flush()
  await disk.write(0, filled(8, 2))
  const path = await crashed(disk)
  await disk.close()
  const found = await openOverlay(path, base)
  assert.equal((await found.read(0, 1))[0], 2)
  const syncs = await failSyncs(undefined)
  await found.flush()
  assert.equal(syncs.count(), 1)
  await found.flush()
  assert.equal(syncs.count(), 1, 'once')
  syncs.restore()
  await found.close()
})

test('the digest of a base is kept beside it and computed anew when the base has changed', async () => {
  const path = join(directory, 'changing')
  await writeFile(path, 'abc')
  const digestOf = async (): Promise<string> => {
    const image = await BaseImage.open(path)
    await image.close()
    return image.digest
  }
  const abc = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
  assert.equal(await digestOf(), abc)
  const cache = await readFile(`${path}.sha256`, 'utf8')
  await writeFile(`${path}.sha256`, cache.replace(abc, 'f'.repeat(64)))
  assert.equal(await digestOf(), 'f'.repeat(64), 'the kept digest is used')
  await writeFile(path, 'abcd')
  assert.equal(await digestOf(), '88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589')
})

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readlinkSync } from 'node:fs'
import fs, { cp, type FileHandle, mkdir, mkdtemp, open, readdir, rm, writeFile } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { after, afterEach, before, mock, test } from 'node:test'
import fc from 'fast-check'
import { BaseImage, SECTOR_BYTES } from './base_image.ts'
import { JoiningDisk, removeRemains } from './joined_disk.ts'
import { createOverlay, type OverlayDisk, openOverlay } from './overlay_disk.ts'

const OLD = '0123456789abcdef0123456789abcdef'
const NEW = 'fedcba9876543210fedcba9876543210'
const BASE_SECTORS = 77
const SECTORS = 101

let directory: string
let base: BaseImage
let content: Buffer
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'joined-test-'))
  content = Buffer.alloc(SECTORS * SECTOR_BYTES)
  randomBytes(BASE_SECTORS * SECTOR_BYTES).copy(content)
  await writeFile(join(directory, 'base'), content.subarray(0, BASE_SECTORS * SECTOR_BYTES))
  base = await BaseImage.open(join(directory, 'base'))
})
afterEach(() => {
  mock.restoreAll()
  syncBuiltinESMExports()
})
after(async () => {
  await base.close()
  await rm(directory, { recursive: true })
})

/** A place of its own, for a machine. */
async function newPlace(): Promise<string> {
  return mkdtemp(join(directory, 'place-'))
}

function filled(sectors: number, value: number): Uint8Array {
  return new Uint8Array(sectors * SECTOR_BYTES).fill(value)
}

/** Makes a disk of generation OLD whose first sector is of ones. */
async function makeOld(path: string): Promise<void> {
  await createOverlay(path, base, OLD, SECTORS)
  const disk = await openOverlay(path, base)
  await disk.write(0, filled(1, 1))
  await disk.close()
}

/** Brings a disk whose first sector is of twos, and the next block zeros. */
async function bring(path: string): Promise<OverlayDisk> {
  const joining = await JoiningDisk.begin(path, base, SECTORS)
  await joining.data(0, filled(1, 2))
  await joining.zeros(8, 8)
  return joining.finish(NEW)
}

/** Calls `before` at each step of every file that changes what a crash leaves: its name and the file's. */
async function watchSteps(before: (step: string) => Promise<void>): Promise<void> {
  const file = await open(join(directory, 'base'), 'r')
  const prototype = Object.getPrototypeOf(file) as FileHandle
  await file.close()
  for (const name of ['sync', 'datasync', 'write'] as const) {
    const real: (...rest: never[]) => Promise<unknown> = prototype[name]
    mock.method(prototype, name, async function (this: FileHandle, ...rest: unknown[]) {
      await before(`${name} ${basename(readlinkSync(`/proc/self/fd/${this.fd}`))}`)
      return Reflect.apply(real, this, rest)
    })
  }
  for (const name of ['rename', 'rm'] as const) {
    const real: (...rest: never[]) => Promise<unknown> = fs[name]
    mock.method(fs, name, async (path: string, ...rest: unknown[]) => {
      await before(`${name} ${basename(path)}`)
      return Reflect.apply(real, fs, [path, ...rest])
    })
  }
  syncBuiltinESMExports()
}

const isLinux = process.platform === 'linux'

test('a disk that arrived holds what was sent, over any pieces', async () => {
  const piece = fc.record({
    isZeros: fc.boolean(),
    sector: fc.nat(SECTORS - 1),
    length: fc.integer({ min: 1, max: 30 }),
    value: fc.integer({ min: 1, max: 255 }),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 12 }), async (pieces) => {
      const path = join(await newPlace(), 'disk')
      const joining = await JoiningDisk.begin(path, base, SECTORS)
      const model = Buffer.from(content)
      for (const { isZeros, sector, length, value } of pieces) {
        const sectors = Math.min(length, SECTORS - sector)
        const bytes = filled(sectors, isZeros ? 0 : value)
        await (isZeros ? joining.zeros(sector, sectors) : joining.data(sector, bytes))
        model.set(bytes, sector * SECTOR_BYTES)
      }
      const disk = await joining.finish(NEW)
      assert.equal(disk.generation, NEW)
      assert.equal(disk.path, path)
      assert.ok(model.equals(await disk.read(0, SECTORS)))
      await disk.close()
    }),
    { numRuns: 15 },
  )
})

test('what a hold gives out makes the same disk elsewhere', async () => {
  const [source, target] = [join(await newPlace(), 'disk'), join(await newPlace(), 'disk')]
  await createOverlay(source, base, OLD, SECTORS)
  const disk = await openOverlay(source, base)
  await disk.write(3, filled(20, 5))
  await disk.discard(40, 16)
  const expected = Buffer.from(await disk.read(0, SECTORS))
  const held = disk.hold()
  const joining = await JoiningDisk.begin(target, base, held.sectors)
  for (const { sector, sectors, zeros } of held.extents()) {
    await disk.write(sector, filled(1, 9))
    await (zeros ? joining.zeros(sector, sectors) : joining.data(sector, await held.read(sector, sectors)))
  }
  held.release()
  const joined = await joining.finish(NEW)
  assert.ok(expected.equals(await joined.read(0, SECTORS)))
  await joined.close()
  await disk.close()
})

test('pieces outside of the disk, or of no whole sectors, are refused, and what came before stays', async () => {
  const joining = await JoiningDisk.begin(join(await newPlace(), 'disk'), base, SECTORS)
  await joining.data(100, filled(1, 7))
  for (const [sector, sectors] of [
    [-1, 1],
    [SECTORS, 1],
    [SECTORS - 1, 2],
    [0, 0],
    [0, -1],
    [0.5, 1],
    [0, 1.5],
    [Number.NaN, 1],
    [2 ** 53, 1],
    [0, Number.POSITIVE_INFINITY],
  ] as const) {
    await assert.rejects(joining.zeros(sector, sectors), /^FormatError: joining disk .*received/)
  }
  for (const [sector, bytes] of [
    [SECTORS - 1, 1024],
    [0, 0],
    [0, 511],
    [-8, 512],
  ] as const) {
    await assert.rejects(joining.data(sector, new Uint8Array(bytes)), /^FormatError: joining disk .*received/)
  }
  const disk = await joining.finish(NEW)
  assert.equal((await disk.read(100, 1))[0], 7)
  await disk.close()
})

test('a crash at any step leaves the old disk, none, or the new one, each whole', {
  skip: !isLinux,
}, async () => {
  const place = await newPlace()
  const path = join(place, 'disk')
  await makeOld(path)
  const crashes: { step: string; copy: string }[] = []
  await watchSteps(async (step) => {
    const copy = join(directory, `crash-${crashes.length}`)
    crashes.push({ step, copy })
    await cp(place, copy, { recursive: true })
  })
  await (await bring(path)).close()
  mock.restoreAll()
  syncBuiltinESMExports()
  const found: string[] = []
  for (const { step, copy } of crashes) {
    await rm(join(copy, 'disk', 'lock'), { force: true })
    await removeRemains(join(copy, 'disk'))
    found.push(await checkWhole(join(copy, 'disk'), step))
    assert.deepEqual(
      readdirSync(copy).filter((name) => /joining$|old$/.test(name)),
      [],
    )
  }
  const order = found.filter((state, i) => state !== found[i - 1])
  assert.deepEqual(
    order,
    ['old', 'none', 'new'],
    crashes.map(({ step }, i) => `${step}: ${found[i]}`).join('\n'),
  )
})

/** Which disk is at `path`. */
async function checkWhole(path: string, step: string): Promise<string> {
  if (!existsSync(path)) return 'none'
  const disk = await openOverlay(path, base)
  try {
    const isOld = disk.generation === OLD
    assert.ok(isOld || disk.generation === NEW, step)
    const expected = Buffer.from(content)
    expected.set(filled(1, isOld ? 1 : 2), 0)
    if (!isOld) expected.set(filled(8, 0), 8 * SECTOR_BYTES)
    assert.ok(expected.equals(await disk.read(0, SECTORS)), step)
    return isOld ? 'old' : 'new'
  } finally {
    await disk.close()
  }
}

test('each step of the replacement is durable before the next one', { skip: !isLinux }, async () => {
  const place = await newPlace()
  const path = join(place, 'disk')
  await makeOld(path)
  const joining = await JoiningDisk.begin(path, base, SECTORS)
  await joining.data(0, filled(1, 2))
  const steps: string[] = []
  await watchSteps(async (step) => {
    steps.push(step.replace(basename(place), 'PLACE'))
  })
  await (await joining.finish(NEW)).close()
  const firstRename = steps.indexOf('rename disk')
  assert.deepEqual(
    steps.slice(0, firstRename).filter((step) => !/lock/.test(step)),
    ['datasync data', ...['write index', 'datasync index'], ...['write index', 'datasync index']],
    'data, where they are, the generation',
  )
  assert.deepEqual(steps.slice(firstRename, firstRename + 5), [
    ...['rename disk', 'sync PLACE', 'rename disk.joining', 'sync PLACE'],
    'rm disk.joining',
  ])
})

test('an earlier attempt is forgotten, and one that is abandoned leaves nothing', async () => {
  const place = await newPlace()
  const path = join(place, 'disk')
  await makeOld(path)
  const first = await JoiningDisk.begin(path, base, SECTORS)
  await first.data(50, filled(1, 3))
  await first.abandon()
  assert.deepEqual(await readdir(place), ['disk'])
  await mkdir(`${path}.old`)
  await mkdir(`${path}.joining`)
  await writeFile(join(`${path}.joining`, 'index'), 'something else')
  const second = await JoiningDisk.begin(path, base, SECTORS)
  const disk = await second.finish(NEW)
  assert.ok(content.equals(await disk.read(0, SECTORS)))
  await second.abandon()
  assert.equal(disk.generation, NEW)
  await disk.close()
  assert.deepEqual(await readdir(place), ['disk'])
})

test('a disk in use is not replaced, and stays as it is', async () => {
  const path = join(await newPlace(), 'disk')
  await makeOld(path)
  const inUse = await openOverlay(path, base)
  const joining = await JoiningDisk.begin(path, base, SECTORS)
  await assert.rejects(joining.finish(NEW), /^InUseError: overlay .* is in use by this process already/)
  await joining.abandon()
  assert.equal((await inUse.read(0, 1))[0], 1)
  await inUse.close()
  assert.equal(await checkWhole(path, 'at the end'), 'old')
})

test('the finished disk is locked at its place, and free when it is closed', async () => {
  const path = join(await newPlace(), 'disk')
  const disk = await bring(path)
  await assert.rejects(openOverlay(path, base), /^InUseError/)
  await disk.close()
  await (await openOverlay(path, base)).close()
})

test('a failure while it finishes leaves the old disk, and says what failed', {
  skip: !isLinux,
}, async () => {
  const path = join(await newPlace(), 'disk')
  await makeOld(path)
  const joining = await JoiningDisk.begin(path, base, SECTORS)
  await joining.data(0, filled(1, 2))
  await watchSteps(async (step) => {
    if (step !== 'datasync data') return
    throw Object.assign(new Error('EIO: i/o error'), { code: 'EIO', syscall: 'fdatasync' })
  })
  await assert.rejects(
    joining.finish(NEW),
    /^UserError: cannot write overlay .*disk\.joining: the device reports/,
  )
  mock.restoreAll()
  syncBuiltinESMExports()
  await joining.abandon()
  assert.equal(await checkWhole(path, 'at the end'), 'old')
})

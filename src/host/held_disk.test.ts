import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { cp, type FileHandle, mkdtemp, open, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, mock, test } from 'node:test'
import fc from 'fast-check'
import { BaseImage, SECTOR_BYTES } from './base_image.ts'
import type { HeldDisk } from './held_disk.ts'
import { createOverlay, type OverlayDisk, openEphemeral, openOverlay } from './overlay_disk.ts'

const GENERATION = '0123456789abcdef0123456789abcdef'
/** Not a multiple of the block's eight sectors, and the disk is larger than its base. */
const BASE_SECTORS = 29
const SECTORS = 51

let directory: string
let base: BaseImage
let content: Buffer
let count = 0
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'held-test-'))
  content = Buffer.alloc(SECTORS * SECTOR_BYTES)
  randomBytes(BASE_SECTORS * SECTOR_BYTES).copy(content)
  await writeFile(join(directory, 'base'), content.subarray(0, BASE_SECTORS * SECTOR_BYTES))
  base = await BaseImage.open(join(directory, 'base'))
})
after(async () => {
  await base.close()
  await rm(directory, { recursive: true })
})

async function newOverlay(): Promise<OverlayDisk> {
  const path = join(directory, `disk${count++}`)
  await createOverlay(path, base, GENERATION, SECTORS)
  return openOverlay(path, base)
}

function filled(sectors: number, value: number): Uint8Array {
  return new Uint8Array(sectors * SECTOR_BYTES).fill(value)
}

/** The disk as it would be found after a crash now. */
async function reopenedCopy(disk: OverlayDisk): Promise<OverlayDisk> {
  const path = join(directory, `disk${count++}`)
  await cp(disk.path, path, { recursive: true })
  await rm(join(path, 'lock'), { force: true })
  return openOverlay(path, base)
}

async function dataBytes(disk: OverlayDisk): Promise<number> {
  return (await stat(join(disk.path, 'data'))).size
}

/** A disk beside what it must hold. */
class Model {
  readonly now = Buffer.from(content)
  /** What each sector may hold after a crash. */
  possible = this.#sectors().map((bytes) => [bytes])
  held: { readonly view: HeldDisk; readonly bytes: Buffer; readonly extents: unknown } | undefined

  #sectors(): Buffer[] {
    return Array.from({ length: SECTORS }, (_, i) =>
      Buffer.from(this.now.subarray(i * SECTOR_BYTES, (i + 1) * SECTOR_BYTES)),
    )
  }

  change(sector: number, bytes: Uint8Array): void {
    this.now.set(bytes, sector * SECTOR_BYTES)
    for (const [i, now] of this.#sectors().entries()) {
      if (!this.possible[i]!.some((before) => before.equals(now))) this.possible[i]!.push(now)
    }
  }

  flushed(): void {
    this.possible = this.#sectors().map((bytes) => [bytes])
  }

  async checkCrash(disk: OverlayDisk): Promise<void> {
    const found = await reopenedCopy(disk)
    const bytes = Buffer.from(await found.read(0, SECTORS))
    for (let i = 0; i < SECTORS; i++) {
      const sector = bytes.subarray(i * SECTOR_BYTES, (i + 1) * SECTOR_BYTES)
      assert.ok(
        this.possible[i]!.some((value) => value.equals(sector)),
        `sector ${i} after a crash`,
      )
    }
    await found.close()
    await rm(found.path, { recursive: true })
  }

  async checkHeld(sector: number, sectors: number): Promise<void> {
    if (this.held === undefined) return
    const { view, bytes, extents } = this.held
    const expected = bytes.subarray(sector * SECTOR_BYTES, (sector + sectors) * SECTOR_BYTES)
    assert.ok(expected.equals(await view.read(sector, sectors)), 'the held disk changed')
    assert.deepEqual([...view.extents()], extents)
  }
}

const step = fc.record({
  kind: fc.constantFrom(
    ...[
      'write',
      'write',
      'write',
      'zeroes',
      'discard',
      'flush',
      'flush',
      'hold',
      'hold',
      'release',
      'read',
      'crash',
      'reopen',
    ],
  ),
  sector: fc.nat(SECTORS - 1),
  length: fc.constantFrom(1, 3, 8, 8, 16, 24),
  isAligned: fc.boolean(),
  value: fc.integer({ min: 1, max: 255 }),
})

async function takeStep(
  disk: OverlayDisk,
  model: Model,
  taken: typeof step extends fc.Arbitrary<infer T> ? T : never,
) {
  const { kind, isAligned, value } = taken
  const sector = isAligned ? taken.sector - (taken.sector % 8) : taken.sector
  const sectors = Math.min(taken.length, SECTORS - sector)
  if (kind === 'write') {
    await disk.write(sector, filled(sectors, value))
    model.change(sector, filled(sectors, value))
  } else if (kind === 'zeroes' || kind === 'discard') {
    await disk[kind](sector, sectors)
    model.change(sector, filled(sectors, 0))
  } else if (kind === 'flush') {
    await disk.flush()
    model.flushed()
  } else if (kind === 'hold' && model.held === undefined) {
    model.held = { extents: [...disk.extents()], view: disk.hold(), bytes: Buffer.from(model.now) }
  } else if (kind === 'release') {
    model.held?.view.release()
    model.held = undefined
  } else if (kind === 'crash') {
    await model.checkCrash(disk)
  }
  await model.checkHeld(sector, sectors)
}

test('a held disk stays as it was, and the disk is what was written, over any steps and crashes', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      const model = new Model()
      let disk = await newOverlay()
      for (const taken of steps) {
        if (taken.kind === 'reopen') {
          await disk.close()
          model.held = undefined
          disk = await openOverlay(disk.path, base)
          model.flushed()
        }
        await takeStep(disk, model, taken)
        assert.ok(model.now.equals(await disk.read(0, SECTORS)))
      }
      await model.checkHeld(0, SECTORS)
      await model.checkCrash(disk)
      await disk.close()
      await rm(disk.path, { recursive: true })
    }),
    { numRuns: 60 },
  )
})

test('a write to a held block leaves its slot alone, whole or in part', async () => {
  const disk = await newOverlay()
  await disk.write(0, filled(16, 1))
  const held = disk.hold()
  await disk.write(0, filled(8, 2))
  await disk.write(9, filled(2, 3))
  assert.deepEqual(Buffer.from(await held.read(0, 16)), Buffer.from(filled(16, 1)))
  const now = Buffer.from(await disk.read(8, 8))
  assert.ok(now.equals(Buffer.concat([filled(1, 1), filled(2, 3), filled(5, 1)])))
  await disk.close()
})

test('a second write to the block is done in place, so that a hold costs each block once', async () => {
  const disk = await newOverlay()
  await disk.write(0, filled(32, 1))
  disk.hold()
  await disk.write(0, filled(32, 2))
  const grown = await dataBytes(disk)
  for (let round = 3; round < 8; round++) await disk.write(0, filled(32, round))
  await disk.write(3, filled(2, 9))
  assert.equal(await dataBytes(disk), grown)
  await disk.close()
})

test('held room is used again after the release, when the flush that left it is durable', async () => {
  const disk = await newOverlay()
  await disk.write(0, filled(8, 1))
  await disk.flush()
  const held = disk.hold()
  await disk.discard(0, 8)
  await disk.flush()
  await disk.write(8, filled(8, 2))
  assert.equal((await held.read(0, 1))[0], 1, 'the room of a discarded block is held too')
  const grown = await dataBytes(disk)
  held.release()
  await disk.write(16, filled(8, 3))
  assert.equal(await dataBytes(disk), grown, 'used again')

  const second = disk.hold()
  await disk.write(16, filled(8, 4))
  const before = await dataBytes(disk)
  second.release()
  await disk.write(24, filled(8, 5))
  assert.notEqual(await dataBytes(disk), before, 'not before the flush: the index names it still')
  await disk.flush()
  const flushed = await dataBytes(disk)
  await disk.write(32, filled(8, 6))
  assert.equal(await dataBytes(disk), flushed)
  await disk.close()
})

test('a hold of a private disk gives its room back at once', async () => {
  const disk = await openEphemeral(base, GENERATION, directory)
  await disk.write(0, filled(8, 1))
  const held = disk.hold()
  await disk.write(0, filled(8, 2))
  await disk.write(8, filled(8, 3))
  assert.equal((await held.read(0, 1))[0], 1)
  held.release()
  await disk.write(16, filled(8, 4))
  assert.equal((await disk.read(0, 1))[0], 2)
  assert.equal((await disk.read(8, 1))[0], 3)
  await disk.close()
})

test('partial writes to one held block at the same time do not lose each other', async () => {
  const disk = await newOverlay()
  await disk.write(16, filled(8, 100))
  const held = disk.hold()
  await Promise.all(Array.from({ length: 8 }, (_, i) => disk.write(16 + i, filled(1, i + 1))))
  for (let i = 0; i < 8; i++) assert.equal((await disk.read(16 + i, 1))[0], i + 1)
  assert.ok(Buffer.from(await held.read(16, 8)).equals(filled(8, 100)))
  await disk.close()
})

test('what a read has begun to read is not written over before it ends, though the hold is released', async () => {
  const disk = await openEphemeral(base, GENERATION, directory)
  await disk.write(0, filled(8, 1))
  const held = disk.hold()
  await disk.write(0, filled(8, 2))
  const { file, letThrough } = await gateReads()
  const reading = held.read(0, 8)
  held.release()
  await disk.write(8, filled(8, 3))
  letThrough()
  assert.ok(Buffer.from(await reading).equals(filled(8, 1)))
  await disk.close()
  await file.close()
})

/** Lets the reads of all files wait. */
async function gateReads(): Promise<{ file: FileHandle; letThrough: () => void }> {
  const file = await open(join(directory, 'base'), 'r')
  const prototype = Object.getPrototypeOf(file) as FileHandle
  const { read } = prototype
  let letThrough = (): void => {}
  const gate = new Promise<void>((resolve) => {
    letThrough = resolve
  })
  const method = mock.method(prototype, 'read', async function (this: FileHandle, ...rest: unknown[]) {
    await gate
    method.mock.restore()
    return Reflect.apply(read, this, rest)
  })
  return { file, letThrough }
}

test('holding copies nothing', async () => {
  const disk = await newOverlay()
  await disk.write(0, filled(48, 1))
  const before = await readFile(join(disk.path, 'data'))
  disk.hold()
  assert.ok(before.equals(await readFile(join(disk.path, 'data'))))
  await disk.close()
})

test('a second hold, a hold during a write and a read after the release are our mistakes', async () => {
  const disk = await newOverlay()
  const writing = disk.write(0, filled(9, 1))
  assert.throws(() => disk.hold(), /AssertionError: .*being written/)
  await writing
  const held = disk.hold()
  assert.throws(() => disk.hold(), /AssertionError: .*a second hold/)
  held.release()
  held.release()
  await assert.rejects(held.read(0, 1), /released/)
  disk.hold().release()
  await disk.close()
})

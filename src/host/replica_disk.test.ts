import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, mock, test } from 'node:test'
import fc from 'fast-check'
import { BadExtents } from './bad_extents.ts'
import { BaseImage, SECTOR_BYTES } from './base_image.ts'
import { BlockChecksums, withChecksums } from './block_checksums.ts'
import type { DiskRequest } from './disk_queue.ts'
import { DiskScrubber, type SectorExtent } from './disk_scrubber.ts'
import { createOverlay, type OverlayDisk, openOverlay } from './overlay_disk.ts'
import { ReplicaDisk } from './replica_disk.ts'

/** Of milliseconds; the longest that a timer can wait. */
const never = 1 << 30
const GENERATION = '0123456789abcdef0123456789abcdef'
const SECTORS = 101

let directory: string
let base: BaseImage
let count = 0
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'replica-disk-test-'))
  await writeFile(join(directory, 'base'), randomBytes(SECTORS * SECTOR_BYTES))
  base = await BaseImage.open(join(directory, 'base'))
})
after(async () => {
  await base.close()
  await rm(directory, { recursive: true })
})

function filled(sectors: number, value: number): Uint8Array {
  return new Uint8Array(sectors * SECTOR_BYTES).fill(value)
}

function write(id: number, sector: number, sectors: number, value: number): DiskRequest {
  return { id, kind: 'write', sector, sectors, data: filled(sectors, value) }
}

function read(id: number, sector: number, sectors: number): DiskRequest {
  return { id, kind: 'read', sector, sectors }
}

/** Waits for a condition, with a deadline that only a hang reaches. */
async function until(isTrue: () => boolean, otherwise: () => string): Promise<void> {
  for (const start = performance.now(); !isTrue(); ) {
    assert.ok(performance.now() - start < 30_000, otherwise())
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}

interface Rig {
  readonly disk: OverlayDisk
  readonly replica: ReplicaDisk
  readonly seen: string[]
  readonly sees: (what: string) => Promise<void>
}

async function rig(retryMs: number, isChecked = false, limitMs = never): Promise<Rig> {
  const path = join(directory, `disk${count++}`)
  await createOverlay(path, base, GENERATION)
  const disk = await openOverlay(path, base)
  const seen: string[] = []
  const events = {
    onDone: (id: number, status: string, data: Uint8Array | undefined) =>
      seen.push(`${id} ${status}${data === undefined ? '' : ` ${data[0]}`}`),
    onFailed: (reason: string) => seen.push(reason),
    onFull: (isFull: boolean) => seen.push(`full ${isFull}`),
    onNotice: (text: string) => seen.push(`notice: ${text}`),
    ...(isChecked && { onCorrupt: ({ sector }: SectorExtent) => seen.push(`corrupt ${sector}`) }),
  }
  const replica = new ReplicaDisk(disk, events, { retryMs, limitMs })
  const sees = async (what: string): Promise<void> => {
    await until(
      () => seen.includes(what),
      () => `${what} is not among ${seen.join('; ')}`,
    )
  }
  return { disk, replica, seen, sees }
}

/** Lets a method of a disk fail so often. */
function fail(disk: OverlayDisk, method: 'read' | 'write', code: string, times: number): void {
  const real = disk[method].bind(disk) as (...rest: unknown[]) => Promise<unknown>
  const mocked = mock.method(disk, method, (...rest: unknown[]) => {
    if (mocked.mock.callCount() >= times) return real(...rest)
    return Promise.reject(Object.assign(new Error(`${code}: planted`), { code, syscall: method }))
  })
}

/** Lets a method of a disk hang until the promise is fulfilled. */
function hang(disk: OverlayDisk, method: 'read' | 'write', until: Promise<void>): void {
  const real = disk[method].bind(disk) as (...rest: unknown[]) => Promise<unknown>
  mock.method(disk, method, async (...rest: unknown[]) => {
    await until
    return real(...rest)
  })
}

test('requests are done in their order where they overlap', async () => {
  const { replica, seen } = await rig(5)
  replica.submit(write(1, 0, 8, 7))
  replica.submit(read(2, 4, 1))
  replica.submit({ id: 3, kind: 'flush', sector: 0, sectors: 0 })
  assert.ok(replica.isBusy)
  assert.deepEqual(seen, [])
  await replica.drain()
  assert.ok(!replica.isBusy)
  assert.deepEqual(seen.sort(), ['1 ok', '2 ok 7', '3 ok'])
  await replica.close()
})

test('an error of the system is not shown to the guest: the request is held, and works when the disk does', async () => {
  const { disk, replica, seen } = await rig(2)
  fail(disk, 'write', 'EIO', 2)
  replica.submit(write(1, 8, 4, 7))
  replica.submit(read(2, 8, 1))
  await replica.drain()
  const reason = 'the write of 4 sectors from 8 on failed: EIO: planted'
  assert.deepEqual(seen, [reason, reason, '1 ok', '2 ok 7'])
  await replica.close()
})

test('held requests fail when there is nobody else, and later failures are held and told again', async () => {
  const { disk, replica, seen, sees } = await rig(never)
  fail(disk, 'read', 'EIO', 2)
  for (const id of [1, 2]) {
    replica.submit(read(id, 16, 2))
    await sees('the read of 2 sectors from 16 on failed: EIO: planted')
    assert.ok(replica.isBusy)
    replica.failHeld()
    await replica.drain()
    assert.deepEqual(seen, [
      'the read of 2 sectors from 16 on failed: EIO: planted',
      'notice: the guest is told that the read of 2 sectors from 16 on failed: EIO: planted',
      `${id} error`,
    ])
    seen.length = 0
  }
  assert.deepEqual(replica.badExtents, [{ sector: 16, sectors: 2 }])
  await replica.close()
})

test('a request that hangs is told again and again as one that failed, is not failed to the guest, and may end', async () => {
  const { disk, replica, seen, sees } = await rig(never, false, 5)
  const end = Promise.withResolvers<void>()
  hang(disk, 'write', end.promise)
  replica.submit(write(1, 8, 4, 7))
  replica.submit(write(2, 16, 4, 7))
  await sees('a write at sector 8 has not ended for 0.01 s')
  assert.ok(replica.isHanging)
  replica.failHeld()
  assert.ok(seen.every((line) => line.startsWith('a write at sector 8')))
  end.resolve()
  await replica.drain()
  assert.deepEqual(seen.slice(-2).sort(), ['1 ok', '2 ok'])
  assert.ok(!replica.isHanging)
  await replica.close()
})

test('a disk that hangs is noticed by its scrubber also where the guest asks for nothing', async () => {
  const { disk, replica, sees } = await rig(never, true, 5)
  replica.submit(write(1, 8, 8, 7))
  await replica.drain()
  const end = Promise.withResolvers<void>()
  hang(disk, 'read', end.promise)
  replica.scrubber!.start()
  await sees('a read at sector 8 has not ended for 0.01 s')
  end.resolve()
  await replica.close()
})

test('a full disk is waited for, whatever fails', async () => {
  const { disk, replica, seen, sees } = await rig(20)
  fail(disk, 'write', 'ENOSPC', 3)
  replica.submit(write(1, 0, 1, 1))
  await sees('full true')
  replica.failHeld()
  await replica.drain()
  assert.deepEqual(seen, ['full true', 'full false', '1 ok'])
  await replica.close()
})

test('after a failed sync every flush is held, until it may fail', async () => {
  const { disk, replica, seen, sees } = await rig(2)
  const file = await open(join(directory, 'base'), 'r')
  const prototype = Object.getPrototypeOf(file) as typeof file
  await file.close()
  const sync = mock.method(prototype, 'datasync', async () => {
    throw Object.assign(new Error('EIO: planted'), { code: 'EIO', syscall: 'fdatasync' })
  })
  await disk.write(0, filled(1, 1))
  const failed = 'a flush failed: EIO: planted'
  replica.submit({ id: 1, kind: 'flush', sector: 0, sectors: 0 })
  await sees(failed)
  sync.mock.restore()
  seen.length = 0
  await sees(failed)
  await until(
    () => {
      replica.failHeld()
      return !replica.isBusy
    },
    () => 'still held',
  )
  assert.equal(seen.at(-1), '1 error')
  await replica.close()
})

test('a disk that is closed tells nothing any more', async () => {
  const { disk, replica, seen, sees } = await rig(never)
  fail(disk, 'write', 'EIO', 9)
  replica.submit(write(1, 0, 1, 1))
  await sees('the write of 1 sectors from 0 on failed: EIO: planted')
  seen.length = 0
  await replica.close()
  assert.deepEqual(seen, [])
  assert.throws(() => replica.submit(read(2, 0, 1)), /AssertionError/)
  await (await openOverlay(disk.path, base)).close()
})

test('a held view stays while requests go on', async () => {
  const { replica } = await rig(5)
  replica.submit(write(1, 0, 16, 1))
  await replica.drain()
  const held = replica.hold()
  replica.submit(write(2, 4, 8, 2))
  await replica.drain()
  assert.deepEqual([...held.extents()], [{ sector: 0, sectors: 16, zeros: false }])
  assert.ok(Buffer.from(await held.read(0, 16)).equals(filled(16, 1)))
  held.release()
  await replica.close()
})

/** Changes a byte of what a disk has stored as blocks of `value`, behind its back. */
async function corrupt(disk: OverlayDisk, value: number): Promise<void> {
  const path = join(disk.path, 'data')
  const data = await readFile(path)
  const at = data.indexOf(filled(8, value))
  assert.ok(at > 0)
  const file = await open(path, 'r+')
  await file.write(Uint8Array.of(value ^ 1), 0, 1, at + 1234)
  await file.close()
}

test('a block that changes behind the back of the disk convicts it, once', async () => {
  const { disk, replica, seen, sees } = await rig(5, true)
  replica.submit(write(1, 0, 24, 3))
  replica.submit(write(2, 40, 8, 4))
  replica.submit(write(3, 56, 8, 5))
  await replica.drain()
  seen.length = 0
  for (let i = 0; i < 5; i++) await replica.scrubber!.step()
  assert.deepEqual(seen, [])
  await corrupt(disk, 4)
  replica.scrubber!.start()
  await sees('corrupt 40')
  await replica.scrubber!.stop()
  for (let i = 0; i < 5; i++) await replica.scrubber!.step()
  assert.deepEqual(seen, ['corrupt 40'])
  await replica.close()
})

test('a block that cannot be read again is noted, and is no conviction', async () => {
  const { disk, replica, seen } = await rig(5, true)
  replica.submit(write(1, 8, 8, 3))
  await replica.drain()
  seen.length = 0
  fail(disk, 'read', 'EIO', 1)
  await replica.scrubber!.step()
  assert.deepEqual(seen, ['notice: sectors 8 to 15 could not be read again: EIO: planted'])
  assert.deepEqual(replica.badExtents, [{ sector: 8, sectors: 8 }])
  await replica.close()
})

test('scrubbing beside any writes convicts no sound disk, and finds each changed block that was written whole', async () => {
  const operation = fc.record({
    kind: fc.constantFrom('write', 'write', 'discard', 'step', 'step'),
    sector: fc.nat(63),
    sectors: fc.constantFrom(1, 5, 8, 16),
    isAligned: fc.boolean(),
    value: fc.integer({ min: 1, max: 255 }),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { maxLength: 40 }), fc.nat(7), async (operations, victim) => {
      const stored = new Uint8Array(80 * SECTOR_BYTES)
      const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
      const checksums = new BlockChecksums()
      const change = async (sector: number, bytes: Uint8Array): Promise<void> => {
        // In two halves, so that a read may come between.
        stored.set(bytes.subarray(0, bytes.length / 2), sector * SECTOR_BYTES)
        await turn()
        stored.set(bytes, sector * SECTOR_BYTES)
      }
      const plain = {
        read: async (sector: number, sectors: number) => {
          await turn()
          return stored.slice(sector * SECTOR_BYTES, (sector + sectors) * SECTOR_BYTES)
        },
        write: change,
        discard: (sector: number, sectors: number) => change(sector, filled(sectors, 0)),
        zeroes: (sector: number, sectors: number) => change(sector, filled(sectors, 0)),
        flush: turn,
      }
      const disk = withChecksums(plain, checksums)
      const found: number[] = []
      const scrubber = new DiskScrubber(
        plain,
        checksums,
        { onCorrupt: ({ sector }) => found.push(sector / 8), onUnreadable: () => assert.fail('unreadable') },
        80 << 10,
      )
      const whole = new Set<number>()
      let steps: Promise<void>[] = []
      for (const { kind, isAligned, value, ...range } of operations) {
        const sector = isAligned ? range.sector - (range.sector % 8) : range.sector
        const { sectors } = range
        if (kind === 'step') {
          steps.push(scrubber.step())
          continue
        }
        for (let block = Math.floor(sector / 8); block * 8 < sector + sectors; block++) whole.delete(block)
        if (kind === 'discard') await disk.discard(sector, sectors)
        else await disk.write(sector, filled(sectors, value))
        const end = Math.floor((sector + sectors) / 8)
        for (let block = Math.ceil(sector / 8); block < end && kind === 'write'; block++) whole.add(block)
      }
      await Promise.all(steps)
      assert.deepEqual(found, [], 'a sound disk')
      stored[victim * 8 * SECTOR_BYTES + 99]! ^= 4
      steps = Array.from({ length: 12 }, () => Promise.resolve())
      for (const _ of steps) await scrubber.step()
      assert.deepEqual(found, whole.has(victim) ? [victim] : [])
    }),
    { numRuns: 200 },
  )
})

test('bad extents are kept in order and joined, and are the sectors that were added', () => {
  const extent = fc.record({ sector: fc.nat(60), sectors: fc.integer({ min: 1, max: 9 }) })
  fc.assert(
    fc.property(fc.array(extent, { maxLength: 30 }), (extents) => {
      const [bad, model] = [new BadExtents(), new Set<number>()]
      for (const added of extents) {
        bad.add(added)
        for (let i = 0; i < added.sectors; i++) model.add(added.sector + i)
      }
      const sectors = bad.list.flatMap((e) => Array.from({ length: e.sectors }, (_, i) => e.sector + i))
      assert.deepEqual(
        sectors,
        [...model].sort((a, b) => a - b),
      )
      for (const [i, next] of bad.list.slice(1).entries()) {
        assert.ok(bad.list[i]!.sector + bad.list[i]!.sectors < next.sector)
      }
    }),
  )
  const many = new BadExtents()
  for (let i = 0; i < 3000; i++) many.add({ sector: 2 * i, sectors: 1 })
  assert.equal(many.list.length, 1024)
})

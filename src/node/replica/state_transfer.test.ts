import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { FormatError } from '../../base/errors.ts'
import { Random } from '../../base/prng.ts'
import { type KeptDisk, StateReceiver, type StateSink, StateSource } from './state_transfer.ts'

const random = new Random(3, 0)
const DISK_SECTORS = 9000

/** A disk with a long run of data, one of zeros, and the last sector. */
class MemoryDisk implements KeptDisk {
  readonly sectors = DISK_SECTORS
  readonly baseDigest = 'base'
  readonly content = random.bytes(DISK_SECTORS * 512)
  isReleased = false

  async read(sector: number, sectors: number): Promise<Uint8Array> {
    return this.content.slice(sector * 512, (sector + sectors) * 512)
  }

  *extents(): Generator<{ sector: number; sectors: number; zeros: boolean }> {
    yield { sector: 8, sectors: 5000, zeros: false }
    yield { sector: 5008, sectors: 16, zeros: true }
    yield { sector: 8992, sectors: 8, zeros: false }
  }

  release(): void {
    this.isReleased = true
  }
}

class Arrivals implements StateSink {
  readonly lines: string[] = []
  readonly packs: Uint8Array[] = []
  readonly written = new Map<number, number>()
  readonly #disk: MemoryDisk

  constructor(disk: MemoryDisk) {
    this.#disk = disk
  }

  async header(sectors: number, baseDigest: string): Promise<void> {
    this.lines.push(`header ${sectors} ${baseDigest}`)
  }

  pages(pages: Uint8Array): void {
    this.packs.push(pages)
  }

  async zeros(sector: number, sectors: number): Promise<void> {
    this.lines.push(`zeros ${sector}+${sectors}`)
  }

  async data(sector: number, bytes: Uint8Array): Promise<void> {
    const expected = this.#disk.content.subarray(sector * 512, sector * 512 + bytes.length)
    assert.equal(Buffer.compare(bytes, expected), 0, `sectors from ${sector} on`)
    this.written.set(sector, bytes.length / 512)
  }
}

const kept = (disk: MemoryDisk) => ({
  disk,
  state: random.bytes(5000),
  pages: [random.bytes(100_000), random.bytes(10)],
})

test('a state arrives as it was kept, header first', async () => {
  const disk = new MemoryDisk()
  const state = kept(disk)
  const source = new StateSource(state)
  const arrivals = new Arrivals(disk)
  const receiver = new StateReceiver(arrivals)
  for (let number = 0; number < source.chunks; number++) await receiver.take(await source.read(number))
  assert.equal(Buffer.compare(receiver.state, state.state), 0)
  assert.equal(Buffer.compare(Buffer.concat(arrivals.packs), Buffer.concat(state.pages)), 0)
  assert.deepEqual(arrivals.lines, [`header ${DISK_SECTORS} base`, 'zeros 5008+16'])
  assert.equal(
    [...arrivals.written.values()].reduce((sum, sectors) => sum + sectors, 0),
    5008,
  )
  source.release()
  assert.equal(disk.isReleased, true)
})

test('the memory of a state goes back as it is released, and not under what is being compressed', async () => {
  const disk = new MemoryDisk()
  const state = kept(disk)
  const [large, small] = state.pages.map((pages) => pages.slice()) as [Uint8Array, Uint8Array]
  const sizes = (): number[] => state.pages.map(({ buffer }) => buffer.byteLength)
  const source = new StateSource(state)
  const arrivals = new Arrivals(disk)
  const receiver = new StateReceiver(arrivals)
  await receiver.take(await source.read(0))
  const reading = [source.read(1), source.read(2)]
  source.release()
  assert.deepEqual(sizes(), [large.length, small.length])
  for (const chunk of await Promise.all(reading)) await receiver.take(chunk)
  assert.equal(Buffer.compare(Buffer.concat(arrivals.packs), Buffer.concat([large, small])), 0)
  assert.deepEqual(sizes(), [0, 0])
  const unread = kept(disk)
  new StateSource(unread).release()
  assert.deepEqual(
    unread.pages.map(({ buffer }) => buffer.byteLength),
    [0, 0],
    'at once, where nothing is being read',
  )
})

test('a state without its registers, or with its header elsewhere, is refused', async () => {
  const disk = new MemoryDisk()
  const source = new StateSource(kept(disk))
  const receiver = new StateReceiver(new Arrivals(disk))
  await assert.rejects(receiver.take(await source.read(1)), /whose header is not first/)
  const second = new StateReceiver(new Arrivals(disk))
  await second.take(await source.read(0))
  await assert.rejects(second.take(await source.read(0)), /whose header is not first/)
  assert.throws(() => second.state, FormatError)
})

test('what is no chunk is refused, whatever it is', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 100 }), async (bytes) => {
      const receiver = new StateReceiver(new Arrivals(new MemoryDisk()))
      await assert.rejects(receiver.take(bytes), FormatError)
    }),
    { numRuns: 30 },
  )
})

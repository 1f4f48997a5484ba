import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import fc from 'fast-check'
import { FormatError, UserError } from '../base/errors.ts'
import { writeFileAtomically } from './atomic_file.ts'
import {
  loadSnapshot,
  PAGE_BYTES,
  readSnapshot,
  readSnapshotPreamble,
  type Snapshot,
  type SnapshotPage,
  writeSnapshot,
} from './snapshot_file.ts'

let directory: string
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'snapshot-test-'))
})
after(() => rm(directory, { recursive: true }))

function pageOf(page: number): SnapshotPage {
  const bytes = new Uint8Array(PAGE_BYTES)
  for (let i = 0; i < PAGE_BYTES; i++) bytes[i] = Math.imul(page + 1, i + 7) >>> 5
  return { page, bytes }
}

function snapshotOf(numbers: Iterable<number>, sections: ReadonlyMap<string, Uint8Array>): Snapshot {
  const pages = Array.from(numbers, pageOf)
  return {
    header: { machine: { harts: 2 }, position: '123', index: '45', life: 1 },
    sections,
    ram: { pageBytes: PAGE_BYTES, pageCount: 1 << 20, pages },
  }
}

/** Equal content; the classes of the byte arrays do not matter. */
function assertSame(found: Snapshot, expected: Snapshot): void {
  const plain = (snapshot: Snapshot): unknown => ({
    header: snapshot.header,
    pageCount: snapshot.ram.pageCount,
    sections: [...snapshot.sections].map(([name, bytes]) => [name, Buffer.from(bytes)]),
    pages: [...snapshot.ram.pages].map(({ page, bytes }) => [page, Buffer.from(bytes)]),
  })
  assert.deepEqual(plain(found), plain(expected))
}

test('any snapshot comes back', async () => {
  const path = join(directory, 'any')
  const numbers = fc
    .uniqueArray(fc.nat((1 << 20) - 1), { maxLength: 30 })
    .map((list) => list.sort((a, b) => a - b))
  const sections = fc.dictionary(fc.stringMatching(/^[a-z0-9.]{0,20}$/), fc.uint8Array({ maxLength: 2000 }))
  await fc.assert(
    fc.asyncProperty(numbers, sections, async (pages, named) => {
      const snapshot = snapshotOf(pages, new Map(Object.entries(named)))
      await writeSnapshot(path, snapshot)
      assertSame(await readSnapshot(path), snapshot)
    }),
    { numRuns: 20 },
  )
})

test('sections and RAM of several chunks come back', async () => {
  const path = join(directory, 'large')
  const state = new Uint8Array((8 << 20) + 3).map((_, i) => i * i)
  const numbers = Array.from({ length: 2500 }, (_, i) => i * 3)
  const snapshot = snapshotOf(
    numbers,
    new Map([
      ['machine', state],
      ['empty', new Uint8Array(0)],
    ]),
  )
  await writeSnapshot(path, snapshot)
  assertSame(await readSnapshot(path), snapshot)
  assert.deepEqual(await readSnapshotPreamble(path), { header: snapshot.header, pageCount: 1 << 20 })
})

test('any corruption of a single byte, and any truncation, is refused with its place', async () => {
  const path = join(directory, 'small')
  const pages = [{ page: 5, bytes: new Uint8Array(PAGE_BYTES).fill(9) }]
  const ram = { pageBytes: PAGE_BYTES, pageCount: 6, pages } as const
  await writeSnapshot(path, { header: { life: 1 }, sections: new Map([['uart0', Uint8Array.of(1, 2)]]), ram })
  const whole = await readFile(path)
  const damaged = join(directory, 'damaged')
  const refused = async (bytes: Uint8Array, what: string): Promise<void> => {
    await writeFile(damaged, bytes)
    await assert.rejects(readSnapshot(damaged), /^FormatError: snapshot .*byte \d+: /, what)
  }
  for (let at = 0; at < whole.length; at++) {
    const bytes = Uint8Array.from(whole)
    bytes[at]! ^= 1 << (at & 7)
    await refused(bytes, `byte ${at} flipped`)
    await refused(whole.subarray(0, at), `cut at byte ${at}`)
  }
  await refused(Buffer.concat([whole, Uint8Array.of(0)]), 'a byte too many')
})

test('a chunk that is missing, doubled or exchanged is refused', async () => {
  const path = join(directory, 'chunks')
  const sections = new Map([
    ['a', Uint8Array.of(1)],
    ['b', Uint8Array.of(2)],
    ['c', Uint8Array.of(3)],
  ])
  await writeSnapshot(path, snapshotOf([], sections))
  const whole = await readFile(path)
  const starts = chunkStarts(whole)
  const chunks = starts.slice(0, -1).map((start, i) => whole.subarray(start, starts[i + 1]))
  const preamble = whole.subarray(0, starts[0])
  const [a, b, c, end] = chunks as [Buffer, Buffer, Buffer, Buffer]
  for (const order of [[a, c, end], [a, b, b, c, end], [b, a, c, end], [a, b, c], [end]]) {
    await writeFile(path, Buffer.concat([preamble, ...order]))
    await assert.rejects(readSnapshot(path), FormatError)
  }
})

function chunkStarts(file: Buffer): number[] {
  const starts = [24 + file.readUInt32LE(12)]
  while (starts.at(-1)! < file.length) {
    const start = starts.at(-1)!
    starts.push(start + 16 + file.readUInt16LE(start + 2) + file.readUInt32LE(start + 8))
  }
  return starts
}

test('pages out of order or beyond RAM are refused', async () => {
  const path = join(directory, 'order')
  for (const numbers of [[4, 3], [3, 3], [1 << 20]]) {
    await writeSnapshot(path, snapshotOf(numbers, new Map()))
    await assert.rejects(readSnapshot(path), /FormatError: .* page \d+ of 1048576 behind page/)
  }
})

test('loading hands the pages to what the preamble has prepared', async () => {
  const path = join(directory, 'load')
  await writeSnapshot(path, snapshotOf([0, 2, 4], new Map([['s', Uint8Array.of(7)]])))
  const seen: number[] = []
  const loaded = await loadSnapshot(path, ({ header, pageCount }) => {
    assert.equal(header['position'], '123')
    assert.equal(pageCount, 1 << 20)
    return (page, bytes) => {
      assert.deepEqual(Buffer.from(bytes), Buffer.from(pageOf(page).bytes))
      seen.push(page)
    }
  })
  assert.deepEqual(seen, [0, 2, 4])
  assert.deepEqual([...loaded.sections.keys()], ['s'])
})

test('a writer that fails leaves the old file and nothing else', async () => {
  const place = await mkdtemp(join(directory, 'atomic-'))
  const path = join(place, 'file')
  await writeFileAtomically(path, 'old')
  const pages = (function* (): Generator<SnapshotPage> {
    yield pageOf(1)
    throw new Error('the machine stopped')
  })()
  const ram = { pageBytes: PAGE_BYTES, pageCount: 9, pages } as const
  await assert.rejects(writeSnapshot(path, { header: {}, sections: new Map(), ram }), /the machine stopped/)
  assert.equal(await readFile(path, 'utf8'), 'old')
  assert.deepEqual(await readdir(place), ['file'])
})

test('what the system refuses is one line with the file and a remedy', async () => {
  const path = join(directory, 'no', 'such', 'place')
  await assert.rejects(writeFileAtomically(path, 'x'), (error) => {
    assert.ok(error instanceof UserError)
    assert.match(
      error.message,
      /^cannot write .*\/no\/such\/place: no such file or directory: check the name$/,
    )
    return true
  })
  await assert.rejects(readSnapshot(path), /^UserError: cannot read .*: no such file or directory/)
})

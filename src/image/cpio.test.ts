import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import fc from 'fast-check'
import { CpioWriter } from './cpio.ts'

interface ReadEntry {
  readonly name: string
  readonly mode: number
  readonly device: readonly [number, number]
  readonly data: Buffer
}

/** Reads an archive by the format's description, independently of the writer. */
function readArchive(bytes: Uint8Array): ReadEntry[] {
  const archive = Buffer.from(bytes)
  const entries: ReadEntry[] = []
  for (let position = 0; position < archive.length; ) {
    assert.equal(archive.toString('latin1', position, position + 6), '070701')
    const field = (index: number) => {
      const start = position + 6 + index * 8
      return Number.parseInt(archive.toString('latin1', start, start + 8), 16)
    }
    const name = archive.toString('utf8', position + 110, position + 110 + field(11) - 1)
    assert.equal(archive[position + 110 + field(11) - 1], 0)
    const dataStart = Math.ceil((position + 110 + field(11)) / 4) * 4
    const data = archive.subarray(dataStart, dataStart + field(6))
    entries.push({ name, mode: field(1), device: [field(9), field(10)], data })
    position = Math.ceil((dataStart + field(6)) / 4) * 4
  }
  return entries
}

test('files of any name and content come out of the archive as they went in', () => {
  const name = fc.stringMatching(/^[a-zé][a-z0-9é._-]{0,30}$/)
  const files = fc.uniqueArray(fc.tuple(name, fc.uint8Array({ maxLength: 70 })), { selector: ([key]) => key })
  fc.assert(
    fc.property(files, (expected) => {
      const writer = new CpioWriter()
      for (const [key, data] of expected) writer.file(key, data, 0o640)
      const found = readArchive(writer.finish())
      assert.equal(found.pop()?.name, 'TRAILER!!!')
      assert.deepEqual(
        found.map((entry) => [entry.name, entry.mode, [...entry.data]]),
        expected.map(([key, data]) => [key, 0o100640, [...data]]),
      )
    }),
  )
})

test('a character device carries its numbers and a link its target', () => {
  const writer = new CpioWriter()
  writer.characterDevice('console', 5, 1)
  writer.symlink('sh', 'busybox')
  const [device, link] = readArchive(writer.finish())
  assert.deepEqual([device?.mode, device?.device], [0o020600, [5, 1]])
  assert.deepEqual([link?.mode, link?.data.toString()], [0o120777, 'busybox'])
})

const isMissing = spawnSync('cpio', ['--version']).error !== undefined
const skip = isMissing && process.env['CI'] !== 'true' && 'cpio is not installed'

test('cpio reads the archive', { skip }, () => {
  const writer = new CpioWriter()
  writer.directory('bin')
  writer.file('bin/true', Buffer.from('#!'), 0o755)
  writer.symlink('sbin', 'bin')
  writer.characterDevice('console', 5, 1)
  const listing = spawnSync('cpio', ['-itv'], {
    input: writer.finish(),
    env: { ...process.env, LC_ALL: 'C' },
  })
  assert.equal(listing.status, 0)
  const lines = listing.stdout.toString().trim().split('\n')
  const summary = lines.map((line) => `${line.slice(0, 10)} ${line.replace(/.*19(70|69) +/, '')}`)
  assert.deepEqual(summary, [
    'drwxr-xr-x bin',
    '-rwxr-xr-x bin/true',
    'lrwxrwxrwx sbin -> bin',
    'crw------- console',
  ])
})

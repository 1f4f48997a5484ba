import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BatchEncoder } from './batch.ts'
import {
  encodeRecordingEnd,
  encodeRecordingHeader,
  RecordingDecoder,
  type RecordingHeader,
  type RecordingOutcome,
} from './recording.ts'

const HEADER: RecordingHeader = {
  machine: { harts: 2, ramBytes: 1 << 29, disks: [{ digest: 'ab', name: 'disk0' }], args: 'root=/dev/vda' },
  life: 7,
  start: { snapshot: 'sha256:00ff', position: 12_345_678_901_234n, nextIndex: 99n, disk: '0a1b' },
}

interface Parts {
  readonly header: Uint8Array
  readonly batches: readonly Uint8Array[]
  readonly end: Uint8Array
}

function sampleParts(): Parts {
  const { position, nextIndex } = HEADER.start
  const encoder = new BatchEncoder({ life: HEADER.life, nextIndex, position })
  encoder.append({ kind: 'input', port: 1, bytes: Uint8Array.of(104, 105), position: position + 10n })
  const first = encoder.take()!
  encoder.append({ kind: 'reached', position: position + 20n })
  const batches = [first, encoder.take()!]
  const end = encodeRecordingEnd({ nextIndex: encoder.nextIndex, position: position + 25n })
  return { header: encodeRecordingHeader(HEADER), batches, end }
}

const PARTS = sampleParts()
const WHOLE = Buffer.concat([PARTS.header, ...PARTS.batches, PARTS.end])

interface Found {
  readonly header: RecordingHeader
  readonly records: number
  readonly outcome: RecordingOutcome
}

function read(bytes: Uint8Array): Found {
  const decoder = new RecordingDecoder('run.rec')
  decoder.push(bytes)
  let records = 0
  for (let batch = decoder.next(); batch !== undefined; batch = decoder.next())
    records += batch.records.length
  const outcome = decoder.finish()
  return { header: decoder.header!, records, outcome }
}

test('a complete recording comes back with its header and end', () => {
  const end = { nextIndex: 101n, position: HEADER.start.position + 25n }
  assert.deepEqual(read(WHOLE), { header: HEADER, records: 2, outcome: { complete: true, end } })
})

test('a recording is the same when it arrives byte by byte', () => {
  const decoder = new RecordingDecoder('run.rec')
  let records = 0
  for (const byte of WHOLE) {
    decoder.push(Uint8Array.of(byte))
    records += decoder.next()?.records.length ?? 0
  }
  assert.equal(records, 2)
  assert.equal(decoder.finish().complete, true)
})

test('a cold start comes back as one', () => {
  const header = { ...HEADER, start: { snapshot: undefined, position: 0n, nextIndex: 0n, disk: undefined } }
  const found = read(encodeRecordingHeader(header))
  assert.deepEqual(found.header, header)
  assert.equal(found.outcome.complete, false)
})

test('a recording without its end is good up to its last whole batch, and says so', () => {
  let boundary = PARTS.header.length
  let records = 0
  const boundaries = new Map([[boundary, 0]])
  for (const batch of PARTS.batches) {
    boundary += batch.length
    records += 1
    boundaries.set(boundary, records)
  }
  let lastBoundary = 0
  for (let length = 0; length < WHOLE.length; length++) {
    if (boundaries.has(length)) lastBoundary = length
    const cut = WHOLE.subarray(0, length)
    if (length < PARTS.header.length) {
      assert.throws(() => read(cut), new RegExp(`run.rec: byte ${length}: cut off within the header`))
      continue
    }
    const { records: found, outcome } = read(cut)
    assert.equal(found, boundaries.get(lastBoundary))
    assert.ok(!outcome.complete)
    assert.equal(outcome.lostBytes, length - lastBoundary)
    assert.equal(outcome.place.nextIndex, 99n + BigInt(found))
  }
})

test('any corruption of a single byte is refused with its place', () => {
  for (let at = 0; at < WHOLE.length; at++) {
    for (const flip of [1, 0x80, 0xff, 0x07]) {
      const damaged = Uint8Array.from(WHOLE)
      damaged[at]! ^= flip
      assert.throws(() => read(damaged), /^FormatError: run.rec: byte \d+: /, `byte ${at} flipped by ${flip}`)
    }
  }
})

test('bytes behind the end mark, and an end mark that contradicts the records, are refused', () => {
  assert.throws(() => read(Buffer.concat([WHOLE, Uint8Array.of(0)])), /bytes behind the end mark/)
  const { position } = HEADER.start
  const withEnd = (nextIndex: bigint, end: bigint): Uint8Array =>
    Buffer.concat([PARTS.header, ...PARTS.batches, encodeRecordingEnd({ nextIndex, position: end })])
  assert.throws(() => read(withEnd(100n, position + 25n)), /the end mark says index 100/)
  assert.throws(() => read(withEnd(101n, position + 19n)), /before the last record/)
})

test('a header with a foreign field or without a machine is refused', () => {
  const text = Buffer.from(encodeRecordingHeader({ ...HEADER, machine: { a: 1 } }))
  assert.equal(read(text).records, 0)
  const broken = { ...HEADER, machine: [] as unknown as RecordingHeader['machine'] }
  assert.throws(() => read(encodeRecordingHeader(broken)), /no machine/)
})

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { FormatError } from '../base/errors.ts'
import { BatchDecoder, BatchEncoder, type LogBatch, MAX_PAYLOAD_BYTES } from './batch.ts'
import { MAX_INPUT_BYTES } from './codec.ts'
import { COMPLETION_STATUSES, CONTROL_OPERATIONS, type LogRecord, type NewRecord } from './record.ts'

const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
const u32 = fc.nat(0xffff_ffff)
const port = fc.nat(0xffff)
const slice = fc.record(
  { firstPage: fc.maxSafeNat(), pages: fc.maxSafeNat(), digest: u64 },
  { noNullPrototype: true },
)
const rate = fc.oneof(
  fc.constant(42949673n),
  u64.filter((value) => value > 0n),
)
const fields = fc.oneof(
  fc.record({ kind: fc.constant('input' as const), port, bytes: fc.uint8Array({ maxLength: 80 }) }),
  fc.record({ kind: fc.constant('clock' as const), base: u64, rate, cap: u64, rtcOffsetNs: u64 }),
  fc.record({
    kind: fc.constant('completion' as const),
    request: u32,
    status: fc.constantFrom(...COMPLETION_STATUSES),
    digest: fc.option(u64, { nil: undefined }),
  }),
  fc.record({
    kind: fc.constant('control' as const),
    operation: fc.constantFrom(...CONTROL_OPERATIONS),
    argument: u64,
  }),
  fc.record({ kind: fc.constant('reached' as const) }),
  fc.record({ kind: fc.constant('output' as const), port, ordinal: u64, digest: u64 }),
  fc.record({ kind: fc.constant('released' as const), port, ordinal: u64 }),
  fc.record({
    kind: fc.constant('digest' as const),
    digest: u64,
    slice: fc.option(slice, { nil: undefined }),
  }),
)
const step = fc.oneof(fc.constant(0n), fc.bigInt({ min: 0n, max: 2n ** 58n }))
/** A log as records without positions, steps between them, and whether a batch ends behind each. */
const history = fc.array(fc.tuple(fields, step, fc.boolean()), { maxLength: 30 })

type History = readonly (readonly [Omit<NewRecord, 'position'>, bigint, boolean])[]

const START = { life: 3, nextIndex: 1_000_000n, position: 5_000_000_000n }

/** Encodes a history; returns the records as they should come back, and the bytes. */
function encode(entries: History): { records: LogRecord[]; bytes: Uint8Array; firstBatchBytes: number } {
  const encoder = new BatchEncoder(START)
  const records: LogRecord[] = []
  const batches: Uint8Array[] = []
  let position = START.position
  for (const [body, delta, last] of entries) {
    position += delta
    const record = { ...body, position } as NewRecord
    const index = encoder.append(record)
    records.push({ ...record, index } as LogRecord)
    if (last) batches.push(encoder.take()!)
  }
  batches.push(encoder.take() ?? new Uint8Array(0))
  return { records, bytes: Buffer.concat(batches), firstBatchBytes: batches[0]!.length }
}

function drain(decoder: BatchDecoder): LogBatch[] {
  const batches: LogBatch[] = []
  for (let batch = decoder.next(); batch !== undefined; batch = decoder.next()) batches.push(batch)
  return batches
}

function decode(bytes: Uint8Array): LogRecord[] {
  const decoder = new BatchDecoder('log', START)
  decoder.push(bytes)
  const batches = drain(decoder)
  decoder.finish()
  return batches.flatMap((batch) => batch.records)
}

/** One record of each kind, in two batches. */
const SAMPLE = encode([
  [
    { kind: 'clock', base: 10n, rate: 1n << 31n, cap: 100_010n, rtcOffsetNs: 1n << 60n } as NewRecord,
    5n,
    false,
  ],
  [{ kind: 'input', port: 2, bytes: Uint8Array.of(1, 2, 3) } as NewRecord, 1_000_000n, false],
  [{ kind: 'output', port: 300, ordinal: 9n, digest: 77n } as NewRecord, 0n, true],
  [{ kind: 'completion', request: 12, status: 'ok', digest: 1n << 63n } as NewRecord, 12n, false],
  [{ kind: 'control', operation: 'resize', argument: 5n } as NewRecord, 1n, false],
  [{ kind: 'reached' } as NewRecord, 1n << 40n, false],
  [{ kind: 'released', port: 300, ordinal: 9n } as NewRecord, 0n, false],
  [{ kind: 'digest', digest: 3n, slice: { firstPage: 7, pages: 9, digest: 4n } } as NewRecord, 0n, false],
])

test('any log comes back, however the stream was cut', () => {
  const cuts = fc.array(fc.nat(5000), { maxLength: 20 })
  fc.assert(
    fc.property(history, cuts, (entries, places) => {
      const { records, bytes } = encode(entries)
      const decoder = new BatchDecoder('log', START)
      const found: LogRecord[] = []
      let from = 0
      for (const to of [...places.map((place) => place % (bytes.length + 1)), bytes.length].sort(
        (a, b) => a - b,
      )) {
        decoder.push(bytes.subarray(from, to))
        found.push(...drain(decoder).flatMap((batch) => batch.records))
        from = to
      }
      decoder.finish()
      assert.deepEqual(found, records)
    }),
  )
})

test('any corruption of a single byte is refused with its place', () => {
  assert.deepEqual(decode(SAMPLE.bytes), SAMPLE.records)
  for (let at = 0; at < SAMPLE.bytes.length; at++) {
    for (const flip of [1, 0x80, 0xff, 0x55]) {
      const damaged = Uint8Array.from(SAMPLE.bytes)
      damaged[at]! ^= flip
      assert.throws(() => decode(damaged), /^FormatError: log: byte \d+: /, `byte ${at} flipped by ${flip}`)
    }
  }
})

test('a log cut off within a batch is refused, between batches it ends', () => {
  const boundary = SAMPLE.firstBatchBytes
  for (let length = 1; length < SAMPLE.bytes.length; length++) {
    const cut = SAMPLE.bytes.subarray(0, length)
    if (length === boundary) assert.deepEqual(decode(cut), SAMPLE.records.slice(0, 3))
    else
      assert.throws(
        () => decode(cut),
        new RegExp(`^FormatError: log: byte ${length}: cut off within the batch`),
      )
  }
})

test('batches before a fault are handed out, and the fault stays', () => {
  const damaged = Uint8Array.from(SAMPLE.bytes)
  damaged[damaged.length - 1]! ^= 1
  const decoder = new BatchDecoder('log')
  decoder.push(damaged)
  assert.deepEqual(decoder.next()!.records, SAMPLE.records.slice(0, 3))
  assert.throws(() => decoder.next(), FormatError)
  assert.throws(() => decoder.next(), FormatError)
  assert.throws(() => decoder.finish(), FormatError)
})

test('a batch that does not continue the one before is refused', () => {
  const batchOf = (life: number, nextIndex: bigint, position: bigint): Uint8Array => {
    const encoder = new BatchEncoder({ life, nextIndex, position })
    encoder.append({ kind: 'reached', position: position + 10n })
    return encoder.take()!
  }
  const follow = (next: Uint8Array): void => {
    const decoder = new BatchDecoder('log')
    decoder.push(batchOf(1, 5n, 100n))
    decoder.push(next)
    assert.equal(drain(decoder).length, 2)
    assert.deepEqual(decoder.place, { life: 1, nextIndex: 7n, position: 120n })
  }
  follow(batchOf(1, 6n, 110n))
  assert.throws(() => follow(batchOf(2, 6n, 110n)), /byte 46: a batch of life 2 in life 1/)
  assert.throws(() => follow(batchOf(1, 5n, 110n)), /starts at index 5 instead of 6/)
  assert.throws(() => follow(batchOf(1, 7n, 110n)), /starts at index 7 instead of 6/)
  assert.throws(() => follow(batchOf(1, 6n, 109n)), /position 109 behind position 110/)
})

test('a full batch holds the longest input and says that it is full in time', () => {
  const encoder = new BatchEncoder(START)
  const bytes = new Uint8Array(MAX_INPUT_BYTES)
  let records = 0
  for (; !encoder.full; records++) {
    encoder.append({ kind: 'input', port: 0xffff, bytes, position: 2n ** 64n - 1n })
  }
  assert.equal(records, 3)
  assert.ok(encoder.payloadBytes <= MAX_PAYLOAD_BYTES)
  assert.throws(() => encoder.append({ kind: 'reached', position: 2n ** 64n - 1n }), /full batch/)
  assert.equal(decode(encoder.take()!).length, 3)
})

test('an idle machine costs a few bytes for each clock record', () => {
  const encoder = new BatchEncoder(START)
  for (let i = 1; i <= 1000; i++) {
    // A jump of 100 ms at 10 MHz, then the guest works for some ten thousand steps.
    const base = BigInt(i) * 1_000_000n
    encoder.append({
      kind: 'clock',
      position: START.position + BigInt(i) * 30_000n,
      base,
      rate: 42_949_673n,
      cap: base + 100_000n,
      rtcOffsetNs: 1_700_000_000_000_000_000n,
    })
  }
  assert.ok(encoder.payloadBytes < 11 * 1000, `${encoder.payloadBytes} bytes`)
})

test('records out of order and lives out of range are our own mistakes', () => {
  const encoder = new BatchEncoder(START)
  assert.throws(() => encoder.append({ kind: 'reached', position: START.position - 1n }), /AssertionError/)
  assert.throws(() => new BatchEncoder({ ...START, life: 2 ** 32 }), /not a life/)
})

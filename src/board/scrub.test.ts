import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CorruptionError } from '../base/errors.ts'
import { nodeEngine } from '../host/engine.ts'
import { BatchDecoder } from '../log/batch.ts'
import type { DigestRecord, LogRecord } from '../log/record.ts'
import type { Computer } from './computer.ts'
import { Recorder } from './recorder.ts'
import { type Divergence, Replayer } from './replayer.ts'
import { SCRUB_DIGESTS, Scrubber, scrub } from './scrub.ts'
import { smallComputer } from './testing/small_computer.ts'

/** Counts in s0 and in a page of its own. */
const SOURCE = `
    la s1, page
  loop: addi s0, s0, 1; sd s0, 0(s1); j loop
    .align 12
  page: .zero 4096`
const PLACE = { life: 1, nextIndex: 0n, position: 0n }
const RAM_BASE = 0x8000_0000
/** The kernel's first page, in which nothing is written once it has been loaded. */
const KERNEL_OFFSET = 0x20_0000

/** Changes a byte of RAM behind the machine's back. */
const flip = (computer: Computer, offset: number): void => {
  computer.machine.ram.bytes[offset]! ^= 1
}

interface Recorded {
  readonly records: readonly LogRecord[]
  readonly failure: unknown
}

/** Records digests for a whole scrub period, or until one fails, with a change after the third. */
function record(change: (computer: Computer) => void): Recorded {
  const computer = smallComputer(nodeEngine, SOURCE)
  const recorder = new Recorder(computer, PLACE)
  let failure: unknown
  for (let count = 0; count < SCRUB_DIGESTS && failure === undefined; count++) {
    computer.run(computer.position + 100n)
    if (count === 3) change(computer)
    try {
      recorder.recordDigest()
    } catch (error) {
      failure = error
    }
  }
  const decoder = new BatchDecoder('recording', PLACE)
  decoder.push(recorder.takeBatch()!)
  return { records: decoder.next()!.records, failure }
}

/** Replays, with a change after the third record. */
function replayWith(
  records: readonly LogRecord[],
  change: (computer: Computer) => void,
): Divergence | undefined {
  const computer = smallComputer(nodeEngine, SOURCE)
  const replayer = new Replayer(computer)
  for (const [count, entry] of records.entries()) {
    assert.equal(replayer.advance(entry.position, entry.index, 10_000n), true)
    if (count === 3) change(computer)
    const divergence = replayer.apply(entry)
    if (divergence !== undefined) return divergence
  }
  return undefined
}

const nothing = (): void => {}

test('the slices of one scrub period are all of RAM, once', () => {
  const { records, failure } = record(nothing)
  assert.equal(failure, undefined)
  let next = 0
  for (const { slice } of records as DigestRecord[]) {
    assert.equal(slice?.firstPage, next)
    next += slice.pages
  }
  assert.equal(next, (64 * 2 ** 20) / 4096)
  assert.equal(replayWith(records, nothing), undefined)
})

test('a byte that changes behind the back of the recorded machine stops it, with the name of its page', () => {
  const { records, failure } = record((computer) => flip(computer, KERNEL_OFFSET + 5))
  assert.ok(failure instanceof CorruptionError)
  assert.match(
    failure.message,
    /^page 0x80200000 of the guest's RAM has changed without having been written, /,
  )
  const divergence = replayWith(records, nothing)
  assert.equal(divergence?.index, BigInt(records.length - 1))
  assert.match(divergence.what, /^RAM from 0x80200000 to 0x80280000, changed in the recording without/)
})

test('a byte that changes behind the back of a replay is found, with the name of its page', () => {
  const { records } = record(nothing)
  const divergence = replayWith(records, (computer) => flip(computer, KERNEL_OFFSET + 7))
  assert.match(divergence!.what, /^page 0x80200000, changed in the replay without having been written$/)
  assert.notEqual(divergence?.recorded, divergence?.replayed)
})

test('what a machine writes, or a device, is no such change, dirty or not', () => {
  const computer = smallComputer(nodeEngine, SOURCE)
  const { ram } = computer.machine
  for (let count = 0; count < 3; count++) {
    computer.run(computer.position + 100n)
    ram.write(RAM_BASE + 0x30_0000, Uint8Array.of(count))
    if (count > 0) ram.hash()
    assert.equal(scrub(ram, 0, computer.machine.layout.ramPages).changed, undefined)
  }
})

test('the digest of a slice is the same for a machine that has only just been restored', () => {
  const [warm, cold] = [0, 1].map(() => smallComputer(nodeEngine, SOURCE))
  warm!.machine.ram.write(RAM_BASE + 0x30_0000, Uint8Array.of(1))
  warm!.machine.ram.hash()
  warm!.machine.ram.write(RAM_BASE + 0x30_0000, Uint8Array.of(0))
  const { ramPages } = warm!.machine.layout
  const scrubbers = [warm!, cold!].map(({ machine }) => new Scrubber(machine.ram, ramPages))
  for (let count = 0; count < SCRUB_DIGESTS; count++)
    assert.deepEqual(scrubbers[0]!.next(), scrubbers[1]!.next())
})

test('a slice that is not there is refused', () => {
  const [first] = record(nothing).records as [DigestRecord]
  for (const [firstPage, pages] of [
    [0, 0],
    [16384, 1],
    [2 ** 32 - 1, 2],
  ] as const) {
    const slice = { firstPage, pages, digest: 0n }
    assert.throws(() => replayWith([{ ...first, slice }], nothing), { name: 'FormatError' })
  }
})

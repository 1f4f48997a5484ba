import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../host/engine.ts'
import { BatchDecoder } from '../log/batch.ts'
import type { LogRecord } from '../log/record.ts'
import type { Computer } from './computer.ts'
import { UART } from './memory_map.ts'
import { Recorder } from './recorder.ts'
import { type Divergence, Replayer } from './replayer.ts'
import { smallComputer } from './testing/small_computer.ts'
import { compareWithWitness, type Witness, witnessedDigest } from './witness.ts'

/** Counts in s0 and in a page of its own. */
const SOURCE = `
    la s1, page
  loop: addi s0, s0, 1; sd s0, 0(s1); j loop
    .align 12
  page: .zero 4096`
/** A page that the program does not know. */
const OTHER_PAGE = 0x8340_0000
const PLACE = { life: 1, nextIndex: 0n, position: 0n }

/** A recording of the program with digests at two positions, and the witness of the second. */
function record(): { records: readonly LogRecord[]; witness: Witness } {
  const computer = smallComputer(nodeEngine, SOURCE)
  const hashes = new BigUint64Array(computer.machine.layout.ramPages)
  let witness: Witness | undefined
  const recorder = new Recorder(computer, PLACE, ({ state }) => {
    const { ram } = computer.machine
    for (const page of ram.pagesUnlike(hashes)) hashes[page] = ram.pageHash(page)
    witness = { state, hashes }
  })
  for (const position of [1000n, 2000n]) {
    computer.run(position)
    recorder.recordDigest()
  }
  const decoder = new BatchDecoder('recording', PLACE)
  decoder.push(recorder.takeBatch()!)
  return { records: decoder.next()!.records, witness: witness! }
}

/** Replays the recording and changes something between the digests. */
function replayWith(change: (computer: Computer) => void): { divergence: Divergence; computer: Computer } {
  const computer = smallComputer(nodeEngine, SOURCE)
  const replayer = new Replayer(computer)
  for (const entry of RECORDING.records) {
    assert.equal(replayer.advance(entry.position, entry.index, 10_000n), true)
    const divergence = replayer.apply(entry)
    if (divergence !== undefined) return { divergence, computer }
    change(computer)
  }
  throw new assert.AssertionError({ message: 'no divergence' })
}

const RECORDING = record()

test('a witness gives the digest that was recorded with it', () => {
  const last = RECORDING.records.at(-1)
  assert.ok(last?.kind === 'digest')
  assert.equal(witnessedDigest(RECORDING.witness), last.digest)
})

test('a register that differs is named with both values, and since when', () => {
  const { divergence, computer } = replayWith(({ machine }) => machine.harts[0]!.setX(28, 0xabcn))
  assert.deepEqual([divergence.equalAt, divergence.position], [1000n, 2000n])
  assert.deepEqual(compareWithWitness(computer, RECORDING.witness), {
    field: { path: 'computer.hart0.x28', recorded: '0x0', replayed: '0xabc' },
    page: undefined,
    pages: 0,
  })
})

test('a field of a device that differs is named', () => {
  const scratch = UART.address + 7
  const { computer } = replayWith(({ machine }) => machine.bus.store(scratch, 1, 0x5an))
  const { field, pages } = compareWithWitness(computer, RECORDING.witness)
  assert.deepEqual(field, { path: 'computer.uart0.scratch', recorded: '0x0', replayed: '0x5a' })
  assert.equal(pages, 0)
})

test('a byte of RAM that differs is named by its page', () => {
  const { computer } = replayWith(({ machine }) => {
    machine.ram.write(OTHER_PAGE + 0x1000 + 5, Uint8Array.of(1))
    machine.ram.write(OTHER_PAGE + 5, Uint8Array.of(1))
  })
  const { field, page, pages } = compareWithWitness(computer, RECORDING.witness)
  assert.equal(field, undefined)
  assert.deepEqual([page?.address, page?.recorded, pages], [OTHER_PAGE, '0'.repeat(16), 2])
  assert.notEqual(page?.replayed, page?.recorded)
})

test('a register that has gone wrong is named together with the page that it spoiled', () => {
  const { computer } = replayWith(({ machine }) => machine.harts[0]!.setX(8, 7n))
  const { field, page, pages } = compareWithWitness(computer, RECORDING.witness)
  assert.equal(field?.path, 'computer.hart0.x8')
  assert.equal(BigInt(page!.address) & ~0xfffn, computer.machine.harts[0]!.x(9))
  assert.equal(pages, 1)
})

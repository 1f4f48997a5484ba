import assert from 'node:assert/strict'
import { beforeEach, describe, test } from 'node:test'
import { startDevice, type TestDescriptor, type TestQueue, takeInterrupts, WRITE } from './testing/driver.ts'
import { RAM_BASE, TestRam } from './testing/ram.ts'
import { restore, stateOf } from './testing/state.ts'
import { type DiskRequest, VirtioBlock } from './virtio_block.ts'
import { VirtioMmio } from './virtio_mmio.ts'

const VERSION_1 = 32
const INDIRECT_FEATURE = 28
const ALL = [VERSION_1, INDIRECT_FEATURE, 1, 2, 6, 9, 13, 14]
const SECTORS = 1000
const HEADER = RAM_BASE + 0x2_0000
const DATA = RAM_BASE + 0x3_0000
const STATUS = RAM_BASE + 0x2_1000
const UNTOUCHED = 0xee

const TYPE = { in: 0, out: 1, flush: 4, id: 8, discard: 11, zeroes: 13 }

let ram: TestRam
let submitted: DiskRequest[]
let block: VirtioBlock
let device: VirtioMmio
let queue: TestQueue

function build(memory: TestRam, requests: DiskRequest[]): [VirtioBlock, VirtioMmio] {
  const disk = new VirtioBlock({ sectors: SECTORS, serial: 'disk-1', submit: (r) => requests.push(r) })
  return [disk, new VirtioMmio({ name: 'disk0', memory, line: () => {}, function: disk })]
}

beforeEach(() => {
  ram = new TestRam(0x100_0000)
  submitted = []
  ;[block, device] = build(ram, submitted)
  queue = startDevice(ram, device, ALL, [256])[0]!
})

/** Offers a request whose chain starts at descriptor `head`, without notifying. */
function offer(head: number, type: number, sector: number | bigint, data: readonly TestDescriptor[]): void {
  const header = HEADER + 32 * head
  ram.store32(header, type)
  ram.store64(header + 8, BigInt(sector))
  ram.write(STATUS + head, Uint8Array.of(UNTOUCHED))
  queue.chain(head, [
    { address: header, length: 16 },
    ...data,
    { address: STATUS + head, length: 1, flags: WRITE },
  ])
  queue.offer(head)
}

function request(type: number, sector: number | bigint, data: readonly TestDescriptor[] = []): void {
  offer(0, type, sector, data)
  queue.notify()
}

const status = (head = 0) => ram.read(STATUS + head, 1)[0]

/** Ranges of discard and write-zeroes: sector, sectors, flags. */
function ranges(...list: [number | bigint, number, number][]): TestDescriptor[] {
  list.forEach(([sector, sectors, flags], index) => {
    ram.store64(DATA + 16 * index, BigInt(sector))
    ram.store32(DATA + 16 * index + 8, sectors)
    ram.store32(DATA + 16 * index + 12, flags)
  })
  return [{ address: DATA, length: 16 * list.length }]
}

test('a read fills the buffers when its data come', () => {
  request(TYPE.in, 7, [
    { address: DATA, length: 512, flags: WRITE },
    { address: DATA + 0x1000, length: 512, flags: WRITE },
  ])
  assert.deepEqual(submitted, [{ id: 0, kind: 'read', sector: 7, sectors: 2 }])
  assert.equal(status(), UNTOUCHED)
  assert.deepEqual(queue.collect(), [])
  const data = Uint8Array.from({ length: 1024 }, (_, index) => index % 251)
  assert.equal(block.complete(0, 'ok', data), true)
  assert.deepEqual(ram.read(DATA, 512), data.slice(0, 512))
  assert.deepEqual(ram.read(DATA + 0x1000, 512), data.slice(512))
  assert.equal(status(), 0)
  assert.deepEqual(queue.collect(), [[0, 1025]])
  assert.equal(takeInterrupts(device), 1)
})

test('a write carries the data as they were when it was submitted', () => {
  ram.bytes.fill(0x5a, 0x3_0000, 0x3_0400)
  request(TYPE.out, 998, [{ address: DATA, length: 1024 }])
  ram.bytes.fill(0, 0x3_0000, 0x3_0400)
  const data = new Uint8Array(1024).fill(0x5a)
  assert.deepEqual(submitted, [{ id: 0, kind: 'write', sector: 998, sectors: 2, data }])
  block.complete(0, 'ok')
  assert.equal(status(), 0)
  assert.deepEqual(queue.collect(), [[0, 1]])
})

test('a request whose header and status share segments with the data works', () => {
  ram.store32(DATA, TYPE.in)
  ram.store64(DATA + 8, 3n)
  queue.chain(4, [
    { address: DATA, length: 5 },
    { address: DATA + 5, length: 11 },
    { address: DATA + 0x100, length: 513, flags: WRITE },
  ])
  queue.offer(4)
  queue.notify()
  block.complete(0, 'ok', new Uint8Array(512).fill(9))
  assert.deepEqual([ram.read(DATA + 0x100, 512)[511], ram.read(DATA + 0x300, 1)[0]], [9, 0])
  assert.deepEqual(queue.collect(), [[4, 513]])
})

test('requests complete in any order, with ids that count up', () => {
  offer(0, TYPE.flush, 0, [])
  offer(4, TYPE.in, 0, [{ address: DATA, length: 512, flags: WRITE }])
  queue.notify()
  assert.deepEqual(block.inFlight(), submitted)
  assert.equal(block.complete(1, 'ok', new Uint8Array(512)), true)
  assert.equal(block.complete(0, 'ok'), true)
  assert.deepEqual(queue.collect(), [
    [4, 513],
    [0, 1],
  ])
  assert.equal(block.complete(0, 'ok'), false, 'unknown by now')
  assert.deepEqual(block.inFlight(), [])
})

test('a disk error becomes an I/O error of the guest', () => {
  request(TYPE.in, 0, [{ address: DATA, length: 512, flags: WRITE }])
  block.complete(0, 'error')
  assert.equal(status(), 1)
  assert.deepEqual(queue.collect(), [[0, 0]])
})

test('GET_ID is answered at once, padded with zeroes', () => {
  request(TYPE.id, 0, [{ address: DATA, length: 20, flags: WRITE }])
  assert.equal(String.fromCharCode(...ram.read(DATA, 7)), 'disk-1\0')
  assert.equal(status(), 0)
  assert.deepEqual(queue.collect(), [[0, 21]])
  assert.deepEqual(submitted, [])
})

test('several ranges become several disk requests, and one failure fails them all', () => {
  request(TYPE.discard, 0, ranges([0, 8, 0], [16, 984, 0]))
  request(TYPE.zeroes, 0, ranges([1, 1, 1]))
  assert.deepEqual(submitted, [
    { id: 0, kind: 'discard', sector: 0, sectors: 8 },
    { id: 1, kind: 'discard', sector: 16, sectors: 984 },
    { id: 2, kind: 'zeroes', sector: 1, sectors: 1 },
  ])
  block.complete(0, 'error')
  assert.deepEqual(queue.collect(), [])
  block.complete(1, 'ok')
  assert.equal(status(), 1)
  block.complete(2, 'ok')
  assert.equal(status(), 0)
})

test('the configuration names capacity and limits', () => {
  const config = new DataView(block.config().buffer)
  assert.equal(config.getBigUint64(0, true), 1000n)
  assert.deepEqual([config.getUint32(8, true), config.getUint32(12, true)], [65536, 126])
  assert.equal(config.getUint32(20, true), 512)
  assert.equal(device.read(0x138, 1), 1, 'write-zeroes may unmap')
})

describe('bad requests are answered:', () => {
  const data = (length: number, flags = 0) => [{ address: DATA, length, flags }]
  const bad: [string, number, () => void][] = [
    ['a read past the end', 1, () => request(TYPE.in, 999, data(1024, WRITE))],
    ['a read at a sector near 2^64', 1, () => request(TYPE.in, 2n ** 64n - 1n, data(512, WRITE))],
    ['a read of part of a sector', 1, () => request(TYPE.in, 0, data(100, WRITE))],
    ['a read of nothing', 1, () => request(TYPE.in, 0)],
    ['a write past the end', 1, () => request(TYPE.out, 1000, data(512))],
    ['a write of nothing', 1, () => request(TYPE.out, 0)],
    ['a write of part of a sector', 1, () => request(TYPE.out, 0, data(511))],
    ['a write longer than a request may be', 1, () => request(TYPE.out, 0, data(0x80_0000))],
    ['an id into too little room', 1, () => request(TYPE.id, 0, data(19, WRITE))],
    ['an unknown type', 2, () => request(99, 0, data(512))],
    ['a discard of no range', 1, () => request(TYPE.discard, 0)],
    ['a discard of half a range', 1, () => request(TYPE.discard, 0, data(8))],
    ['a discard of too many ranges', 1, () => request(TYPE.discard, 0, data(16 * 17))],
    ['a discard past the end', 1, () => request(TYPE.discard, 0, ranges([0, 1, 0], [999, 2, 0]))],
    ['a discard of no sectors', 1, () => request(TYPE.discard, 0, ranges([0, 0, 0]))],
    ['a discard with the unmap flag', 2, () => request(TYPE.discard, 0, ranges([0, 1, 1]))],
    ['write-zeroes with an unknown flag', 2, () => request(TYPE.zeroes, 0, ranges([0, 1, 0x8000_0000]))],
    ['write-zeroes at a sector near 2^64', 1, () => request(TYPE.zeroes, 0, ranges([2n ** 64n - 1n, 1, 0]))],
  ]
  for (const [name, expected, send] of bad) {
    test(name, () => {
      send()
      assert.equal(status(), expected)
      assert.deepEqual(submitted, [])
      assert.equal(queue.collect().length, 1)
      assert.equal(device.read(0x070, 4) & 0x40, 0)
    })
  }

  test('a header that is too short', () => {
    queue.chain(0, [
      { address: HEADER, length: 15 },
      { address: STATUS, length: 1, flags: WRITE },
    ])
    queue.offer(0)
    queue.notify()
    assert.equal(status(), 1)
  })

  test('what was not negotiated', () => {
    queue = startDevice(ram, device, [VERSION_1], [256])[0]!
    for (const type of [TYPE.flush, TYPE.discard, TYPE.zeroes]) {
      request(type, 0, ranges([0, 1, 0]))
      assert.equal(status(), 2)
    }
  })

  test('but a chain without room for a status breaks the device', () => {
    queue.chain(0, [{ address: HEADER, length: 16 }])
    queue.offer(0)
    queue.notify()
    assert.equal(device.read(0x070, 4) & 0x40, 0x40)
  })
})

test('a completion that does not fit its request is a bug of the outside', () => {
  request(TYPE.in, 0, [{ address: DATA, length: 512, flags: WRITE }])
  assert.throws(() => block.complete(0, 'ok', new Uint8Array(511)), /511 bytes, not 512/)
  assert.throws(() => block.complete(0, 'ok'), /not 512/)
  assert.throws(() => block.complete(0, 'error', new Uint8Array(512)), /not 0/)
})

test('after a reset, late completions are ignored and touch nothing', () => {
  request(TYPE.in, 0, [{ address: DATA, length: 512, flags: WRITE }])
  ram.store32(queue.available, 0)
  queue = startDevice(ram, device, ALL, [256])[0]!
  request(TYPE.in, 1, [{ address: DATA, length: 512, flags: WRITE }])
  const before = ram.bytes.slice()
  assert.equal(block.complete(0, 'ok', new Uint8Array(512).fill(1)), false)
  assert.deepEqual(ram.bytes, before)
  assert.deepEqual(block.inFlight(), [{ id: 1, kind: 'read', sector: 1, sectors: 1 }])
})

test('a broken or stopped device takes completions but writes nothing', () => {
  for (const stop of [() => queue.offer(256), () => device.write(0x044, 4, 0)]) {
    ram.store32(queue.available, 0)
    queue = startDevice(ram, device, ALL, [256])[0]!
    request(TYPE.in, 0, [{ address: DATA, length: 512, flags: WRITE }])
    stop()
    queue.notify()
    const before = ram.bytes.slice()
    const { id } = submitted.at(-1)!
    assert.equal(block.complete(id, 'ok', new Uint8Array(512).fill(1)), true)
    assert.deepEqual(ram.bytes, before)
  }
})

test('no more is taken than the bytes in flight allow, and the rest follows as they complete', () => {
  const size = 0x8_0000
  ram = new TestRam(0x100_0000)
  const wide = new VirtioBlock({ sectors: 100_000, serial: '', submit: (r) => submitted.push(r) })
  device = new VirtioMmio({ name: 'disk0', memory: ram, line: () => {}, function: wide })
  queue = startDevice(ram, device, ALL, [256])[0]!
  for (let index = 0; index < 40; index++) offer(4 * index, TYPE.out, 0, [{ address: DATA, length: size }])
  queue.notify()
  assert.equal(submitted.length, 32)
  wide.complete(5, 'ok')
  assert.equal(submitted.length, 33)
  for (let id = 0; id < 40; id++) wide.complete(id, 'ok')
  assert.equal(queue.collect().length, 40)
})

test('a restored device has the same requests in flight and completes them alike', () => {
  offer(0, TYPE.in, 5, [{ address: DATA, length: 512, flags: WRITE }])
  offer(4, TYPE.out, 6, [{ address: DATA, length: 512 }])
  offer(8, TYPE.discard, 0, ranges([0, 8, 0], [8, 8, 0]))
  queue.notify()
  block.complete(2, 'error')
  const memory = new TestRam(ram.bytes.length)
  memory.bytes.set(ram.bytes)
  const [copy, copyDevice] = build(memory, [])
  restore(copyDevice, stateOf(device))
  assert.deepEqual(copy.inFlight(), block.inFlight())
  assert.deepEqual(
    copy.inFlight().map(({ id }) => id),
    [0, 1, 3],
  )
  for (const disk of [block, copy]) {
    disk.complete(3, 'ok')
    disk.complete(0, 'ok', new Uint8Array(512).fill(3))
    disk.complete(1, 'ok')
  }
  assert.deepEqual(memory.bytes, ram.bytes)
  assert.deepEqual(stateOf(copyDevice), stateOf(device))
  assert.deepEqual(queue.collect(), [
    [8, 1],
    [0, 513],
    [4, 1],
  ])
})

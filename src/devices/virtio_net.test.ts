import assert from 'node:assert/strict'
import { beforeEach, test } from 'node:test'
import { startDevice, type TestQueue, takeInterrupts, WRITE } from './testing/driver.ts'
import { RAM_BASE, TestRam } from './testing/ram.ts'
import { restore, stateOf } from './testing/state.ts'
import { VirtioMmio } from './virtio_mmio.ts'
import { RECEIVE_BACKLOG_MAX, VirtioNet } from './virtio_net.ts'

const VERSION_1 = 32
const MERGEABLE = 15
const SIZE = 8
const DATA = RAM_BASE + 0x2_0000
const MAC = Uint8Array.of(0x52, 0x54, 0, 1, 2, 3)

let ram: TestRam
let sent: Uint8Array[]
let net: VirtioNet
let device: VirtioMmio
let receive: TestQueue
let transmit: TestQueue

function build(memory: TestRam, frames: Uint8Array[], mtu?: number): [VirtioNet, VirtioMmio] {
  const options = { mac: MAC, transmit: (frame: Uint8Array) => frames.push(frame) }
  const card = new VirtioNet(mtu === undefined ? options : { ...options, mtu })
  return [card, new VirtioMmio({ name: 'net0', memory, line: () => {}, function: card })]
}

function start(features: readonly number[]): void {
  const queues = startDevice(ram, device, features, [SIZE, SIZE])
  receive = queues[0]!
  transmit = queues[1]!
}

beforeEach(() => {
  ram = new TestRam(0x10_0000)
  sent = []
  ;[net, device] = build(ram, sent)
  start([VERSION_1, MERGEABLE])
})

const frame = (length: number, seed = 1) =>
  Uint8Array.from({ length }, (_, index) => (index * 7 + seed) & 0xff)

function offerBuffer(head: number, length: number): void {
  receive.chain(head, [{ address: DATA + 0x1000 * head, length, flags: WRITE }])
  receive.offer(head)
}

function send(length: number): void {
  ram.write(DATA + 12, frame(Math.min(length, 0x2_0000)))
  transmit.chain(0, [
    { address: DATA, length: 12 },
    { address: DATA + 12, length },
  ])
  transmit.offer(0)
  transmit.notify()
}

test('a frame is transmitted without its header, however it is cut', () => {
  send(60)
  ram.write(DATA + 12, frame(60))
  transmit.chain(0, [
    { address: DATA, length: 20 },
    { address: DATA + 20, length: 52 },
  ])
  transmit.offer(0)
  transmit.notify()
  assert.deepEqual(sent, [frame(60), frame(60)])
  assert.deepEqual(transmit.collect(), [
    [0, 0],
    [0, 0],
  ])
  assert.equal(takeInterrupts(device), 1)
})

test('runts, giants and frames without a cable are given back and not sent', () => {
  for (const length of [1, 13, 64 * 1024 + 1]) send(length)
  transmit.chain(0, [{ address: DATA, length: 3 }])
  transmit.offer(0)
  transmit.notify()
  net.setLink(false)
  send(60)
  assert.equal(sent.length, 0)
  assert.equal(transmit.collect().length, 5)
  net.setLink(true)
  send(64 * 1024)
  assert.deepEqual(
    sent.map(({ length }) => length),
    [64 * 1024],
  )
})

test('a received frame fills one buffer, behind a header that says so', () => {
  offerBuffer(0, 1600)
  net.receive(frame(100))
  assert.deepEqual(receive.collect(), [[0, 112]])
  assert.deepEqual([...ram.read(DATA, 12)], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0])
  assert.deepEqual(ram.read(DATA + 12, 100), frame(100))
})

test('a frame is merged over as many buffers as it needs, all visible at once', () => {
  offerBuffer(0, 50)
  offerBuffer(1, 50)
  net.receive(frame(100))
  assert.deepEqual(receive.collect(), [], 'not while a part has no room')
  assert.equal(ram.load16(receive.used + 2), 0)
  offerBuffer(2, 50)
  receive.notify()
  assert.deepEqual(receive.collect(), [
    [0, 50],
    [1, 50],
    [2, 12],
  ])
  assert.equal(ram.read(DATA + 10, 1)[0], 3)
  const got = [...ram.read(DATA + 12, 38), ...ram.read(DATA + 0x1000, 50), ...ram.read(DATA + 0x2000, 12)]
  assert.deepEqual(got, [...frame(100)])
})

test('without mergeable buffers a frame that does not fit is dropped, and the buffer stays', () => {
  start([VERSION_1])
  offerBuffer(0, 100)
  net.receive(frame(100))
  assert.equal(net.dropped, 1)
  net.receive(frame(88))
  assert.deepEqual(receive.collect(), [[0, 100]])
})

test('frames wait for buffers in order, and beyond the backlog are dropped and counted', () => {
  for (let index = 0; index < RECEIVE_BACKLOG_MAX + 3; index++) net.receive(frame(20, index))
  assert.equal(net.dropped, 3)
  offerBuffer(0, 100)
  offerBuffer(1, 100)
  receive.notify()
  assert.deepEqual(ram.read(DATA + 12, 20), frame(20, 0))
  assert.deepEqual(ram.read(DATA + 0x1000 + 12, 20), frame(20, 1))
})

test('frames of an impossible length, without a cable or without a driver are dropped', () => {
  offerBuffer(0, 100)
  net.receive(frame(13))
  net.receive(frame(64 * 1024 + 1))
  net.setLink(false)
  net.receive(frame(20))
  net.setLink(true)
  assert.equal(net.dropped, 3)
  device.write(0x070, 4, 0)
  net.receive(frame(20))
  assert.equal(net.dropped, 1)
  assert.deepEqual(receive.collect(), [])
})

test('the configuration carries address, link and, if asked for, MTU', () => {
  assert.deepEqual([...net.config()], [...MAC, 1, 0, 1, 0, 0, 0])
  takeInterrupts(device)
  net.setLink(false)
  assert.equal(takeInterrupts(device), 2)
  assert.equal(device.read(0x106, 2), 0)
  assert.equal(net.features & 8n, 0n)
  const [jumbo] = build(ram, [], 9000)
  assert.equal(jumbo.features & 8n, 8n)
  assert.equal(new DataView(jumbo.config().buffer).getUint16(10, true), 9000)
})

test('buffers without any room leave the frame waiting', () => {
  for (let head = 0; head < SIZE; head++) {
    receive.chain(head, [{ address: DATA, length: 4 }])
    receive.offer(head)
  }
  net.receive(frame(20))
  assert.deepEqual(receive.collect(), [])
})

test('a restored card has the same frames waiting', () => {
  net.receive(frame(20, 5))
  net.receive(frame(30, 6))
  net.setLink(false)
  const memory = new TestRam(ram.bytes.length)
  const [copy, copyDevice] = build(memory, [])
  memory.bytes.set(ram.bytes)
  restore(copyDevice, stateOf(device))
  const copyQueue = Object.assign(Object.create(Object.getPrototypeOf(receive)), receive, {
    ram: memory,
    device: copyDevice,
  })
  receive = copyQueue
  offerBuffer(0, 100)
  copyQueue.notify()
  assert.deepEqual(memory.read(DATA + 12, 20), frame(20, 5))
  assert.equal(copy.config()[6], 0)
})

import assert from 'node:assert/strict'
import { beforeEach, test } from 'node:test'
import { INPUT_BACKLOG_MAX } from './backlog.ts'
import { startDevice, type TestQueue, takeInterrupts, WRITE } from './testing/driver.ts'
import { RAM_BASE, TestRam } from './testing/ram.ts'
import { restore, stateOf } from './testing/state.ts'
import { CONSOLE_OUTPUT_MAX, VirtioConsole } from './virtio_console.ts'
import { VirtioMmio } from './virtio_mmio.ts'

const DATA = RAM_BASE + 0x2_0000
const text = (letters: string) => Uint8Array.from(letters, (letter) => letter.charCodeAt(0))

let ram: TestRam
let printed: string
let terminal: VirtioConsole
let device: VirtioMmio
let receive: TestQueue
let transmit: TestQueue

function build(memory: TestRam): [VirtioConsole, VirtioMmio] {
  const port = new VirtioConsole({
    transmit: (bytes) => {
      printed += String.fromCharCode(...bytes)
    },
  })
  return [port, new VirtioMmio({ name: 'console0', memory, line: () => {}, function: port })]
}

beforeEach(() => {
  ram = new TestRam(0x10_0000)
  printed = ''
  ;[terminal, device] = build(ram)
  const queues = startDevice(ram, device, [32, 0], [8, 8])
  receive = queues[0]!
  transmit = queues[1]!
})

function offerBuffer(head: number, length: number): void {
  receive.chain(head, [{ address: DATA + 0x1000 * head, length, flags: WRITE }])
  receive.offer(head)
}

test('what the guest prints comes out in order', () => {
  ram.write(DATA, text('hello world'))
  transmit.chain(0, [
    { address: DATA, length: 6 },
    { address: DATA + 6, length: 5 },
  ])
  transmit.chain(4, [{ address: DATA, length: 0 }])
  for (const head of [0, 4]) transmit.offer(head)
  transmit.notify()
  assert.equal(printed, 'hello world')
  assert.deepEqual(transmit.collect(), [
    [0, 0],
    [4, 0],
  ])
})

test('input goes into the buffers that there are, and the rest waits', () => {
  offerBuffer(0, 3)
  assert.equal(terminal.receive(text('abcde')), 0)
  assert.deepEqual(receive.collect(), [[0, 3]])
  offerBuffer(1, 10)
  receive.notify()
  assert.deepEqual(receive.collect(), [[1, 2]])
  assert.deepEqual(ram.read(DATA + 0x1000, 2), text('de'))
})

test('input beyond the backlog is dropped and counted', () => {
  assert.equal(terminal.receive(new Uint8Array(INPUT_BACKLOG_MAX + 7)), 7)
  assert.equal(terminal.receive(text('x')), 1)
})

test('input that comes before the driver is up waits for it', () => {
  const [port, early] = build(ram)
  port.receive(text('early'))
  ram.store32(receive.available, 0)
  offerBuffer(0, 10)
  early.write(0x024, 4, 1)
  early.write(0x020, 4, 1)
  early.write(0x070, 4, 0x0b)
  early.write(0x038, 4, 8)
  early.write(0x080, 4, receive.descriptors)
  early.write(0x090, 4, receive.available)
  early.write(0x0a0, 4, receive.used)
  early.write(0x044, 4, 1)
  early.write(0x070, 4, 0x0f)
  assert.deepEqual(ram.read(DATA, 5), text('early'))
})

test('a new size changes the configuration and interrupts', () => {
  terminal.resize(80, 24)
  assert.equal(takeInterrupts(device), 0)
  terminal.resize(132, 50)
  assert.equal(takeInterrupts(device), 2)
  assert.deepEqual([device.read(0x100, 2), device.read(0x102, 2)], [132, 50])
})

test('output that is too long, or an input buffer without room, breaks the device', () => {
  transmit.chain(0, [
    { address: DATA, length: CONSOLE_OUTPUT_MAX },
    { address: DATA, length: 1 },
  ])
  transmit.offer(0)
  transmit.notify()
  assert.equal(device.read(0x070, 4) & 0x40, 0x40)
  assert.equal(printed, '')
  ram.store32(transmit.available, 0)
  receive = startDevice(ram, device, [32], [8, 8])[0]!
  receive.chain(0, [{ address: DATA, length: 5 }])
  receive.offer(0)
  terminal.receive(text('x'))
  assert.equal(device.read(0x070, 4) & 0x40, 0x40)
})

test('a restored console has its size and its waiting input', () => {
  terminal.resize(100, 40)
  terminal.receive(text('waiting'))
  const [copy, copyDevice] = build(ram)
  restore(copyDevice, stateOf(device))
  offerBuffer(0, 100)
  copyDevice.write(0x050, 4, 0)
  assert.deepEqual(ram.read(DATA, 7), text('waiting'))
  assert.deepEqual([...copy.config().subarray(0, 4)], [100, 0, 40, 0])
})

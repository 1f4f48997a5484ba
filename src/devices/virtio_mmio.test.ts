import assert from 'node:assert/strict'
import { beforeEach, test } from 'node:test'
import { startDevice, takeInterrupts } from './testing/driver.ts'
import { TestRam } from './testing/ram.ts'
import { restore, stateOf } from './testing/state.ts'
import { FEATURE_VERSION_1, VirtioMmio, type VirtioTransport } from './virtio_mmio.ts'

/** A function that records what its transport tells it. */
class Recorder {
  readonly deviceId = 42
  readonly features = 0b101n
  readonly queueSizes = [16, 4]
  readonly calls: string[] = []
  transport!: VirtioTransport
  attach(transport: VirtioTransport): void {
    this.transport = transport
  }
  config(): Uint8Array {
    return Uint8Array.of(1, 2, 3, 4, 5)
  }
  notified(queue: number): void {
    this.calls.push(`notified ${queue}`)
  }
  reset(): void {
    this.calls.push('reset')
  }
  save(): void {}
  load(): void {}
}

let ram: TestRam
let recorder: Recorder
let device: VirtioMmio
let wire: boolean
const read = (offset: number) => device.read(offset, 4)
const write = (offset: number, value: number) => device.write(offset, 4, value)

beforeEach(() => {
  ram = new TestRam(0x2_0000)
  recorder = new Recorder()
  wire = false
  const line = (level: boolean) => {
    wire = level
  }
  device = new VirtioMmio({ name: 'virtio0', memory: ram, line, function: recorder })
})

test('identifies itself, its features and its queues', () => {
  assert.deepEqual([0, 4, 8].map(read), [0x7472_6976, 2, 42])
  assert.equal(read(0x10), 0x3000_0005)
  write(0x14, 1)
  assert.equal(read(0x10), 1)
  write(0x14, 2)
  assert.equal(read(0x10), 0)
  const sizes = [0, 1, 2, 0xffff_ffff].map((index) => {
    write(0x30, index)
    return read(0x34)
  })
  assert.deepEqual(sizes, [16, 4, 0, 0])
  assert.equal(read(0xb0), 0xffff_ffff, 'no shared memory')
})

test('the configuration space is read at any width and ends in zeroes', () => {
  assert.equal(device.read(0x100, 4), 0x0403_0201)
  assert.equal(device.read(0x102, 2), 0x0403)
  assert.equal(device.read(0x104, 4), 5)
  assert.equal(device.read(0x105, 1), 0)
  device.write(0x100, 1, 9)
  assert.equal(device.read(0x100, 1), 1)
  assert.equal(device.read(0x000, 1), 0, 'registers are 32 bits wide')
})

test('refuses features that it did not offer, and drivers without version 1', () => {
  for (const [low, high, expected] of [
    [0, 1, 0x0b],
    [2, 1, 3],
    [5, 0, 3],
    [5, 1, 0x0b],
    [0, 3, 3],
  ] as const) {
    write(0x70, 0)
    write(0x70, 1)
    write(0x70, 3)
    write(0x24, 0)
    write(0x20, low)
    write(0x24, 1)
    write(0x20, high)
    write(0x24, 2)
    write(0x20, 0xffff_ffff)
    write(0x70, 0x0b)
    assert.equal(read(0x70), expected)
  }
})

test('features are frozen and known only from FEATURES_OK on', () => {
  write(0x24, 1)
  write(0x20, 1)
  assert.equal(recorder.transport.negotiated(FEATURE_VERSION_1), false)
  write(0x70, 8)
  assert.equal(recorder.transport.negotiated(FEATURE_VERSION_1), true)
  write(0x24, 0)
  write(0x20, 5)
  assert.equal(recorder.transport.negotiated(0), false)
})

test('status bits are only added, NEEDS_RESET is not the drivers, DRIVER_OK needs FEATURES_OK', () => {
  write(0x70, 0xff)
  assert.equal(read(0x70), 0x83)
  write(0x70, 1)
  assert.equal(read(0x70), 0x83)
  assert.equal(recorder.transport.running, false)
})

test('queues are served from DRIVER_OK on, and those that are ready then at once', () => {
  write(0x50, 0)
  const [first] = startDevice(ram, device, [FEATURE_VERSION_1], [16])
  assert.deepEqual(recorder.calls, ['reset', 'notified 0'])
  first!.notify()
  write(0x50, 1)
  write(0x50, 77)
  assert.deepEqual(recorder.calls.slice(2), ['notified 0'])
})

test('a queue is not set up before FEATURES_OK, nor changed while it is ready', () => {
  write(0x38, 16)
  write(0x44, 1)
  assert.equal(read(0x44), 0)
  const [first] = startDevice(ram, device, [FEATURE_VERSION_1], [16])
  write(0x38, 3)
  write(0x80, 5)
  assert.equal(recorder.transport.queue(0).size, 16)
  assert.equal(recorder.transport.queue(0).descriptors, BigInt(first!.descriptors))
  assert.equal(read(0x44), 1)
})

test('a change of the configuration counts, and interrupts a running driver until acknowledged', () => {
  recorder.transport.configChanged()
  assert.equal(read(0xfc), 1)
  assert.equal(wire, false)
  startDevice(ram, device, [FEATURE_VERSION_1], [16])
  recorder.transport.configChanged()
  assert.equal(wire, true)
  write(0x64, 1)
  assert.equal(wire, true)
  assert.equal(takeInterrupts(device), 2)
  assert.equal(wire, false)
})

test('reset and load restore every register and the wire', () => {
  startDevice(ram, device, [FEATURE_VERSION_1, 0], [16, 4])
  recorder.transport.configChanged()
  const saved = stateOf(device)
  write(0x70, 0)
  assert.equal(wire, false)
  assert.equal(read(0x44), 0)
  const fresh = new VirtioMmio({ name: 'virtio0', memory: ram, line: () => {}, function: new Recorder() })
  assert.deepEqual(stateOf(device), stateOf(fresh))
  restore(device, saved)
  assert.equal(wire, true)
  assert.equal(recorder.transport.running, true)
  assert.equal(recorder.transport.negotiated(0), true)
  assert.deepEqual(stateOf(device), saved)
})

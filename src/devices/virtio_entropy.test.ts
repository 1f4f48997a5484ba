import assert from 'node:assert/strict'
import { beforeEach, test } from 'node:test'
import { startDevice, type TestQueue, WRITE } from './testing/driver.ts'
import { RAM_BASE, TestRam } from './testing/ram.ts'
import { restore, stateOf } from './testing/state.ts'
import { ENTROPY_BYTES_MAX, VirtioEntropy } from './virtio_entropy.ts'
import { VirtioMmio } from './virtio_mmio.ts'

const DATA = RAM_BASE + 0x2_0000

let ram: TestRam
let requests: number[]
let entropy: VirtioEntropy
let device: VirtioMmio
let queue: TestQueue

function build(memory: TestRam): [VirtioEntropy, VirtioMmio] {
  const source = new VirtioEntropy({ request: (bytes) => requests.push(bytes) })
  return [source, new VirtioMmio({ name: 'rng0', memory, line: () => {}, function: source })]
}

beforeEach(() => {
  ram = new TestRam(0x10_0000)
  requests = []
  ;[entropy, device] = build(ram)
  queue = startDevice(ram, device, [32], [16])[0]!
})

function ask(head: number, length: number): void {
  queue.chain(head, [{ address: DATA + 0x4000 * head, length, flags: WRITE }])
  queue.offer(head)
  queue.notify()
}

test('asks the outside for what the guest wants, within limits, and waits', () => {
  ask(0, 64)
  ask(1, 10_000)
  assert.deepEqual(requests, [64, ENTROPY_BYTES_MAX])
  assert.equal(entropy.wanted, 64 + ENTROPY_BYTES_MAX)
  assert.deepEqual(queue.collect(), [])
})

test('supplied bytes fill the waiting chains in order, the last one partly', () => {
  ask(0, 4)
  ask(1, 4)
  assert.equal(entropy.supply(Uint8Array.of(1, 2, 3, 4, 5, 6)), 0)
  assert.deepEqual(queue.collect(), [
    [0, 4],
    [1, 2],
  ])
  assert.deepEqual([...ram.read(DATA, 4)], [1, 2, 3, 4])
  assert.deepEqual([...ram.read(DATA + 0x4000, 4)], [5, 6, 0, 0])
})

test('bytes that nobody waits for are discarded', () => {
  assert.equal(entropy.supply(new Uint8Array(9)), 9)
  ask(0, 4)
  device.write(0x070, 4, 0)
  assert.equal(entropy.wanted, 0)
  assert.equal(entropy.supply(new Uint8Array(9)), 9)
})

test('a chain that cannot be filled breaks the device, which then stays away from memory', () => {
  ask(0, 4)
  queue.chain(1, [{ address: DATA, length: 4 }])
  queue.offer(1)
  queue.notify()
  assert.equal(device.read(0x070, 4) & 0x40, 0x40)
  const before = ram.bytes.slice()
  entropy.supply(Uint8Array.of(1, 2, 3, 4))
  assert.deepEqual(ram.bytes, before)
})

test('a restored device waits for the same bytes', () => {
  ask(0, 4)
  ask(1, 8)
  const [copy, copyDevice] = build(ram)
  restore(copyDevice, stateOf(device))
  assert.equal(copy.wanted, 12)
  copy.supply(Uint8Array.of(9, 8, 7, 6, 5))
  assert.deepEqual(queue.collect(), [
    [0, 4],
    [1, 1],
  ])
  assert.deepEqual([...ram.read(DATA, 4)], [9, 8, 7, 6])
})

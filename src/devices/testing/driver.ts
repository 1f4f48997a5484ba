/** A well-behaved virtio driver for tests, with a way to write anything else into its rings. */
import { features as mask, STATUS, type VirtioMmio } from '../virtio_mmio.ts'
import { RAM_BASE, type TestRam } from './ram.ts'

export const NEXT = 1
export const WRITE = 2
export const INDIRECT = 4

/** One descriptor as the driver writes it. */
export interface TestDescriptor {
  readonly address: number | bigint
  readonly length: number
  readonly flags?: number
  readonly next?: number
}

/** Each queue has 64 KiB of its own at the start of RAM: descriptors, available ring, used ring. */
const QUEUE_BYTES = 0x1_0000
const AVAILABLE_OFFSET = 0x4000
const USED_OFFSET = 0x8000

export class TestQueue {
  readonly ram: TestRam
  readonly device: VirtioMmio
  readonly index: number
  readonly size: number
  readonly descriptors: number
  readonly available: number
  readonly used: number
  #seen = 0

  constructor(ram: TestRam, device: VirtioMmio, index: number, size: number) {
    this.ram = ram
    this.device = device
    this.index = index
    this.size = size
    this.descriptors = RAM_BASE + index * QUEUE_BYTES
    this.available = this.descriptors + AVAILABLE_OFFSET
    this.used = this.descriptors + USED_OFFSET
  }

  /** Tells the device where the rings are and enables the queue. */
  enable(): void {
    const set = (offset: number, value: number) => this.device.write(offset, 4, value)
    set(0x030, this.index)
    set(0x038, this.size)
    const areas = [this.descriptors, this.available, this.used]
    areas.forEach((address, area) => {
      set(0x080 + 0x10 * area, address)
      set(0x084 + 0x10 * area, 0)
    })
    set(0x044, 1)
  }

  describe(index: number, descriptor: TestDescriptor, table: number = this.descriptors): void {
    const at = table + 16 * index
    this.ram.store64(at, BigInt(descriptor.address))
    this.ram.store32(at + 8, descriptor.length)
    this.ram.store16(at + 12, descriptor.flags ?? 0)
    this.ram.store16(at + 14, descriptor.next ?? 0)
  }

  /** Writes descriptors in a row from `first` on, each linked to the next one. */
  chain(first: number, descriptors: readonly TestDescriptor[], table?: number): void {
    descriptors.forEach((descriptor, position) => {
      const last = position === descriptors.length - 1
      const flags = (descriptor.flags ?? 0) | (last ? 0 : NEXT)
      this.describe(first + position, { ...descriptor, flags, next: last ? 0 : first + position + 1 }, table)
    })
  }

  /** Puts a chain's head into the available ring. */
  offer(head: number): void {
    const index = this.ram.load16(this.available + 2)
    this.ram.store16(this.available + 4 + 2 * (index % this.size), head)
    this.ram.store16(this.available + 2, index + 1)
  }

  notify(): void {
    this.device.write(0x050, 4, this.index)
  }

  /** The used entries since the last call, as [head, bytes written]. */
  collect(): [number, number][] {
    const entries: [number, number][] = []
    const index = this.ram.load16(this.used + 2)
    for (; this.#seen !== index; this.#seen = (this.#seen + 1) & 0xffff) {
      const at = this.used + 4 + 8 * (this.#seen % this.size)
      entries.push([this.ram.load32(at), this.ram.load32(at + 4)])
    }
    return entries
  }
}

/** Resets the device and brings it up with the given feature bits and queue sizes. */
export function startDevice(
  ram: TestRam,
  device: VirtioMmio,
  featureBits: readonly number[],
  queueSizes: readonly number[],
): TestQueue[] {
  device.write(0x070, 4, 0)
  device.write(0x070, 4, STATUS.acknowledge | STATUS.driver)
  const accepted = mask(featureBits)
  for (const half of [0, 1]) {
    device.write(0x024, 4, half)
    device.write(0x020, 4, Number((accepted >> BigInt(32 * half)) & 0xffff_ffffn))
  }
  device.write(0x070, 4, STATUS.featuresOk)
  const queues = queueSizes.map((size, index) => new TestQueue(ram, device, index, size))
  for (const queue of queues) queue.enable()
  device.write(0x070, 4, STATUS.driverOk)
  return queues
}

/** Reads and acknowledges the interrupt status. */
export function takeInterrupts(device: VirtioMmio): number {
  const status = device.read(0x060, 4)
  device.write(0x064, 4, status)
  return status
}

/**
 * The virtio-mmio transport, version 2 (virtio 1.2, section 4.2), generic over the function behind it.
 *
 * The driver walks the status register up: ACKNOWLEDGE, DRIVER, feature words, FEATURES_OK (which the device
 * refuses by leaving the bit clear), queues, DRIVER_OK. Bits are only added; writing 0 resets. When a queue
 * breaks, the device sets NEEDS_RESET, tells the driver by a configuration interrupt if it is running, and
 * the function gets no more chains until reset.
 *
 * Registers are 32 bits wide; narrower accesses there read as zero and write nothing. The configuration space
 * from 0x100 on is read at any width; no function here has writable fields, so writes to it are ignored.
 */
import { assert } from '../base/assert.ts'
import type { StateReader, StateWriter } from '../base/state.ts'
import type { AccessSize, Device, GuestMemory, InterruptLine } from '../machine/device.ts'
import { loadLimited } from './fields.ts'
import { Virtqueue } from './virtqueue.ts'

const MAGIC = 0x7472_6976
const VERSION = 2
/** 'UNST': virtio-mmio has no register of vendors, drivers do not look at it. */
const VENDOR = 0x5453_4e55

const REGISTER = {
  magic: 0x000,
  version: 0x004,
  deviceId: 0x008,
  vendor: 0x00c,
  deviceFeatures: 0x010,
  deviceFeaturesSelect: 0x014,
  driverFeatures: 0x020,
  driverFeaturesSelect: 0x024,
  queueSelect: 0x030,
  queueSizeMax: 0x034,
  queueSize: 0x038,
  queueReady: 0x044,
  queueNotify: 0x050,
  interruptStatus: 0x060,
  interruptAcknowledge: 0x064,
  status: 0x070,
  descriptorsLow: 0x080,
  descriptorsHigh: 0x084,
  availableLow: 0x090,
  availableHigh: 0x094,
  usedLow: 0x0a0,
  usedHigh: 0x0a4,
  sharedMemoryLengthLow: 0x0b0,
  sharedMemoryBaseHigh: 0x0bc,
  configGeneration: 0x0fc,
  config: 0x100,
} as const

/** Status bits, section 2.1. */
export const STATUS = {
  acknowledge: 1,
  driver: 2,
  driverOk: 4,
  featuresOk: 8,
  needsReset: 64,
  failed: 128,
} as const

/** Feature bits of the transport, section 6. */
export const FEATURE_INDIRECT = 28
export const FEATURE_EVENT_INDEX = 29
export const FEATURE_VERSION_1 = 32
const TRANSPORT_FEATURES = features([FEATURE_INDIRECT, FEATURE_EVENT_INDEX, FEATURE_VERSION_1])

const INTERRUPT_USED = 1
const INTERRUPT_CONFIG = 2
const LOW_HALF = 0xffff_ffffn

/** What a virtio function (block, net, ...) is to its transport. */
export interface VirtioFunction {
  /** The device type, section 5. */
  readonly deviceId: number
  /** Its own feature bits, as a mask; the transport adds the common ones. */
  readonly features: bigint
  /** The largest size of each queue, powers of two. */
  readonly queueSizes: readonly number[]
  /** Called once, before anything else. */
  attach(transport: VirtioTransport): void
  /** The configuration space as it is now. */
  config(): Uint8Array
  /** The driver has made chains available on a queue, or has just become ready. */
  notified(queue: number): void
  /** The driver has reset the device, or the board was reset. */
  reset(): void
  save(writer: StateWriter): void
  load(reader: StateReader): void
}

/** What a function sees of its transport. */
export interface VirtioTransport {
  readonly memory: GuestMemory
  /** Whether the driver has said DRIVER_OK and the device does not need a reset. */
  readonly running: boolean
  negotiated(feature: number): boolean
  queue(index: number): Virtqueue
  /** Tells the driver that `config()` has changed. */
  configChanged(): void
}

export interface VirtioMmioOptions {
  readonly name: string
  readonly memory: GuestMemory
  readonly line: InterruptLine
  readonly function: VirtioFunction
}

/** The mask of feature bit numbers. */
export function features(bits: readonly number[]): bigint {
  return bits.reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n)
}

export class VirtioMmio implements Device, VirtioTransport {
  readonly name: string
  readonly memory: GuestMemory
  readonly #line: InterruptLine
  readonly #function: VirtioFunction
  readonly #features: bigint
  readonly #queues: readonly Virtqueue[]
  #status = 0
  #driverFeatures = 0n
  #deviceFeaturesSelect = 0
  #driverFeaturesSelect = 0
  #queueSelect = 0
  #interruptStatus = 0
  #configGeneration = 0

  constructor(options: VirtioMmioOptions) {
    this.name = options.name
    this.memory = options.memory
    this.#line = options.line
    this.#function = options.function
    this.#features = options.function.features | TRANSPORT_FEATURES
    this.#queues = options.function.queueSizes.map(
      (size) =>
        new Virtqueue(
          size,
          options.memory,
          () => ({
            indirect: this.negotiated(FEATURE_INDIRECT),
            eventIndex: this.negotiated(FEATURE_EVENT_INDEX),
          }),
          () => this.#raise(INTERRUPT_USED),
          () => this.#needReset(),
        ),
    )
    options.function.attach(this)
  }

  get running(): boolean {
    return (this.#status & (STATUS.driverOk | STATUS.needsReset)) === STATUS.driverOk
  }

  negotiated(feature: number): boolean {
    return this.#has(STATUS.featuresOk) && ((this.#driverFeatures >> BigInt(feature)) & 1n) === 1n
  }

  queue(index: number): Virtqueue {
    const queue = this.#queues[index]
    assert(queue !== undefined, () => `${this.name} has no queue ${index}`)
    return queue
  }

  configChanged(): void {
    this.#configGeneration = (this.#configGeneration + 1) >>> 0
    if (this.#has(STATUS.driverOk)) this.#raise(INTERRUPT_CONFIG)
  }

  read(offset: number, size: AccessSize): number {
    if (offset >= REGISTER.config) return readBytes(this.#function.config(), offset - REGISTER.config, size)
    if (size !== 4) return 0
    if (offset >= REGISTER.sharedMemoryLengthLow && offset <= REGISTER.sharedMemoryBaseHigh) {
      return 0xffff_ffff // No shared memory region exists, section 4.2.2.
    }
    switch (offset) {
      case REGISTER.magic:
        return MAGIC
      case REGISTER.version:
        return VERSION
      case REGISTER.deviceId:
        return this.#function.deviceId
      case REGISTER.vendor:
        return VENDOR
      case REGISTER.deviceFeatures:
        return word(this.#features, this.#deviceFeaturesSelect)
      case REGISTER.queueSizeMax:
        return this.#queues[this.#queueSelect]?.sizeMax ?? 0
      case REGISTER.queueReady:
        return this.#queues[this.#queueSelect]?.ready ? 1 : 0
      case REGISTER.interruptStatus:
        return this.#interruptStatus
      case REGISTER.status:
        return this.#status
      case REGISTER.configGeneration:
        return this.#configGeneration
      default:
        return 0
    }
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (size !== 4 || offset >= REGISTER.config) return
    switch (offset) {
      case REGISTER.deviceFeaturesSelect:
        this.#deviceFeaturesSelect = value
        break
      case REGISTER.driverFeaturesSelect:
        this.#driverFeaturesSelect = value
        break
      case REGISTER.driverFeatures:
        this.#setDriverFeatures(value)
        break
      case REGISTER.queueSelect:
        this.#queueSelect = value
        break
      case REGISTER.queueReady:
        this.#setQueueReady((value & 1) === 1)
        break
      case REGISTER.queueNotify:
        this.#notify(value)
        break
      case REGISTER.interruptAcknowledge:
        this.#setInterrupts(this.#interruptStatus & ~value)
        break
      case REGISTER.status:
        if (value === 0) this.reset()
        else this.#addStatus(value)
        break
      default:
        this.#setQueueRegister(offset, value)
    }
  }

  reset(): void {
    this.#status = 0
    this.#driverFeatures = 0n
    this.#deviceFeaturesSelect = 0
    this.#driverFeaturesSelect = 0
    this.#queueSelect = 0
    for (const queue of this.#queues) queue.reset()
    this.#function.reset()
    this.#configGeneration = 0
    this.#setInterrupts(0)
  }

  save(writer: StateWriter): void {
    writer.section(this.name, 1, () => {
      writer.u32('status', this.#status)
      writer.u64('driverFeatures', this.#driverFeatures)
      writer.u32('deviceFeaturesSelect', this.#deviceFeaturesSelect)
      writer.u32('driverFeaturesSelect', this.#driverFeaturesSelect)
      writer.u32('queueSelect', this.#queueSelect)
      writer.u32('interruptStatus', this.#interruptStatus)
      writer.u32('configGeneration', this.#configGeneration)
      this.#queues.forEach((queue, index) => {
        queue.save(writer, `queue[${index}]`)
      })
      this.#function.save(writer)
    })
  }

  load(reader: StateReader): void {
    reader.section(this.name, 1, () => {
      this.#status = loadLimited(reader, 'status', 0xff)
      this.#driverFeatures = reader.u64('driverFeatures')
      this.#deviceFeaturesSelect = reader.u32('deviceFeaturesSelect')
      this.#driverFeaturesSelect = reader.u32('driverFeaturesSelect')
      this.#queueSelect = reader.u32('queueSelect')
      this.#interruptStatus = loadLimited(reader, 'interruptStatus', INTERRUPT_USED | INTERRUPT_CONFIG)
      this.#configGeneration = reader.u32('configGeneration')
      this.#queues.forEach((queue, index) => {
        queue.load(reader, `queue[${index}]`)
      })
      this.#function.load(reader)
    })
    this.#setInterrupts(this.#interruptStatus)
  }

  #has(bit: number): boolean {
    return (this.#status & bit) !== 0
  }

  #raise(interrupt: number): void {
    this.#setInterrupts(this.#interruptStatus | interrupt)
  }

  #setInterrupts(status: number): void {
    this.#interruptStatus = status
    this.#line(status !== 0)
  }

  /**
   * One queue broke: all stop, so that nothing touches memory until reset. The driver hears of it by a
   * configuration interrupt, once it has said DRIVER_OK (section 2.1.2).
   */
  #needReset(): void {
    if (this.#has(STATUS.needsReset)) return
    this.#status |= STATUS.needsReset
    for (const queue of this.#queues) queue.break()
    if (this.#has(STATUS.driverOk)) this.#raise(INTERRUPT_CONFIG)
  }

  /** Frozen once FEATURES_OK is set. */
  #setDriverFeatures(value: number): void {
    if (this.#has(STATUS.featuresOk) || this.#driverFeaturesSelect > 1) return
    const shift = BigInt(32 * this.#driverFeaturesSelect)
    this.#driverFeatures = (this.#driverFeatures & ~(LOW_HALF << shift)) | (BigInt(value) << shift)
  }

  #featuresAcceptable(): boolean {
    const unknown = this.#driverFeatures & ~this.#features
    return unknown === 0n && ((this.#driverFeatures >> BigInt(FEATURE_VERSION_1)) & 1n) === 1n
  }

  /** Section 3.1.1: FEATURES_OK only for features we offered, DRIVER_OK only after it. */
  #addStatus(value: number): void {
    const before = this.#status
    this.#status |= value & (STATUS.acknowledge | STATUS.driver | STATUS.failed)
    if ((value & STATUS.featuresOk) !== 0 && this.#featuresAcceptable()) this.#status |= STATUS.featuresOk
    if ((value & STATUS.driverOk) !== 0 && this.#has(STATUS.featuresOk)) this.#status |= STATUS.driverOk
    if ((before & STATUS.driverOk) !== 0) return
    for (let index = 0; index < this.#queues.length; index++) this.#notify(index)
  }

  #notify(index: number): void {
    if (this.running && this.#queues[index]?.ready) this.#function.notified(index)
  }

  #setQueueReady(ready: boolean): void {
    const queue = this.#queues[this.#queueSelect]
    if (queue === undefined) return
    if (!ready) queue.disable()
    else if (this.#has(STATUS.featuresOk) && !this.#has(STATUS.needsReset)) queue.enable()
  }

  #setQueueRegister(offset: number, value: number): void {
    const queue = this.#queues[this.#queueSelect]
    if (queue === undefined || !queue.idle) return
    const high = (offset & 4) !== 0
    switch (offset) {
      case REGISTER.queueSize:
        queue.size = value
        break
      case REGISTER.descriptorsLow:
      case REGISTER.descriptorsHigh:
        queue.descriptors = withHalf(queue.descriptors, high, value)
        break
      case REGISTER.availableLow:
      case REGISTER.availableHigh:
        queue.available = withHalf(queue.available, high, value)
        break
      case REGISTER.usedLow:
      case REGISTER.usedHigh:
        queue.used = withHalf(queue.used, high, value)
        break
    }
  }
}

function word(mask: bigint, select: number): number {
  return select > 1 ? 0 : Number((mask >> BigInt(32 * select)) & LOW_HALF)
}

function withHalf(value: bigint, high: boolean, half: number): bigint {
  return high ? (value & LOW_HALF) | (BigInt(half) << 32n) : (value & ~LOW_HALF) | BigInt(half)
}

/** A little-endian number out of a configuration space; bytes beyond its end read as zero. */
function readBytes(bytes: Uint8Array, offset: number, size: AccessSize): number {
  let value = 0
  for (let index = size - 1; index >= 0; index--) value = value * 256 + (bytes[offset + index] ?? 0)
  return value
}

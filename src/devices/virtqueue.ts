/**
 * A split virtqueue, version 1 (virtio 1.2, section 2.7), seen from the device.
 *
 * Everything in guest memory is hostile. A queue that finds something a driver must not do breaks: it reports
 * the fault once, and from then on touches memory no more until the device is reset. What it checks: the size
 * and the three areas when the queue is enabled; how far the available index runs ahead; every descriptor's
 * index, address and order; loops and overlong chains (at most `size` descriptors, those of an indirect table
 * included); and the number of chains the device holds at once. A chain is read once, when it is taken, so
 * that a driver that changes it afterwards changes nothing. Taking one chain reads at most 32 x size
 * bytes.
 *
 *     idle --enable--> ready --disable--> stopped          any --fault--> broken          reset: back to idle
 *
 * A queue that was stopped stays so until reset: chains of its first life may still be on their way.
 */
import { assert } from '../base/assert.ts'
import { FormatError } from '../base/errors.ts'
import type { StateReader, StateWriter } from '../base/state.ts'
import type { GuestMemory } from '../machine/device.ts'
import { loadLimited } from './fields.ts'

const DESCRIPTOR_BYTES = 16
const FLAG_NEXT = 1
const FLAG_WRITE = 2
const FLAG_INDIRECT = 4
const AVAILABLE_NO_INTERRUPT = 1
/** Above this an address is certainly not RAM, and sums with 32-bit lengths would no longer be exact. */
const ADDRESS_MAX = 2n ** 52n

/** A piece of guest RAM, known to lie inside it. */
export interface Segment {
  readonly address: number
  readonly length: number
}

/** A descriptor chain, taken from the available ring and not yet given back. */
export interface Chain {
  /** The index that identifies it in the used ring. */
  readonly head: number
  /** What the device may read, then what it may write, in order. No segment is empty. */
  readonly readable: readonly Segment[]
  readonly writable: readonly Segment[]
  readonly readableBytes: number
  readonly writableBytes: number
}

/** A chain to give back, and how many bytes were written into it from its start. */
export interface UsedChain {
  readonly head: number
  readonly written: number
}

/** What the driver negotiated that changes how a queue works. */
export interface QueueFeatures {
  readonly indirect: boolean
  readonly eventIndex: boolean
}

type QueueState = 'idle' | 'ready' | 'stopped' | 'broken'
const QUEUE_STATES: readonly QueueState[] = ['idle', 'ready', 'stopped', 'broken']

export class Virtqueue {
  readonly sizeMax: number
  /** Set by the driver while the queue is idle. */
  size = 0
  descriptors = 0n
  available = 0n
  used = 0n
  readonly #memory: GuestMemory
  readonly #features: () => QueueFeatures
  readonly #interrupt: () => void
  readonly #fault: () => void
  #state: QueueState = 'idle'
  /** Free-running 16-bit indexes: the next available entry to take, the next used entry to write. */
  #nextAvailable = 0
  #nextUsed = 0
  /** Chains taken and not given back. */
  #held = 0

  /**
   * `sizeMax` is a power of two. `interrupt` is called when the driver wants to know of used chains, `fault`
   * once when the queue breaks.
   */
  constructor(
    sizeMax: number,
    memory: GuestMemory,
    features: () => QueueFeatures,
    interrupt: () => void,
    fault: () => void,
  ) {
    assert(sizeMax >= 1 && sizeMax <= 32768 && isPowerOfTwo(sizeMax), `virtqueue of ${sizeMax} entries`)
    this.sizeMax = sizeMax
    this.#memory = memory
    this.#features = features
    this.#interrupt = interrupt
    this.#fault = fault
  }

  get ready(): boolean {
    return this.#state === 'ready'
  }

  get idle(): boolean {
    return this.#state === 'idle'
  }

  /** Checks what the driver has set up and starts the queue, or breaks it. */
  enable(): void {
    if (this.#state !== 'idle') return
    this.#state = 'ready'
    if (!this.#isValid()) this.break()
  }

  /** Stops the queue at the driver's wish. */
  disable(): void {
    if (this.#state === 'ready') this.#state = 'stopped'
  }

  /** Stops the queue because the driver has done what it must not. */
  break(): void {
    if (this.#state === 'broken') return
    this.#state = 'broken'
    this.#fault()
  }

  reset(): void {
    this.#state = 'idle'
    this.size = 0
    this.descriptors = 0n
    this.available = 0n
    this.used = 0n
    this.#nextAvailable = 0
    this.#nextUsed = 0
    this.#held = 0
  }

  /**
   * Takes the next available chain. Undefined if there is none, or the queue is not ready or just broke. When
   * the ring is empty, the driver is asked to notify the device of the next chain.
   */
  take(): Chain | undefined {
    if (this.#state !== 'ready') return undefined
    const available = Number(this.available)
    const waiting = (this.#memory.load16(available + 2) - this.#nextAvailable) & 0xffff
    if (waiting === 0) {
      this.#requestNotification()
      return undefined
    }
    if (waiting > this.size || this.#held >= this.size) return this.#broken()
    const head = this.#memory.load16(available + 4 + 2 * (this.#nextAvailable % this.size))
    const chain = this.#walk(head)
    if (chain === undefined) return this.#broken()
    this.#nextAvailable = (this.#nextAvailable + 1) & 0xffff
    this.#held++
    return chain
  }

  /**
   * Takes every available chain, one at a time. There are never more than `size` of them while the driver
   * stands still, unless its used ring lies over its available ring, which could keep a device busy for ever:
   * that breaks.
   */
  *takeAll(): Generator<Chain> {
    for (let count = 0; ; count++) {
      const chain = this.take()
      if (chain === undefined) return
      if (count === this.size) {
        this.break()
        return
      }
      yield chain
    }
  }

  /** Puts the last `count` chains taken back into the available ring, as if they had not been taken. */
  putBack(count: number): void {
    assert(count <= this.#held, 'more chains put back than held')
    this.#nextAvailable = (this.#nextAvailable - count) & 0xffff
    this.#held -= count
  }

  /**
   * Gives chains back to the driver, all visible at once, and interrupts it if it wants that. Does nothing on
   * a queue that is not ready any more.
   */
  giveBack(chains: readonly UsedChain[]): void {
    if (this.#state !== 'ready') return
    assert(chains.length <= this.#held, 'more chains given back than held')
    const used = Number(this.used)
    const before = this.#nextUsed
    for (const { head, written } of chains) {
      const entry = used + 4 + 8 * (this.#nextUsed % this.size)
      this.#memory.store32(entry, head)
      this.#memory.store32(entry + 4, written)
      this.#nextUsed = (this.#nextUsed + 1) & 0xffff
    }
    this.#held -= chains.length
    this.#memory.store16(used + 2, this.#nextUsed)
    if (this.#interruptWanted(before)) this.#interrupt()
  }

  save(writer: StateWriter, name: string): void {
    writer.section(name, 1, () => {
      writer.u32('state', QUEUE_STATES.indexOf(this.#state))
      writer.u32('size', this.size)
      writer.u64('descriptors', this.descriptors)
      writer.u64('available', this.available)
      writer.u64('used', this.used)
      writer.u32('nextAvailable', this.#nextAvailable)
      writer.u32('nextUsed', this.#nextUsed)
      writer.u32('held', this.#held)
    })
  }

  load(reader: StateReader, name: string): void {
    reader.section(name, 1, () => {
      this.#state = QUEUE_STATES[loadLimited(reader, 'state', QUEUE_STATES.length - 1)]!
      this.size = reader.u32('size')
      this.descriptors = reader.u64('descriptors')
      this.available = reader.u64('available')
      this.used = reader.u64('used')
      this.#nextAvailable = loadLimited(reader, 'nextAvailable', 0xffff)
      this.#nextUsed = loadLimited(reader, 'nextUsed', 0xffff)
      this.#held = loadLimited(reader, 'held', this.sizeMax)
    })
    if (this.ready && !this.#isValid()) throw new FormatError(`machine state: ${name} lies outside RAM`)
  }

  #broken(): undefined {
    this.break()
    return undefined
  }

  #isValid(): boolean {
    const extra = this.#features().eventIndex ? 2 : 0
    return (
      isPowerOfTwo(this.size) &&
      this.size <= this.sizeMax &&
      this.#areaIsValid(this.descriptors, DESCRIPTOR_BYTES * this.size, 16) &&
      this.#areaIsValid(this.available, 4 + 2 * this.size + extra, 2) &&
      this.#areaIsValid(this.used, 4 + 8 * this.size + extra, 4)
    )
  }

  #areaIsValid(address: bigint, length: number, alignment: number): boolean {
    if (address > ADDRESS_MAX || Number(address) % alignment !== 0) return false
    return this.#memory.contains(Number(address), length)
  }

  /**
   * Section 2.7.10: `avail_event`, at the end of the used ring, names the entry whose arrival we want to hear
   * of.
   */
  #requestNotification(): void {
    if (!this.#features().eventIndex) return
    this.#memory.store16(Number(this.used) + 4 + 8 * this.size, this.#nextAvailable)
  }

  /**
   * Section 2.7.7: whether giving back the chains from `before` on is something the driver wants to hear of.
   */
  #interruptWanted(before: number): boolean {
    const available = Number(this.available)
    if (!this.#features().eventIndex) {
      return (this.#memory.load16(available) & AVAILABLE_NO_INTERRUPT) === 0
    }
    const event = this.#memory.load16(available + 4 + 2 * this.size)
    return ((this.#nextUsed - event - 1) & 0xffff) < ((this.#nextUsed - before) & 0xffff)
  }

  #walk(head: number): Chain | undefined {
    const walk = new ChainWalk(this.#memory, this.size, this.#features().indirect)
    return walk.follow(head, Number(this.descriptors)) ? walk.chain(head) : undefined
  }
}

/** Collects one chain's segments while checking each descriptor. */
class ChainWalk {
  readonly #memory: GuestMemory
  readonly #size: number
  readonly #indirectAllowed: boolean
  readonly #readable: Segment[] = []
  readonly #writable: Segment[] = []
  #readableBytes = 0
  #writableBytes = 0
  #count = 0

  constructor(memory: GuestMemory, size: number, indirectAllowed: boolean) {
    this.#memory = memory
    this.#size = size
    this.#indirectAllowed = indirectAllowed
  }

  chain(head: number): Chain {
    return {
      head,
      readable: this.#readable,
      writable: this.#writable,
      readableBytes: this.#readableBytes,
      writableBytes: this.#writableBytes,
    }
  }

  /** Follows the chain from the descriptor table at `base`. False if it is not valid. */
  follow(head: number, base: number): boolean {
    let index = head
    for (;;) {
      if (index >= this.#size) return false
      const descriptor = descriptorAt(this.#memory.read(base + DESCRIPTOR_BYTES * index, DESCRIPTOR_BYTES), 0)
      if ((descriptor.flags & FLAG_INDIRECT) !== 0) return this.#followIndirect(descriptor)
      if (!this.#add(descriptor)) return false
      if ((descriptor.flags & FLAG_NEXT) === 0) return true
      index = descriptor.next
    }
  }

  /** Section 2.7.5.3: a table of its own, which ends the chain and holds no further table. */
  #followIndirect(pointer: Descriptor): boolean {
    if (!this.#indirectAllowed || (pointer.flags & FLAG_NEXT) !== 0) return false
    const count = pointer.length / DESCRIPTOR_BYTES
    if (count === 0 || !Number.isInteger(count) || count > this.#size) return false
    if (!this.#inMemory(pointer)) return false
    const table = this.#memory.read(Number(pointer.address), pointer.length)
    let index = 0
    for (;;) {
      if (index >= count) return false
      const descriptor = descriptorAt(table, index)
      if ((descriptor.flags & FLAG_INDIRECT) !== 0 || !this.#add(descriptor)) return false
      if ((descriptor.flags & FLAG_NEXT) === 0) return true
      index = descriptor.next
    }
  }

  #add(descriptor: Descriptor): boolean {
    const writable = (descriptor.flags & FLAG_WRITE) !== 0
    this.#count++
    if (this.#count > this.#size) return false
    if (!writable && this.#writable.length > 0) return false
    if (descriptor.length === 0) return true
    if (!this.#inMemory(descriptor)) return false
    const segment = { address: Number(descriptor.address), length: descriptor.length }
    if (writable) {
      this.#writable.push(segment)
      this.#writableBytes += segment.length
    } else {
      this.#readable.push(segment)
      this.#readableBytes += segment.length
    }
    return true
  }

  #inMemory(descriptor: Descriptor): boolean {
    return (
      descriptor.address <= ADDRESS_MAX &&
      this.#memory.contains(Number(descriptor.address), descriptor.length)
    )
  }
}

interface Descriptor {
  readonly address: bigint
  readonly length: number
  readonly flags: number
  readonly next: number
}

/** Section 2.7.5: address u64, length u32, flags u16, next u16. */
function descriptorAt(table: Uint8Array, index: number): Descriptor {
  const view = new DataView(table.buffer, table.byteOffset + DESCRIPTOR_BYTES * index, DESCRIPTOR_BYTES)
  return {
    address: view.getBigUint64(0, true),
    length: view.getUint32(8, true),
    flags: view.getUint16(12, true),
    next: view.getUint16(14, true),
  }
}

/**
 * Copies at most `length` bytes out of segments, starting `skip` bytes into them. The result is shorter where
 * the segments end. The caller bounds `length`.
 */
export function gather(
  memory: GuestMemory,
  segments: readonly Segment[],
  skip: number,
  length: number,
): Uint8Array {
  const parts: Uint8Array[] = []
  let total = 0
  for (const { address, length: size } of clip(segments, skip, length)) {
    parts.push(memory.read(address, size))
    total += size
  }
  const gathered = new Uint8Array(total)
  let position = 0
  for (const part of parts) {
    gathered.set(part, position)
    position += part.length
  }
  return gathered
}

/** Copies bytes into segments, starting `skip` bytes into them. What does not fit is left out. */
export function scatter(
  memory: GuestMemory,
  segments: readonly Segment[],
  skip: number,
  bytes: Uint8Array,
): void {
  let position = 0
  for (const { address, length } of clip(segments, skip, bytes.length)) {
    memory.write(address, bytes.subarray(position, position + length))
    position += length
  }
}

/** The part of segments from byte `skip` on, at most `length` bytes of it. */
function clip(segments: readonly Segment[], skip: number, length: number): Segment[] {
  const clipped: Segment[] = []
  let before = skip
  let left = length
  for (const segment of segments) {
    const start = Math.min(before, segment.length)
    const size = Math.min(segment.length - start, left)
    before -= start
    left -= size
    if (size > 0) clipped.push({ address: segment.address + start, length: size })
  }
  return clipped
}

/** Writes segments as one field each of address and length. */
export function saveSegments(writer: StateWriter, name: string, segments: readonly Segment[]): void {
  writer.u32(`${name}.count`, segments.length)
  segments.forEach(({ address, length }, index) => {
    writer.u64(`${name}[${index}].address`, BigInt(address))
    writer.u32(`${name}[${index}].length`, length)
  })
}

/** Reads what `saveSegments` wrote; refuses segments outside RAM. */
export function loadSegments(
  reader: StateReader,
  name: string,
  countMax: number,
  memory: GuestMemory,
): Segment[] {
  const count = loadLimited(reader, `${name}.count`, countMax)
  return Array.from({ length: count }, (_, index) => {
    const address = Number(reader.u64(`${name}[${index}].address`))
    const length = reader.u32(`${name}[${index}].length`)
    if (!memory.contains(address, length)) {
      throw new FormatError(`machine state: ${name}[${index}] lies outside RAM`)
    }
    return { address, length }
  })
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && (value & (value - 1)) === 0
}

/**
 * The virtio network device (virtio 1.2, section 5.1): one receive and one transmit queue, no offloads.
 *
 * Every frame is preceded by a 12-byte header. On transmit it is skipped (nothing was negotiated that it
 * could ask for); on receive it is zero but for `num_buffers`, which counts the chains that a frame is spread
 * over when MRG_RXBUF was negotiated, and is 1 otherwise.
 *
 *     receive() -> backlog (256 frames) -> once there are buffers for the whole frame -> receive queue
 */
import { assert } from '../base/assert.ts'
import { FormatError } from '../base/errors.ts'
import type { StateReader, StateWriter } from '../base/state.ts'
import { loadLimited, loadLimitedBytes } from './fields.ts'
import { features, type VirtioFunction, type VirtioTransport } from './virtio_mmio.ts'
import { type Chain, gather, scatter } from './virtqueue.ts'

/** Two addresses and a type. */
export const FRAME_BYTES_MIN = 14
export const FRAME_BYTES_MAX = 64 * 1024
/** How many received frames wait for buffers at most. */
export const RECEIVE_BACKLOG_MAX = 256

const QUEUE_SIZE = 256
const RECEIVE_QUEUE = 0
const TRANSMIT_QUEUE = 1
const HEADER_BYTES = 12
const NUM_BUFFERS_OFFSET = 10
const MAC_BYTES = 6
const CONFIG_BYTES = 12
const STATUS_LINK_UP = 1
/** RFC 791 and section 5.1.4.1. */
const MTU_MIN = 68

const FEATURE_MTU = 3
const FEATURE_MAC = 5
const FEATURE_MRG_RXBUF = 15
const FEATURE_STATUS = 16

export interface VirtioNetOptions {
  /** The six bytes of the guest's address. */
  readonly mac: Uint8Array
  /** The largest packet above Ethernet, 68 to 65521; not offered if absent. */
  readonly mtu?: number
  /** A frame from the guest: 14 to 65536 bytes, without header and check sequence. */
  readonly transmit: (frame: Uint8Array) => void
}

export class VirtioNet implements VirtioFunction {
  readonly deviceId = 1
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE]
  readonly features: bigint
  readonly #mac: Uint8Array
  readonly #mtu: number
  readonly #transmit: (frame: Uint8Array) => void
  #transport!: VirtioTransport
  #backlog: Uint8Array[] = []
  #linkUp = true
  #dropped = 0

  constructor(options: VirtioNetOptions) {
    const mtu = options.mtu ?? 0
    const mtuMax = FRAME_BYTES_MAX - FRAME_BYTES_MIN - 1
    assert(options.mac.length === MAC_BYTES, 'a MAC address has six bytes')
    assert(mtu === 0 || (mtu >= MTU_MIN && mtu <= mtuMax), `an MTU of ${mtu}`)
    const offered = [FEATURE_MAC, FEATURE_MRG_RXBUF, FEATURE_STATUS]
    this.features = features(mtu === 0 ? offered : [...offered, FEATURE_MTU])
    this.#mac = Uint8Array.from(options.mac)
    this.#mtu = mtu
    this.#transmit = options.transmit
  }

  attach(transport: VirtioTransport): void {
    this.#transport = transport
  }

  /** Received frames that did not reach the guest since the last reset, modulo 2^32. */
  get dropped(): number {
    return this.#dropped
  }

  /** How many frames it takes without losing one to the backlog; while nothing in the guest listens, all are lost. */
  get room(): number {
    return RECEIVE_BACKLOG_MAX - this.#backlog.length
  }

  /**
   * Takes a frame from outside. It is dropped, and counted, while the driver is not running or the link is
   * down, when the backlog is full, and when its length is none that a frame can have.
   */
  receive(frame: Uint8Array): void {
    const valid = frame.length >= FRAME_BYTES_MIN && frame.length <= FRAME_BYTES_MAX
    const open = this.#linkUp && this.#transport.running
    if (!valid || !open || this.#backlog.length >= RECEIVE_BACKLOG_MAX) {
      this.#drop()
      return
    }
    this.#backlog.push(Uint8Array.from(frame))
    this.#deliver()
  }

  /** Plugs the cable in or out. It stays as it is over resets. */
  setLink(up: boolean): void {
    if (up === this.#linkUp) return
    this.#linkUp = up
    this.#transport.configChanged()
  }

  /** Section 5.1.4: MAC, status, number of queue pairs, MTU. */
  config(): Uint8Array {
    const config = new Uint8Array(CONFIG_BYTES)
    config.set(this.#mac)
    const view = new DataView(config.buffer)
    view.setUint16(6, this.#linkUp ? STATUS_LINK_UP : 0, true)
    view.setUint16(8, 1, true)
    view.setUint16(10, this.#mtu, true)
    return config
  }

  notified(queue: number): void {
    if (queue === RECEIVE_QUEUE) this.#deliver()
    else this.#transmitAll()
  }

  reset(): void {
    this.#backlog = []
    this.#dropped = 0
  }

  save(writer: StateWriter): void {
    writer.section('net', 1, () => {
      writer.flag('linkUp', this.#linkUp)
      writer.u32('dropped', this.#dropped)
      writer.u32('backlog', this.#backlog.length)
      for (const frame of this.#backlog) writer.bytes('frame', frame)
    })
  }

  load(reader: StateReader): void {
    reader.section('net', 1, () => {
      this.#linkUp = reader.flag('linkUp')
      this.#dropped = reader.u32('dropped')
      const count = loadLimited(reader, 'backlog', RECEIVE_BACKLOG_MAX)
      this.#backlog = Array.from({ length: count }, () => loadFrame(reader))
    })
  }

  #drop(): void {
    this.#dropped = (this.#dropped + 1) >>> 0
  }

  /** Hands waiting frames to the driver while it has buffers. */
  #deliver(): void {
    while (this.#backlog.length > 0) {
      const chains = this.#takeBuffers(HEADER_BYTES + this.#backlog[0]!.length)
      if (chains === 'wait') return
      const frame = this.#backlog.shift()!
      if (chains === 'too-small') this.#drop()
      else this.#fill(chains, frame)
    }
  }

  /**
   * Takes chains with room for `bytes`. Without mergeable buffers a frame has one chain, and is lost if that
   * is too small; the chain stays available. With them the frame waits until there are enough.
   */
  #takeBuffers(bytes: number): Chain[] | 'wait' | 'too-small' {
    const queue = this.#transport.queue(RECEIVE_QUEUE)
    const chains: Chain[] = []
    let room = 0
    while (room < bytes) {
      const chain = queue.take()
      if (chain === undefined) {
        queue.putBack(chains.length)
        return 'wait'
      }
      chains.push(chain)
      room += chain.writableBytes
      if (room < bytes && !this.#transport.negotiated(FEATURE_MRG_RXBUF)) {
        queue.putBack(1)
        return 'too-small'
      }
    }
    return chains
  }

  #fill(chains: readonly Chain[], frame: Uint8Array): void {
    const packet = new Uint8Array(HEADER_BYTES + frame.length)
    new DataView(packet.buffer).setUint16(NUM_BUFFERS_OFFSET, chains.length, true)
    packet.set(frame, HEADER_BYTES)
    let position = 0
    const used = chains.map((chain) => {
      const piece = packet.subarray(position, position + chain.writableBytes)
      scatter(this.#transport.memory, chain.writable, 0, piece)
      position += piece.length
      return { head: chain.head, written: piece.length }
    })
    this.#transport.queue(RECEIVE_QUEUE).giveBack(used)
  }

  /** Sends everything that is available. Runts and giants are given back without being sent. */
  #transmitAll(): void {
    const queue = this.#transport.queue(TRANSMIT_QUEUE)
    for (const chain of queue.takeAll()) {
      const length = chain.readableBytes - HEADER_BYTES
      if (length >= FRAME_BYTES_MIN && length <= FRAME_BYTES_MAX && this.#linkUp) {
        this.#transmit(gather(this.#transport.memory, chain.readable, HEADER_BYTES, length))
      }
      queue.giveBack([{ head: chain.head, written: 0 }])
    }
  }
}

function loadFrame(reader: StateReader): Uint8Array {
  const frame = loadLimitedBytes(reader, 'frame', FRAME_BYTES_MAX)
  if (frame.length < FRAME_BYTES_MIN) throw new FormatError('machine state: a waiting frame is too short')
  return frame
}

/**
 * The virtio console (virtio 1.2, section 5.3): one port, with a size that the outside sets.
 *
 *     receive() -> backlog (bounded) -> buffers of the receive queue
 *
 * Input that comes before the driver is up waits; a reset of the device, also the one with which a driver
 * begins, drops it.
 */
import type { StateReader, StateWriter } from '../base/state.ts'
import { ByteBacklog, INPUT_BACKLOG_MAX } from './backlog.ts'
import { loadLimited } from './fields.ts'
import { features, type VirtioFunction, type VirtioTransport } from './virtio_mmio.ts'
import { gather, scatter } from './virtqueue.ts'

/** The longest piece of output that a driver may send at once; Linux sends at most 32 KiB. */
export const CONSOLE_OUTPUT_MAX = 64 * 1024

const QUEUE_SIZE = 64
const RECEIVE_QUEUE = 0
const TRANSMIT_QUEUE = 1
const FEATURE_SIZE = 0
const CONFIG_BYTES = 12

export interface VirtioConsoleOptions {
  /** Bytes that the guest prints, 1 to 65536 of them. */
  readonly transmit: (bytes: Uint8Array) => void
}

export class VirtioConsole implements VirtioFunction {
  readonly deviceId = 3
  readonly queueSizes = [QUEUE_SIZE, QUEUE_SIZE]
  readonly features = features([FEATURE_SIZE])
  readonly #transmit: (bytes: Uint8Array) => void
  readonly #backlog = new ByteBacklog(INPUT_BACKLOG_MAX)
  #transport!: VirtioTransport
  #columns = 80
  #rows = 24

  constructor(options: VirtioConsoleOptions) {
    this.#transmit = options.transmit
  }

  attach(transport: VirtioTransport): void {
    this.#transport = transport
  }

  /** Takes input from outside. Returns how many bytes were dropped because the backlog is full. */
  receive(bytes: Uint8Array): number {
    const dropped = this.#backlog.push(bytes)
    this.#deliver()
    return dropped
  }

  /** Sets the size in characters, each at most 65535. It stays over resets. */
  resize(columns: number, rows: number): void {
    if (columns === this.#columns && rows === this.#rows) return
    this.#columns = columns
    this.#rows = rows
    this.#transport.configChanged()
  }

  /** Section 5.3.4: columns, rows, number of ports, emergency write. */
  config(): Uint8Array {
    const config = new Uint8Array(CONFIG_BYTES)
    const view = new DataView(config.buffer)
    view.setUint16(0, this.#columns, true)
    view.setUint16(2, this.#rows, true)
    view.setUint32(4, 1, true)
    return config
  }

  notified(queue: number): void {
    if (queue === RECEIVE_QUEUE) this.#deliver()
    else this.#transmitAll()
  }

  reset(): void {
    this.#backlog.clear()
  }

  save(writer: StateWriter): void {
    writer.section('console', 1, () => {
      writer.u32('columns', this.#columns)
      writer.u32('rows', this.#rows)
      this.#backlog.save(writer, 'backlog')
    })
  }

  load(reader: StateReader): void {
    reader.section('console', 1, () => {
      this.#columns = loadLimited(reader, 'columns', 0xffff)
      this.#rows = loadLimited(reader, 'rows', 0xffff)
      this.#backlog.load(reader, 'backlog')
    })
  }

  #deliver(): void {
    if (!this.#transport.running) return
    const queue = this.#transport.queue(RECEIVE_QUEUE)
    while (this.#backlog.length > 0) {
      const chain = queue.take()
      if (chain === undefined) return
      if (chain.writableBytes === 0) {
        queue.break()
        return
      }
      const bytes = this.#backlog.take(Math.min(chain.writableBytes, this.#backlog.length))
      scatter(this.#transport.memory, chain.writable, 0, bytes)
      queue.giveBack([{ head: chain.head, written: bytes.length }])
    }
  }

  #transmitAll(): void {
    const queue = this.#transport.queue(TRANSMIT_QUEUE)
    for (const chain of queue.takeAll()) {
      if (chain.readableBytes > CONSOLE_OUTPUT_MAX) {
        // Output must not get lost in silence, and the work of a notification must stay bounded.
        queue.break()
        return
      }
      const bytes = gather(this.#transport.memory, chain.readable, 0, chain.readableBytes)
      if (bytes.length > 0) this.#transmit(bytes)
      queue.giveBack([{ head: chain.head, written: 0 }])
    }
  }
}

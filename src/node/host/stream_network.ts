/**
 * A plain network over a stream: Ethernet frames, each behind its length (u32, big-endian), as QEMU's `-netdev stream`
 * has them, so that passt, gvproxy, socket_vmnet and switches serve as they are.
 *
 *     waiting --attach--> connecting --connected--> up --closed--> connecting
 *
 * Such a peer knows neither epochs nor ordinals. What was written counts as left; what a failover repeats, TCP absorbs.
 */
import { connect, type Socket } from 'node:net'
import { ByteQueue } from '../../base/bytes.ts'
import { PORT } from '../../board/computer.ts'
import type { MachineOutput } from '../../replication/ports.ts'
import type { Network, NetworkEvents } from '../replica/machine_process.ts'
import { Announcer } from './announcement.ts'

const RETRY_MS = 100
const HEADER_BYTES = 4
/** QEMU's peers send no longer ones. */
const FRAME_BYTES_MAX = 65_536
const FRAME_BYTES_MIN = 14
/** What the peer may leave unread; frames beyond it are lost, as on any network. */
const UNSENT_BYTES_MAX = 4 << 20

export interface StreamNetworkOptions {
  /** The path of a unix socket, or host:port. */
  readonly address: string
  /** The machine's. */
  readonly mac: Uint8Array
  readonly ipAddress: string | undefined
  readonly onNotice: (text: string) => void
}

export class StreamNetwork implements Network {
  readonly #options: StreamNetworkOptions
  #epoch = 0
  #events: NetworkEvents | undefined
  #socket: Socket | undefined
  #isUp = false
  #isHeld = false
  #problem = ''
  #timer: NodeJS.Timeout | undefined
  readonly #announcer: Announcer
  /** Ordinals that have been written and not told. */
  readonly #written = new Map<number, bigint>()

  constructor(options: StreamNetworkOptions) {
    this.#options = options
    this.#announcer = new Announcer(options.mac, options.ipAddress, (frame) => {
      if (this.#socket !== undefined && this.#isUp) this.#send(this.#socket, frame)
    })
  }

  attach({ epoch }: { readonly epoch: number; readonly life: number }, events: NetworkEvents): void {
    this.#epoch = epoch
    this.#events = events
    this.#connect()
  }

  put({ port, ordinal, bytes }: MachineOutput): void {
    const socket = this.#socket
    if (socket === undefined || !this.#isUp || port !== PORT.net) return
    this.#send(socket, bytes)
    if (this.#written.size === 0) setImmediate(() => this.#tellLeft())
    this.#written.set(port, ordinal)
  }

  holdInput(isHeld: boolean): void {
    this.#isHeld = isHeld
    if (isHeld) this.#socket?.pause()
    else this.#socket?.resume()
  }

  close(): void {
    this.#events = undefined
    clearTimeout(this.#timer)
    this.#announcer.stop()
    this.#socket?.destroy()
  }

  #send(socket: Socket, frame: Uint8Array): void {
    if (socket.writableLength > UNSENT_BYTES_MAX) return
    const header = new Uint8Array(HEADER_BYTES)
    new DataView(header.buffer).setUint32(0, frame.length)
    socket.cork()
    socket.write(header)
    socket.write(frame)
    process.nextTick(() => socket.uncork())
  }

  #tellLeft(): void {
    for (const [port, ordinal] of this.#written) this.#events?.onLeft(port, ordinal)
    this.#written.clear()
  }

  #connect(): void {
    const { address } = this.#options
    const [, host, port] = /^([^/]+):(\d+)$/.exec(address) ?? []
    const socket = host === undefined ? connect(address) : connect(Number(port), host)
    this.#socket = socket
    socket.setNoDelay(true)
    const queue = new ByteQueue()
    socket.on('connect', () => this.#onConnected(socket))
    socket.on('data', (bytes: Uint8Array) => this.#onBytes(socket, queue, bytes))
    socket.on('error', (error) => this.#tell(`no network at ${address}: ${error.message}`))
    socket.on('close', () => this.#onClosed(socket))
  }

  #onConnected(socket: Socket): void {
    if (this.#events === undefined) return
    this.#problem = ''
    this.#isUp = true
    if (this.#isHeld) socket.pause()
    this.#announcer.start(this.#epoch)
    this.#events.onUp([])
  }

  #onBytes(socket: Socket, queue: ByteQueue, bytes: Uint8Array): void {
    queue.push(bytes)
    for (;;) {
      const header = queue.peek(HEADER_BYTES)
      if (header === undefined) return
      const length = new DataView(header.buffer, header.byteOffset).getUint32(0)
      if (length < FRAME_BYTES_MIN || length > FRAME_BYTES_MAX) {
        this.#tell(`the network at ${this.#options.address} sends a frame of ${length} bytes`)
        return void socket.destroy()
      }
      const whole = queue.peek(HEADER_BYTES + length)
      if (whole === undefined) return
      const frame = whole.slice(HEADER_BYTES)
      this.#announcer.onFrame(frame)
      this.#events?.onInput(PORT.net, frame)
      queue.skip(HEADER_BYTES + length)
    }
  }

  #onClosed(socket: Socket): void {
    if (this.#socket !== socket) return
    this.#isUp = false
    this.#announcer.stop()
    if (this.#events === undefined) return
    this.#timer = setTimeout(() => this.#connect(), RETRY_MS)
  }

  #tell(problem: string): void {
    if (problem !== this.#problem) this.#options.onNotice(problem)
    this.#problem = problem
  }
}

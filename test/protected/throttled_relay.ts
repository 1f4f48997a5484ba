/** A TCP relay that lets only so many bytes a second through, either way: a narrow line between two hosts. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** What is passed on at a time; less where the rate is low. */
const TURN_MS = 20
/** Read ahead of what may pass: what a router would queue. */
const QUEUE_BYTES = 32 * 1024

export class ThrottledRelay {
  readonly #server: Server
  readonly #target: number
  readonly #sockets = new Set<Socket>()
  #bytesPerSecond = Infinity
  #passedBytes = 0

  private constructor(server: Server, target: number) {
    this.#server = server
    this.#target = target
    server.on('connection', (client) => this.#join(client))
  }

  /** Relays to a port of the loopback, at full speed at first. */
  static async start(target: number): Promise<ThrottledRelay> {
    const server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new ThrottledRelay(server, target)
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** All that has passed, both ways. */
  get passedBytes(): number {
    return this.#passedBytes
  }

  /** From now on; each direction of each connection has that rate for itself. */
  limit(bytesPerSecond: number): void {
    assert.ok(bytesPerSecond > 0)
    this.#bytesPerSecond = bytesPerSecond
  }

  close(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  #join(client: Socket): void {
    const server = connect(this.#target, '127.0.0.1')
    for (const socket of [client, server]) {
      socket.setNoDelay(true)
      this.#sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        this.#sockets.delete(socket)
        const other = socket === client ? server : client
        other.destroy()
      })
    }
    void this.#pass(client, server)
    void this.#pass(server, client)
  }

  /** Ends with either socket. Each piece takes the time that it takes at the rate of then. */
  async #pass(source: Socket, target: Socket): Promise<void> {
    try {
      for await (const bytes of source as AsyncIterable<Buffer>) {
        for (let at = 0; at < bytes.length; ) {
          const rate = this.#bytesPerSecond
          const size = Math.max(1, Math.min(QUEUE_BYTES, Math.floor((rate * TURN_MS) / 1000)))
          const piece = bytes.subarray(at, at + size)
          at += piece.length
          this.#passedBytes += piece.length
          if (!target.write(piece)) await once(target, 'drain')
          if (rate !== Infinity) await delay((piece.length / rate) * 1000)
        }
      }
      target.end()
    } catch {
      target.destroy()
    }
  }
}

const delay = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

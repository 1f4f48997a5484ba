/**
 * One connection with the guest and the real one behind it, tied together: bytes, ends and resets of one are those of
 * the other, and whoever is slow slows the other down.
 */
import type { Socket } from 'node:net'
import type { TcpConnection } from './stack/tcp_connection.ts'
import type { TcpHandler } from './stack/tcp_environment.ts'

/** A client that is gone without a word is noticed some day, as the guest itself would. */
const KEEP_ALIVE_MS = 10 * 60_000

export class TcpBridge implements TcpHandler {
  readonly #socket: Socket
  /** Tells the stack what time it is: before anything is told to a connection. */
  readonly #enter: () => void
  #connection: TcpConnection | undefined
  #hasEnded = false
  #guestHasEnded = false
  #isCorked = false

  /** `socket` is paused, or not connected yet. */
  constructor(socket: Socket, enter: () => void) {
    this.#socket = socket
    this.#enter = enter
    socket.setNoDelay(true)
    socket.setKeepAlive(true, KEEP_ALIVE_MS)
    // 'close' follows, and says all that matters.
    socket.on('error', () => {})
    socket.on('close', (hadError) => this.#onClose(hadError))
  }

  /** What the socket is tied to. */
  tie(connection: TcpConnection): void {
    this.#connection = connection
  }

  onOpen(): void {
    this.#socket.on('data', (bytes: Buffer) => this.#onSocketData(bytes))
    this.#socket.on('end', () => this.#onSocketEnd())
    this.#socket.resume()
  }

  onData(bytes: Uint8Array): void {
    // What comes in one go leaves in one go.
    if (!this.#isCorked) {
      this.#isCorked = true
      this.#socket.cork()
      process.nextTick(this.#uncork)
    }
    this.#socket.write(Buffer.from(bytes), this.#onTaken)
  }

  onEnd(): void {
    this.#guestHasEnded = true
    this.#socket.end()
  }

  onRoom(): void {
    this.#socket.resume()
  }

  onReset(): void {
    // A socket that has never connected has nobody to tell.
    if (this.#socket.connecting) this.#socket.destroy()
    else this.#socket.resetAndDestroy()
  }

  readonly #uncork = (): void => {
    this.#isCorked = false
    this.#socket.uncork()
  }

  readonly #onTaken = (error?: Error | null): void => {
    if (error) return
    this.#enter()
    this.#connection?.setUnread(this.#socket.writableLength)
  }

  #onSocketData(bytes: Uint8Array): void {
    this.#enter()
    if (this.#connection?.write(bytes) === false) this.#socket.pause()
  }

  #onSocketEnd(): void {
    this.#hasEnded = true
    this.#enter()
    this.#connection?.end()
  }

  /** Anything but two ends is a reset, also a connection that never came about. */
  #onClose(hadError: boolean): void {
    if (!hadError && this.#hasEnded && this.#guestHasEnded) return
    this.#enter()
    this.#connection?.abort()
  }
}

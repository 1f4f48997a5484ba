/**
 * A client of Redis that hides nothing: it never connects again, and whatever ends its connection, other than its own
 * `close`, is a *connection error*, which is kept. A protected machine's clients must see none.
 */
import { connect, type Socket } from 'node:net'
import { encodeCommand, RedisError, type Reply, ReplyParser } from './resp.ts'

/** The connection ended before the answer came: whether the command was executed is not known. */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError'
}

/** A command with its answer. */
export interface Answered {
  readonly reply: Exclude<Reply, RedisError>
  /** performance.now(), when the command was written and when its answer had come. */
  readonly callMs: number
  readonly returnMs: number
}

interface Waiting {
  readonly callMs: number
  readonly resolve: (answered: Answered) => void
  readonly reject: (error: Error) => void
}

export class RedisClient {
  readonly #socket: Socket
  readonly #parser = new ReplyParser()
  readonly #waiting: Waiting[] = []
  #isClosing = false
  #error: ConnectionError | undefined

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setNoDelay(true)
    socket.on('data', (bytes: Buffer) => this.#onData(bytes))
    socket.on('error', (error) => this.#end(error.message))
    socket.on('end', () => this.#end('the server has closed the connection'))
    socket.on('close', () => this.#end('the connection is closed'))
  }

  /** Rejects with a ConnectionError if there is no connection. */
  static connect(port: number, host = '127.0.0.1'): Promise<RedisClient> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host })
      const onError = (error: Error): void => reject(new ConnectionError(error.message))
      socket.once('error', onError)
      socket.once('connect', () => {
        socket.off('error', onError)
        resolve(new RedisClient(socket))
      })
    })
  }

  /** What has ended the connection, unless that was `close`. */
  get connectionError(): ConnectionError | undefined {
    return this.#error
  }

  /** When the oldest command was called whose answer has not come. */
  get oldestCallMs(): number | undefined {
    return this.#waiting[0]?.callMs
  }

  /**
   * Resolves with the answer; rejects with a RedisError that the server has answered with, or with a ConnectionError.
   * Callers who want no pipelining await each answer before the next command.
   */
  command(...words: readonly string[]): Promise<Answered> {
    return new Promise((resolve, reject) => {
      if (this.#error !== undefined || this.#isClosing) {
        reject(this.#error ?? new ConnectionError('this client was closed'))
        return
      }
      this.#waiting.push({ callMs: performance.now(), resolve, reject })
      this.#socket.write(encodeCommand(words))
    })
  }

  /** Several commands in one write; resolves with their answers. */
  async pipeline(commands: readonly (readonly string[])[]): Promise<Answered[]> {
    this.#socket.cork()
    const answers = commands.map((words) => this.command(...words))
    this.#socket.uncork()
    return Promise.all(answers)
  }

  /** Ends the connection; whoever still waits for an answer gets a ConnectionError. */
  close(): void {
    this.#isClosing = true
    this.#rejectAll(new ConnectionError('this client was closed'))
    this.#socket.destroy()
  }

  #onData(bytes: Uint8Array): void {
    try {
      for (const reply of this.#parser.push(bytes)) this.#onReply(reply)
    } catch (error) {
      this.#end(error instanceof Error ? error.message : String(error))
    }
  }

  #onReply(reply: Reply): void {
    const waiting = this.#waiting.shift()
    if (waiting === undefined) {
      this.#end('an answer to no question')
      return
    }
    if (reply instanceof RedisError) waiting.reject(reply)
    else waiting.resolve({ reply, callMs: waiting.callMs, returnMs: performance.now() })
  }

  #end(reason: string): void {
    if (this.#isClosing || this.#error !== undefined) return
    this.#error = new ConnectionError(reason)
    this.#rejectAll(this.#error)
    this.#socket.destroy()
  }

  #rejectAll(error: ConnectionError): void {
    for (const { reject } of this.#waiting.splice(0)) reject(error)
  }
}

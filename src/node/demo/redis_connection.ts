/** One connection to a Redis server, with one question at a time. */
import { connect, type Socket } from 'node:net'
import { assert } from '../../base/assert.ts'
import { UserError } from '../../base/errors.ts'
import { encodeCommand, RedisError, type Reply, ReplyDecoder } from './resp.ts'

export interface RedisAddress {
  readonly host: string
  readonly port: number
}

interface Waiting {
  readonly resolve: (reply: Reply) => void
  readonly reject: (error: UserError) => void
  readonly timer: NodeJS.Timeout
}

export class RedisConnection {
  readonly #socket: Socket
  readonly #decoder = new ReplyDecoder()
  #waiting: Waiting | undefined
  #closed: string | undefined

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (bytes: Buffer) => this.#onBytes(bytes))
    socket.on('error', (error) => this.#close(error.message))
    socket.on('close', () => this.#close('the server has closed the connection'))
  }

  /** Connects. Rejects with a UserError if nobody answers in time. */
  static open({ host, port }: RedisAddress, timeoutMs: number): Promise<RedisConnection> {
    const socket = connect({ host, port, noDelay: true })
    const connection = new RedisConnection(socket)
    return new Promise((resolve, reject) => {
      const fail = (why: string): void => {
        clearTimeout(timer)
        connection.#close(why)
        reject(new UserError(`no connection to ${host}:${port}: ${why}`))
      }
      const timer = setTimeout(() => fail(`no answer within ${timeoutMs} ms`), timeoutMs)
      socket.once('connect', () => {
        clearTimeout(timer)
        resolve(connection)
      })
      socket.once('error', (error) => fail(error.message))
    })
  }

  /** Asks, and resolves with the answer. Rejects with a UserError: what the server says, or why it says nothing. */
  ask(words: readonly string[], timeoutMs: number): Promise<Reply> {
    assert(this.#waiting === undefined, 'two questions at once')
    if (this.#closed !== undefined) return Promise.reject(new UserError(this.#closed))
    const { promise, resolve, reject } = Promise.withResolvers<Reply>()
    const timer = setTimeout(() => this.#close(`no answer within ${timeoutMs} ms`), timeoutMs)
    this.#waiting = { resolve, reject, timer }
    this.#socket.write(encodeCommand(words))
    return promise
  }

  close(): void {
    this.#close('closed by this side')
  }

  #onBytes(bytes: Buffer): void {
    if (this.#closed !== undefined) return
    try {
      this.#decoder.push(bytes)
      const reply = this.#decoder.next()
      if (reply !== undefined) this.#onReply(reply)
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      this.#close(`not an answer of Redis: ${error.message}`)
    }
  }

  #onReply(reply: Reply): void {
    const waiting = this.#waiting
    if (waiting === undefined) return this.#close('an answer to no question')
    this.#waiting = undefined
    clearTimeout(waiting.timer)
    if (reply instanceof RedisError) waiting.reject(new UserError(reply.message))
    else waiting.resolve(reply)
  }

  #close(why: string): void {
    if (this.#closed !== undefined) return
    this.#closed = why
    this.#socket.destroy()
    const waiting = this.#waiting
    this.#waiting = undefined
    if (waiting === undefined) return
    clearTimeout(waiting.timer)
    waiting.reject(new UserError(why))
  }
}

/** The asking side of a control connection. */
import type { Duplex } from 'node:stream'
import type { JsonObject, JsonValue } from '../base/canonical_json.ts'
import {
  CONSOLE_BYTES_MAX,
  ControlError,
  type ControlMessage,
  controlDecoder,
  decodeControl,
  encodeControl,
} from './control_protocol.ts'
import { FrameReader } from './frame_stream.ts'
import { printable } from './secure_notices.ts'

export interface ControlClientEvents {
  onEvent?(event: string, data: JsonValue): void
  /** Bytes of a console. */
  onBytes?(channel: number, bytes: Uint8Array): void
  /** Called once, with one line. Requests without an answer have been rejected by then. */
  onClose?(reason: string): void
}

export interface RequestOptions {
  /** 10,000 by default; Infinity for a request that may take as long as it takes. */
  readonly timeoutMs?: number
}

const TIMEOUT_MS = 10_000
/** As many as the server works on. */
const REQUESTS_MAX = 64

interface Pending {
  readonly resolve: (result: JsonValue) => void
  readonly reject: (error: ControlError) => void
  readonly timer: NodeJS.Timeout | undefined
}

export class ControlClient {
  readonly #stream: Duplex
  readonly #reader: FrameReader
  readonly #events: ControlClientEvents
  readonly #pending = new Map<number, Pending>()
  #lastId = 0
  #closed: string | undefined

  constructor(stream: Duplex, events: ControlClientEvents = {}) {
    this.#stream = stream
    this.#events = events
    this.#reader = new FrameReader(stream, controlDecoder('control connection'), {
      onFrame: (frame) => this.#onMessage(decodeControl(frame)),
      onClose: (reason) => this.#onClose(printable(reason)),
    })
  }

  /** Asks for something. Rejects with a ControlError: what the server said, or 'timeout', 'closed', 'busy', 'too long'. */
  request(
    method: string,
    parameters: JsonObject = {},
    { timeoutMs = TIMEOUT_MS }: RequestOptions = {},
  ): Promise<JsonValue> {
    if (this.#closed !== undefined) return refused(`the connection is closed: ${this.#closed}`, 'closed')
    if (this.#pending.size >= REQUESTS_MAX) return refused(`${REQUESTS_MAX} requests wait already`, 'busy')
    const id = ++this.#lastId
    const bytes = encodeControl({ kind: 'request', id, method, parameters })
    if (bytes === undefined) return refused(`the parameters of ${method} are too long`, 'too long')
    this.#stream.write(bytes)
    const { promise, resolve, reject } = Promise.withResolvers<JsonValue>()
    const onTimeout = (): void => {
      this.#pending.delete(id)
      reject(new ControlError(`no answer to ${method} within ${timeoutMs} ms`, 'timeout'))
    }
    const timer = timeoutMs === Number.POSITIVE_INFINITY ? undefined : setTimeout(onTimeout, timeoutMs)
    this.#pending.set(id, { resolve, reject, timer })
    return promise
  }

  /** Sends bytes to a console. False if the caller should wait for `onDrained` before it sends more. */
  bytes(channel: number, bytes: Uint8Array): boolean {
    if (this.#closed !== undefined) return true
    for (let at = 0; at < bytes.length; at += CONSOLE_BYTES_MAX) {
      const piece = bytes.subarray(at, at + CONSOLE_BYTES_MAX)
      this.#stream.write(encodeControl({ kind: 'bytes', channel, bytes: piece })!)
    }
    return !this.#stream.writableNeedDrain
  }

  /** Calls `resume` once the server has taken what it was sent; never if the connection ends first. */
  onDrained(resume: () => void): void {
    if (this.#stream.writableNeedDrain) this.#stream.once('drain', resume)
    else setImmediate(resume)
  }

  close(): void {
    this.#reader.close('closed by this side')
  }

  #onMessage(message: ControlMessage): void {
    switch (message.kind) {
      case 'event':
        return this.#events.onEvent?.(message.event, message.data)
      case 'bytes':
        return this.#events.onBytes?.(message.channel, message.bytes)
      case 'request':
        return this.#reader.close('the server asks instead of answering')
      case 'result':
        return this.#take(message.id)?.resolve(message.result)
      case 'error':
        return this.#take(message.id)?.reject(new ControlError(printable(message.message), message.code))
    }
  }

  /** The request that an answer is for: none if it has been given up. */
  #take(id: number): Pending | undefined {
    const pending = this.#pending.get(id)
    if (pending === undefined) {
      if (id > this.#lastId || id === 0)
        this.#reader.close(`an answer to request ${id}, which was never made`)
      return undefined
    }
    this.#pending.delete(id)
    clearTimeout(pending.timer)
    return pending
  }

  #onClose(reason: string): void {
    this.#closed = reason
    for (const { reject, timer } of this.#pending.values()) {
      clearTimeout(timer)
      reject(new ControlError(`the connection is closed: ${reason}`, 'closed'))
    }
    this.#pending.clear()
    this.#events.onClose?.(reason)
  }
}

function refused(message: string, code: string): Promise<never> {
  return Promise.reject(new ControlError(message, code))
}

/**
 * The answering side of control connections. What a peer sends wrong ends its own connection and nothing else; a peer
 * that does not read what it is sent is cut off, so that nothing piles up for it.
 */
import type { Duplex } from 'node:stream'
import type { JsonObject, JsonValue } from '../base/canonical_json.ts'
import { UserError } from '../base/errors.ts'
import {
  CONSOLE_BYTES_MAX,
  ControlError,
  type ControlMessage,
  controlDecoder,
  decodeControl,
  encodeControl,
} from './control_protocol.ts'
import { type Frame, FrameReader } from './frame_stream.ts'
import { NoticeLimit } from './secure_notices.ts'

/** A method of the table, made by `controlMethod`. */
export interface ControlMethod {
  call(parameters: JsonObject, session: ControlSession): Promise<JsonValue>
}

/**
 * A method: `check` makes what the peer sent into parameters or throws a UserError; `run` does the work. A UserError
 * that `run` rejects with is the answer; any other error is our own and ends the process.
 */
export function controlMethod<Parameters>(
  check: (parameters: JsonObject) => Parameters,
  run: (parameters: Parameters, session: ControlSession) => Promise<JsonValue>,
): ControlMethod {
  return {
    async call(parameters, session) {
      return run(checked(check, parameters), session)
    },
  }
}

function checked<Parameters>(
  check: (parameters: JsonObject) => Parameters,
  parameters: JsonObject,
): Parameters {
  try {
    return check(parameters)
  } catch (error) {
    if (error instanceof UserError) throw new ControlError(error.message, 'bad parameters')
    throw error
  }
}

/** Requests of one peer that are being worked on. */
const REQUESTS_MAX = 64
/** What one peer may leave unread: some results of the longest kind. */
const UNREAD_BYTES_MAX = 8 << 20

export class ControlServer {
  readonly #methods: ReadonlyMap<string, ControlMethod>
  readonly #notices: NoticeLimit
  readonly #sessions = new Set<ControlSession>()

  /** `onNotice` is told, now and then, why connections were cut off. */
  constructor(methods: Readonly<Record<string, ControlMethod>>, onNotice: (line: string) => void) {
    this.#methods = new Map(Object.entries(methods))
    this.#notices = new NoticeLimit(onNotice)
  }

  /** The connections that are open. */
  get sessions(): ReadonlySet<ControlSession> {
    return this.#sessions
  }

  /** Serves a peer over a stream until that closes. */
  accept(stream: Duplex, peerName: string): ControlSession {
    const session = new ControlSession(stream, peerName, this.#methods, (reason, isFault) => {
      this.#sessions.delete(session)
      if (isFault) this.#notices.say(`control connection of ${peerName}: cut off: ${reason}`)
    })
    this.#sessions.add(session)
    return session
  }

  /** Closes all connections. */
  close(): void {
    for (const session of this.#sessions) session.close()
  }
}

/** One peer's connection, as methods see it. */
export class ControlSession {
  readonly peerName: string
  readonly #stream: Duplex
  readonly #methods: ReadonlyMap<string, ControlMethod>
  readonly #reader: FrameReader
  readonly #onEnd: (reason: string, isFault: boolean) => void
  readonly #closers: (() => void)[] = []
  #onBytes: ((channel: number, bytes: Uint8Array) => void) | undefined
  #running = 0
  #isClosed = false

  constructor(
    stream: Duplex,
    peerName: string,
    methods: ReadonlyMap<string, ControlMethod>,
    onEnd: (reason: string, isFault: boolean) => void,
  ) {
    this.peerName = peerName
    this.#stream = stream
    this.#methods = methods
    this.#onEnd = onEnd
    this.#reader = new FrameReader(stream, controlDecoder('control connection'), {
      onFrame: (frame) => this.#onFrame(frame),
      onClose: (reason, isFault) => this.#onClose(reason, isFault),
    })
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** Bytes that the peer has not taken yet. Whoever sends much waits (`onDrained`) while these are many. */
  get unreadBytes(): number {
    return this.#stream.writableLength
  }

  /** Calls `resume` once the peer has taken what it was sent; never if it closes first. */
  onDrained(resume: () => void): void {
    if (this.#stream.writableNeedDrain) this.#stream.once('drain', resume)
    else setImmediate(resume)
  }

  /** Tells the peer of something that it did not ask for just now. */
  event(event: string, data: JsonValue): void {
    this.#send({ kind: 'event', event, data })
  }

  /** Sends bytes of a console. */
  bytes(channel: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += CONSOLE_BYTES_MAX) {
      this.#send({ kind: 'bytes', channel, bytes: bytes.subarray(at, at + CONSOLE_BYTES_MAX) })
    }
  }

  /** Whom bytes from the peer go to. Without anybody, they end the connection. */
  onBytes(take: ((channel: number, bytes: Uint8Array) => void) | undefined): void {
    this.#onBytes = take
  }

  /** Called once when the connection has ended; at once if it has already. */
  onClose(call: () => void): void {
    if (this.#isClosed) call()
    else this.#closers.push(call)
  }

  close(): void {
    this.#reader.close('closed by this side')
  }

  #onFrame(frame: Frame): void {
    const message = decodeControl(frame)
    if (message.kind === 'request') this.#onRequest(message)
    else if (message.kind === 'bytes' && this.#onBytes !== undefined)
      this.#onBytes(message.channel, message.bytes)
    else this.#fault(`unexpected message '${message.kind}'`)
  }

  #onRequest({ id, method: name, parameters }: Extract<ControlMessage, { kind: 'request' }>): void {
    const method = this.#methods.get(name)
    const refusal =
      method === undefined
        ? new ControlError(`there is no method '${name}'`, 'unknown method')
        : new ControlError(`${REQUESTS_MAX} requests are under way already`, 'busy')
    if (method === undefined || this.#running >= REQUESTS_MAX) return this.#refuse(id, refusal)
    this.#running++
    method
      .call(parameters, this)
      .then(
        (result) => this.#send({ kind: 'result', id, result }, id),
        (error: unknown) => {
          if (error instanceof UserError) return this.#refuse(id, error)
          // Our own mistake: nobody else handles this, so it ends the process.
          throw error
        },
      )
      .finally(() => this.#running--)
  }

  #refuse(id: number, error: UserError): void {
    const code = error instanceof ControlError ? error.code : 'failed'
    this.#send({ kind: 'error', id, message: error.message, code })
  }

  #send(message: ControlMessage, id?: number): void {
    if (this.#isClosed) return
    const bytes = encodeControl(message)
    if (bytes === undefined) {
      if (id === undefined) return this.#fault(`an event too long to be sent`)
      return this.#refuse(id, new ControlError('the result is too long to be sent', 'too long'))
    }
    this.#stream.write(bytes)
    if (this.#stream.writableLength > UNREAD_BYTES_MAX) this.#fault('it does not read what it is sent')
  }

  #fault(reason: string): void {
    this.#reader.close(reason, true)
  }

  #onClose(reason: string, isFault: boolean): void {
    this.#isClosed = true
    this.#onEnd(reason, isFault)
    for (const call of this.#closers.splice(0)) call()
  }
}

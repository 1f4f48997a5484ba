/** The dialler's side of a secure channel (secure_listener.ts has the other one). */
import type { TLSSocket } from 'node:tls'
import { assert } from '../base/assert.ts'
import type { JsonObject } from '../base/canonical_json.ts'
import { FormatError } from '../base/errors.ts'
import { type Credentials, isPeerName } from './secure_credentials.ts'
import { encodeHello, parseAnswer, type Service, type Terms, takeMessage } from './secure_handshake.ts'
import { printable } from './secure_notices.ts'
import { isConnectionRefused, isConnectionReset, tlsProblem } from './secure_problem.ts'

export interface DialOptions {
  readonly credentials: Credentials
  /** This process's own name. */
  readonly name: string
  /** Who must be at the other end. */
  readonly peerName: string
  readonly host: string
  readonly port: number
  readonly service: Service
  /** What the peer must have equal. */
  readonly terms: Terms
  /** What the peer is told beyond that. */
  readonly info?: Terms
  /** How long it may take until the peer has accepted. 5000 by default. */
  readonly timeoutMs?: number
}

export interface DialFailure {
  /** The system says that no process listens there. */
  readonly isRefused: boolean
  /** The connection was there, and closed before the peer had said anything. */
  readonly isCut: boolean
  /** One line. */
  readonly reason: string
}

/** Exactly one of them is called, later; none after `abort`. */
export interface DialEvents {
  /** The peer has accepted, and told `info`. What came behind its answer is still in the stream; errors only close it. */
  opened(stream: TLSSocket, info: Terms): void
  failed(failure: DialFailure): void
}

const TIMEOUT_MS = 5000

/** Opens a channel to a service of a peer. */
export function dialSecure(options: DialOptions, on: DialEvents): { abort(): void } {
  const { name, peerName } = options
  assert(isPeerName(name) && isPeerName(peerName), `not names of peers: '${name}', '${peerName}'`)
  const dial = new Dial(options, on)
  return { abort: () => dial.abort() }
}

class Dial {
  readonly #options: DialOptions
  readonly #on: DialEvents
  readonly #socket: TLSSocket
  readonly #timer: NodeJS.Timeout
  #isOver = false

  constructor(options: DialOptions, on: DialEvents) {
    const { timeoutMs = TIMEOUT_MS } = options
    this.#options = options
    this.#on = on
    this.#socket = options.credentials.connect(options)
    this.#socket.on('error', (error) => {
      this.#fail(tlsProblem(error), {
        isRefused: isConnectionRefused(error),
        isCut: isConnectionReset(error),
      })
    })
    this.#socket.on('close', () => {
      this.#fail('the connection was closed during the handshake', { isCut: true })
    })
    this.#socket.on('secureConnect', () => this.#onSecure())
    this.#timer = setTimeout(() => this.#fail(`no answer within ${timeoutMs} ms`), timeoutMs)
  }

  /** Gives up, unless the channel is open already. */
  abort(): void {
    if (this.#isOver) return
    this.#end()
    this.#socket.destroy()
  }

  #end(): void {
    this.#isOver = true
    clearTimeout(this.#timer)
  }

  #fail(problem: string, { isRefused = false, isCut = false } = {}): void {
    if (this.#isOver) return
    this.#end()
    this.#socket.destroy()
    const { peerName, host, port } = this.#options
    const reason = printable(`${peerName} at ${host} port ${port}: ${problem}`)
    this.#on.failed({ isRefused, isCut, reason })
  }

  #onSecure(): void {
    if (this.#isOver) return
    const { credentials, name, peerName, service, terms, info = {} } = this.#options
    if (!credentials.isPeer(this.#socket, peerName)) {
      return this.#fail(`the certificate there is not one of ${peerName}`)
    }
    this.#socket.write(encodeHello({ service, from: name, to: peerName, terms, info }))
    takeMessage(this.#socket, (outcome) => this.#onAnswer(outcome))
  }

  #onAnswer(outcome: JsonObject | FormatError): void {
    if (this.#isOver) return
    const answer = this.#parse(outcome)
    if (answer instanceof FormatError) return this.#fail(answer.message)
    if ('refused' in answer) return this.#fail(`refused: ${answer.refused}`)
    const { peerName } = this.#options
    if (answer.from !== peerName) return this.#fail(`it calls itself ${answer.from}`)
    this.#end()
    this.#on.opened(this.#socket, answer.info)
  }

  #parse(outcome: JsonObject | FormatError): ReturnType<typeof parseAnswer> | FormatError {
    if (outcome instanceof FormatError) return outcome
    try {
      return parseAnswer(outcome)
    } catch (error) {
      if (error instanceof FormatError) return error
      throw error
    }
  }
}

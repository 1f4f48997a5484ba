/**
 * The one port of a process at which others reach its services, over TLS with a handshake.
 *
 *     accepted ──TLS──> proved ──hello──> checked ──answer──> the service's
 *         └───────────────┴──────────────────┴── wrong, or not within handshakeMs ──> closed, with a notice
 *
 * Only so many connections may be on the way at once. One more takes the place of the oldest: an honest peer needs
 * milliseconds, so that a crowd of silent ones does not keep it out.
 */
import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import type { Server, TLSSocket } from 'node:tls'
import type { JsonObject } from '../base/canonical_json.ts'
import { FormatError, UserError } from '../base/errors.ts'
import { systemErrorCode } from './file_error.ts'
import type { Credentials } from './secure_credentials.ts'
import {
  disagreement,
  encodeAnswer,
  type Hello,
  parseHello,
  type Service,
  type Terms,
  takeMessage,
} from './secure_handshake.ts'
import { NoticeLimit, printable } from './secure_notices.ts'
import { tlsProblem } from './secure_problem.ts'

export interface Peer {
  /** Its name, which TLS has proved. */
  readonly name: string
  /** Where it dialled from. */
  readonly address: string
  readonly hello: Hello
}

/** What a process offers to its peers. */
export interface ServiceHandler {
  /** What a peer must have equal to be accepted. */
  terms(): Terms
  /** Why a peer that agrees on the terms is not accepted all the same; undefined if it is. */
  check?(hello: Hello): Promise<string | undefined>
  /** What a peer is told when it is accepted. */
  info?(): Terms
  /** A peer's channel. Bytes that came behind its hello are still in it; errors only close it. */
  accept(stream: TLSSocket, peer: Peer): void
}

export interface ListenerOptions {
  readonly credentials: Credentials
  /** This process's own name. */
  readonly name: string
  readonly host: string
  /** 0 takes any that is free. */
  readonly port: number
  readonly services: Readonly<Partial<Record<Service, ServiceHandler>>>
  /** Told of those who were turned away; not more often than a log can bear. */
  readonly onNotice: (line: string) => void
  /** Told of a peer that has proved its name, and is refused a service all the same: it has other terms, say. */
  readonly onRefused?: (peerName: string, service: Service, reason: string) => void
  /** How long a peer may take for TLS and hello. 5000 by default. */
  readonly handshakeMs?: number
  /** Connections whose handshake has not finished. 64 by default. */
  readonly unfinishedMax?: number
}

export interface SecureListener {
  readonly port: number
  /** Stops listening, and closes all channels that came this way. */
  close(): Promise<void>
}

const HANDSHAKE_MS = 5000
const UNFINISHED_MAX = 64
const REFUSALS_MAX = 64

/** Rejects with a UserError if the address cannot be had. */
export async function listenSecure(options: ListenerOptions): Promise<SecureListener> {
  const { credentials, name, host, port, handshakeMs = HANDSHAKE_MS } = options
  // The listener's own timer is the one that speaks.
  const server = credentials.createServer(name, 2 * handshakeMs)
  server.listen(port, host)
  try {
    await once(server, 'listening')
  } catch (error) {
    const code = systemErrorCode(error)
    if (code === undefined) throw error
    const remedy = code === 'EADDRINUSE' ? 'it is in use: name another port' : code
    throw new UserError(`cannot listen at ${host} port ${port}: ${remedy}`, { cause: error })
  }
  return new Listener(server, options)
}

/** A connection on its way. */
interface Unfinished {
  readonly socket: Socket
  readonly address: string
  readonly timer: NodeJS.Timeout
  /** There has been a notice about it. */
  isTold: boolean
}

class Listener implements SecureListener {
  readonly port: number
  readonly #server: Server
  readonly #options: ListenerOptions
  readonly #notices: NoticeLimit
  /** The oldest first; the key is the peer's address, which TLS leaves as it is. */
  readonly #unfinished = new Map<string, Unfinished>()
  readonly #channels = new Set<TLSSocket>()
  /** What peers were refused for last, by their names. */
  readonly #refusals = new Map<string, string>()

  constructor(server: Server, options: ListenerOptions) {
    this.port = (server.address() as AddressInfo).port
    this.#server = server
    this.#options = options
    this.#notices = new NoticeLimit(options.onNotice)
    server.on('connection', (socket) => this.#onConnection(socket))
    server.on('secureConnection', (socket) => this.#onSecure(socket))
    server.on('tlsClientError', (error, socket) => {
      const entry = this.#unfinished.get(addressOf(socket) ?? '')
      if (entry !== undefined) this.#turnAway(entry, tlsProblem(error))
    })
    // Out of file descriptors, for one: the server goes on.
    server.on('error', (error) => this.#notices.say(`a connection was not accepted: ${error.message}`))
  }

  async close(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#server.close(() => resolve())
    for (const entry of [...this.#unfinished.values()]) {
      this.#finish(entry)
      entry.socket.destroy()
    }
    for (const socket of this.#channels) socket.destroy()
    await promise
  }

  #onConnection(socket: Socket): void {
    const { handshakeMs = HANDSHAKE_MS, unfinishedMax = UNFINISHED_MAX } = this.#options
    const address = addressOf(socket)
    if (address === undefined) {
      socket.destroy()
      return
    }
    const [oldest] = this.#unfinished.values()
    if (oldest !== undefined && this.#unfinished.size >= unfinishedMax) {
      this.#drop(oldest, 'too many handshakes at once')
    }
    const timer = setTimeout(() => this.#drop(entry, `no handshake within ${handshakeMs} ms`), handshakeMs)
    const entry: Unfinished = { socket, address, timer, isTold: false }
    this.#unfinished.set(address, entry)
    socket.on('close', () => {
      if (this.#unfinished.get(address) !== entry) return
      this.#turnAway(entry, 'closed before its handshake was finished')
      this.#finish(entry)
    })
  }

  #drop(entry: Unfinished, reason: string): void {
    this.#turnAway(entry, reason)
    this.#finish(entry)
    entry.socket.destroy()
  }

  #turnAway(entry: Unfinished, reason: string): void {
    if (!entry.isTold) this.#notices.say(`${entry.address}: turned away: ${reason}`)
    entry.isTold = true
  }

  #finish(entry: Unfinished): void {
    clearTimeout(entry.timer)
    if (this.#unfinished.get(entry.address) === entry) this.#unfinished.delete(entry.address)
  }

  #onSecure(socket: TLSSocket): void {
    // Errors end as a close.
    socket.on('error', () => {})
    const entry = this.#unfinished.get(addressOf(socket) ?? '')
    if (entry === undefined) {
      socket.destroy()
      return
    }
    takeMessage(socket, (outcome) => this.#onHello(socket, entry, outcome))
  }

  #onHello(socket: TLSSocket, entry: Unfinished, outcome: JsonObject | FormatError): void {
    // Whoever took too long has been dropped in between.
    if (this.#unfinished.get(entry.address) !== entry) return
    const hello = checked(outcome)
    const refused = hello instanceof FormatError ? hello.message : this.#refusal(socket, hello)
    // A peer that tries again and again is told of once for each reason.
    if (refused !== undefined && !(hello instanceof FormatError))
      entry.isTold ||= this.#isRepeated(hello.from, refused)
    if (refused !== undefined || hello instanceof FormatError)
      return this.#refuse(socket, entry, `${refused}`)
    const handler = this.#options.services[hello.service]!
    if (handler.check === undefined) return this.#accept(socket, entry, hello, handler)
    void handler.check(hello).then((problem) => {
      if (this.#unfinished.get(entry.address) !== entry) return
      if (problem === undefined) this.#accept(socket, entry, hello, handler)
      else this.#refuse(socket, entry, problem)
    })
  }

  #accept(socket: TLSSocket, entry: Unfinished, hello: Hello, handler: ServiceHandler): void {
    this.#finish(entry)
    this.#channels.add(socket)
    socket.on('close', () => this.#channels.delete(socket))
    socket.write(encodeAnswer({ from: this.#options.name, info: handler.info?.() ?? {} }))
    handler.accept(socket, { name: hello.from, address: entry.address, hello })
  }

  #isRepeated(name: string, reason: string): boolean {
    if (this.#refusals.get(name) === reason) return true
    if (this.#refusals.size >= REFUSALS_MAX) this.#refusals.clear()
    this.#refusals.set(name, reason)
    return false
  }

  /** Why a peer is not accepted, if it is not. */
  #refusal(socket: TLSSocket, { service, from, to, terms }: Hello): string | undefined {
    const { credentials, name, services, onRefused } = this.#options
    if (!credentials.isPeer(socket, from)) return `whoever calls itself ${from} has not proved that it is`
    if (to !== name) return `this is ${name}, not ${to}`
    const handler = services[service]
    if (handler === undefined) return `${name} does not serve '${service}'`
    const reason = disagreement({ name: from, terms }, { name, terms: handler.terms() })
    if (reason === undefined) this.#refusals.delete(from)
    else onRefused?.(from, service, reason)
    return reason
  }

  /** The reason must have time to arrive, so the socket stays, deaf, until the peer closes it or its time is up. */
  #refuse(socket: TLSSocket, entry: Unfinished, reason: string): void {
    this.#turnAway(entry, reason)
    socket.resume()
    socket.end(encodeAnswer({ refused: printable(reason) }))
  }
}

function checked(outcome: JsonObject | FormatError): Hello | FormatError {
  if (outcome instanceof FormatError) return outcome
  try {
    return parseHello(outcome)
  } catch (error) {
    if (error instanceof FormatError) return error
    throw error
  }
}

/** Address and port of the other end; undefined once the socket has closed. */
function addressOf({ remoteAddress, remotePort }: Socket): string | undefined {
  return remoteAddress === undefined || remotePort === undefined
    ? undefined
    : `${remoteAddress}:${remotePort}`
}

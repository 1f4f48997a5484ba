/**
 * The thread that sends and hears heartbeats, so that neither a busy main thread nor a collection of its garbage makes a
 * host look dead. It has its own port, since a TLS socket cannot be handed from thread to thread. A channel carries
 * beats both ways, whoever has opened it; a peer may have several, and each that is heard counts.
 *
 * A main thread that hangs (in a call to a file system that does not answer, say) lets nothing out and acknowledges
 * nothing, however well its machine runs. So after `stallMs` without a tick of it this thread falls silent.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { assert } from '../base/assert.ts'
import { UserError } from '../base/errors.ts'
import { MachineProgress, PeerTable } from './heartbeat_memory.ts'
import { HeartbeatStream } from './heartbeat_stream.ts'
import { type Credentials, type CredentialsOptions, openCredentials } from './secure_credentials.ts'
import { dialSecure } from './secure_dial.ts'
import type { Terms } from './secure_handshake.ts'
import { listenSecure } from './secure_listener.ts'
import { NoticeLimit } from './secure_notices.ts'

/** What the thread is started with. */
export interface HeartbeatSetting {
  readonly credentials: CredentialsOptions
  readonly name: string
  readonly host: string
  readonly port: number
  readonly terms: Terms
  readonly heartbeatMs: number
  readonly stallMs?: number
  readonly progress: SharedArrayBuffer
  readonly peers: SharedArrayBuffer
}

export interface HeartbeatPeer {
  readonly name: string
  readonly host: string
  readonly port: number
}

export type HeartbeatOrder =
  | { readonly kind: 'connect'; readonly peer: HeartbeatPeer }
  | { readonly kind: 'disconnect'; readonly name: string }

export type HeartbeatReport =
  | { readonly kind: 'listening'; readonly port: number }
  | { readonly kind: 'failed'; readonly reason: string }
  | { readonly kind: 'notice'; readonly line: string }

/** A channel that has been silent for so many beats, and at least so long, is closed and opened anew. */
const SILENT_BEATS = 20
const SILENT_MS_MIN = 2000
/** Between attempts to open a channel, in beats. */
const REDIAL_BEATS = 4

class HeartbeatThread {
  readonly #setting: HeartbeatSetting
  readonly #credentials: Credentials
  readonly #report: (report: HeartbeatReport) => void
  readonly #progress: MachineProgress
  readonly #peers: PeerTable
  readonly #streams = new Set<HeartbeatStream>()
  /** Those to whom a channel is to be kept open, and how to stop that. */
  readonly #dials = new Map<string, () => void>()
  readonly #notices: NoticeLimit
  #ticks = 0
  #tickedMs = performance.now()

  constructor(
    setting: HeartbeatSetting,
    credentials: Credentials,
    report: (report: HeartbeatReport) => void,
  ) {
    this.#setting = setting
    this.#credentials = credentials
    this.#report = report
    this.#progress = new MachineProgress(setting.progress)
    this.#peers = new PeerTable(setting.peers)
    this.#notices = new NoticeLimit((line) => report({ kind: 'notice', line: `heartbeat: ${line}` }))
  }

  async start(): Promise<void> {
    const { name, host, port, terms, heartbeatMs } = this.#setting
    const listener = await listenSecure({
      ...{ credentials: this.#credentials, name, host, port },
      services: {
        heartbeat: {
          terms: () => terms,
          accept: (stream, peer) => this.#add(new Channel(stream, peer.name)),
        },
      },
      onNotice: (line) => this.#notices.say(line),
    })
    setInterval(() => this.#beat(), heartbeatMs)
    this.#report({ kind: 'listening', port: listener.port })
  }

  onOrder(order: HeartbeatOrder): void {
    const name = order.kind === 'connect' ? order.peer.name : order.name
    this.#dials.get(name)?.()
    this.#dials.delete(name)
    if (order.kind === 'connect') this.#dials.set(name, this.#keepOpen(order.peer))
  }

  #beat(): void {
    const silenceMs = Math.max(SILENT_BEATS * this.#setting.heartbeatMs, SILENT_MS_MIN)
    const isAtWork = this.#isMainAtWork()
    for (const stream of this.#streams) {
      if (isAtWork) stream.send(this.#progress)
      stream.closeIfSilent(silenceMs)
    }
  }

  #isMainAtWork(): boolean {
    const { ticks } = this.#progress
    if (ticks !== this.#ticks) this.#tickedMs = performance.now()
    this.#ticks = ticks
    return performance.now() - this.#tickedMs < (this.#setting.stallMs ?? Number.POSITIVE_INFINITY)
  }

  /** Opens a channel to a peer, and another one whenever it is gone. Returns how to stop that. */
  #keepOpen(peer: HeartbeatPeer): () => void {
    const { name, terms, heartbeatMs } = this.#setting
    let close: () => void
    const later = (): void => {
      const timer = setTimeout(dial, REDIAL_BEATS * heartbeatMs)
      close = () => clearTimeout(timer)
    }
    const dial = (): void => {
      const { host, port, name: peerName } = peer
      const options = { credentials: this.#credentials, name, peerName, host, port, terms }
      const { abort } = dialSecure(
        { ...options, service: 'heartbeat' },
        {
          opened: (stream) => {
            const channel = new Channel(stream, peerName)
            stream.on('close', later)
            close = () => {
              stream.off('close', later)
              stream.destroy()
            }
            this.#add(channel)
          },
          // While a process is gone this says nothing new, again and again.
          failed: ({ isRefused, reason }) => {
            if (!isRefused) this.#notices.say(reason)
            later()
          },
        },
      )
      close = abort
    }
    close = () => {}
    dial()
    return () => close()
  }

  #add({ stream, peerName }: Channel): void {
    if (!this.#peers.reserve(peerName)) {
      this.#notices.say(`${peerName} is one peer too many`)
      stream.destroy()
      return
    }
    const beats = new HeartbeatStream(
      stream,
      ({ stateNumber, position }) => this.#peers.heard(peerName, stateNumber, position),
      (problem) => {
        this.#streams.delete(beats)
        if (problem !== undefined) this.#notices.say(`channel of ${peerName}: ${problem}`)
      },
    )
    this.#streams.add(beats)
    if (this.#isMainAtWork()) beats.send(this.#progress)
  }
}

/** An open channel, and who is at its other end. */
class Channel {
  readonly stream: ConstructorParameters<typeof HeartbeatStream>[0]
  readonly peerName: string

  constructor(stream: Channel['stream'], peerName: string) {
    this.stream = stream
    this.peerName = peerName
  }
}

async function main(): Promise<void> {
  const port = parentPort
  assert(port !== null, 'heartbeat_thread.ts is not started as a thread')
  const setting = workerData as HeartbeatSetting
  const report = (message: HeartbeatReport): void => port.postMessage(message)
  try {
    const thread = new HeartbeatThread(setting, await openCredentials(setting.credentials), report)
    await thread.start()
    port.on('message', (order: HeartbeatOrder) => thread.onOrder(order))
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    report({ kind: 'failed', reason: error.message })
  }
}

await main()

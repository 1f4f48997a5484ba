/**
 * The gateway, over its authenticated link, which is connected again whenever it breaks.
 *
 *     connecting --opened--> waiting --attach--> attached --broken--> connecting
 *
 * The link is opened before this host has the primary: what opening it takes would lengthen each outage.
 */
import { PORT } from '../../board/computer.ts'
import { LinkClient } from '../../gateway/link_client.ts'
import type { Credentials } from '../../host/secure_credentials.ts'
import { dialSecure } from '../../host/secure_dial.ts'
import type { MachineOutput } from '../../replication/ports.ts'
import type { Network, NetworkEvents } from '../replica/machine_process.ts'
import type { HostConfig, NetworkConfig } from './host_config.ts'

/** A link that is down is tried again after this long; one that only waits, after the longer time. */
const RETRY_MS = 50
const WAITING_RETRY_MS = 1000

interface Place {
  readonly epoch: number
  readonly life: number
}

export class GatewayNetwork implements Network {
  readonly #network: NetworkConfig & { kind: 'gateway' }
  readonly #config: HostConfig
  readonly #credentials: Credentials
  readonly #onNotice: (text: string) => void
  #place: Place | undefined
  #events: NetworkEvents | undefined
  /** The newest link: waiting, or attached. */
  #link: LinkClient | undefined
  #dial: { abort(): void } | undefined
  #isHeld = false
  #isClosed = false
  #problem = ''
  #timer: NodeJS.Timeout | undefined

  constructor(
    network: NetworkConfig & { kind: 'gateway' },
    config: HostConfig,
    credentials: Credentials,
    onNotice: (text: string) => void,
  ) {
    this.#network = network
    this.#config = config
    this.#credentials = credentials
    this.#onNotice = onNotice
    this.#connect()
  }

  attach(place: Place, events: NetworkEvents): void {
    const isFirst = this.#place === undefined
    this.#place = place
    this.#events = events
    // A link has one hello.
    if (!isFirst) this.#drop()
    if (this.#link !== undefined) this.#hello(this.#link)
    else if (this.#dial === undefined) this.#connect()
  }

  put(output: MachineOutput): void {
    if (output.port === PORT.net) this.#link?.put(output)
  }

  holdInput(isHeld: boolean): void {
    this.#isHeld = isHeld
    if (this.#link?.isUp) this.#link.holdInput(isHeld)
  }

  close(): void {
    this.#isClosed = true
    this.#events = undefined
    clearTimeout(this.#timer)
    this.#dial?.abort()
    this.#drop()
  }

  #drop(): void {
    this.#link?.close()
    this.#link = undefined
  }

  #connect(): void {
    clearTimeout(this.#timer)
    const { name, host, port } = this.#network
    const { machine } = this.#config
    this.#dial = dialSecure(
      {
        ...{ credentials: this.#credentials, name: this.#config.host, peerName: name, host, port },
        ...{ service: 'gateway', terms: { machine } },
      },
      {
        opened: (stream) => this.#onOpened(stream),
        failed: ({ reason }) => {
          this.#dial = undefined
          this.#onDown(reason)
        },
      },
    )
  }

  #onOpened(stream: ConstructorParameters<typeof LinkClient>[0]): void {
    this.#dial = undefined
    const link: LinkClient = new LinkClient(stream, {
      onUp: (left) => {
        this.#problem = ''
        if (this.#isHeld) link.holdInput(true)
        this.#events?.onUp(left)
      },
      onLeft: (port, ordinal) => this.#events?.onLeft(port, ordinal),
      onInput: (port, bytes) => this.#events?.onInput(port, bytes),
      onDown: (reason) => {
        this.#link = undefined
        this.#onDown(reason)
      },
    })
    this.#link = link
    this.#hello(link)
  }

  /** Nothing is said before this host has the primary. */
  #hello(link: LinkClient): void {
    if (this.#place !== undefined) link.hello({ machine: this.#config.machine, ...this.#place })
  }

  #onDown(reason: string): void {
    if (this.#isClosed) return
    const isAttached = this.#place !== undefined
    if (isAttached && reason !== this.#problem) this.#onNotice(`no link to the gateway: ${reason}`)
    if (isAttached) this.#problem = reason
    this.#timer = setTimeout(() => this.#connect(), isAttached ? RETRY_MS : WAITING_RETRY_MS)
  }
}

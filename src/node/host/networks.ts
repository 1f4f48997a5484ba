/** The networks that a machine can be on, as the host of its primary reaches them. */
import { type ComputerSpecification, PORT } from '../../board/computer.ts'
import { LinkClient } from '../../gateway/link_client.ts'
import type { Credentials } from '../../host/secure_credentials.ts'
import { dialSecure } from '../../host/secure_dial.ts'
import type { MachineOutput } from '../../replication/ports.ts'
import type { Network, NetworkEvents } from '../replica/machine_process.ts'
import { addressOf } from './announcement.ts'
import type { HostConfig, NetworkConfig } from './host_config.ts'
import { StreamNetwork } from './stream_network.ts'
import { TapNetwork } from './tap_network.ts'

/** A link that is down is tried again after this long. */
const RETRY_MS = 50

/** The network of a configuration; nothing is connected yet. Throws a UserError if it cannot be had. */
export function openNetwork(
  config: HostConfig,
  specification: ComputerSpecification,
  credentials: Credentials,
  onNotice: (text: string) => void,
): Network {
  const { network } = config
  if (network.kind === 'gateway') return new GatewayNetwork(network, config, credentials, onNotice)
  const { mac, bootArguments } = specification
  if (network.kind === 'none' || mac === undefined) return new NoNetwork()
  const ipAddress = addressOf(bootArguments)
  if (network.kind === 'tap')
    return new TapNetwork({ interface: network.interface, mac, ipAddress, onNotice })
  return new StreamNetwork({ address: network.address, mac, ipAddress, onNotice })
}

/** What leaves is lost, and nothing arrives. */
class NoNetwork implements Network {
  #events: NetworkEvents | undefined

  attach(_place: { readonly epoch: number; readonly life: number }, events: NetworkEvents): void {
    this.#events = events
    setImmediate(() => events.onUp([]))
  }

  put({ port, ordinal }: MachineOutput): void {
    setImmediate(() => this.#events?.onLeft(port, ordinal))
  }

  holdInput(): void {}

  close(): void {
    this.#events = undefined
  }
}

/** The gateway, over its authenticated link; connected again whenever that breaks. */
class GatewayNetwork implements Network {
  readonly #network: NetworkConfig & { kind: 'gateway' }
  readonly #config: HostConfig
  readonly #credentials: Credentials
  readonly #onNotice: (text: string) => void
  #place: { readonly epoch: number; readonly life: number } | undefined
  #events: NetworkEvents | undefined
  #link: LinkClient | undefined
  #isHeld = false
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
  }

  attach(place: { readonly epoch: number; readonly life: number }, events: NetworkEvents): void {
    this.#place = place
    this.#events = events
    this.#connect()
  }

  put(output: MachineOutput): void {
    if (output.port === PORT.net) this.#link?.put(output)
  }

  holdInput(isHeld: boolean): void {
    this.#isHeld = isHeld
    this.#link?.holdInput(isHeld)
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#events = undefined
    this.#link?.close()
    this.#link = undefined
  }

  #connect(): void {
    const { name, host, port } = this.#network
    const { machine } = this.#config
    dialSecure(
      {
        ...{ credentials: this.#credentials, name: this.#config.host, peerName: name, host, port },
        ...{ service: 'gateway', terms: { machine } },
      },
      {
        opened: (stream) => this.#onOpened(stream),
        failed: ({ reason }) => this.#onDown(reason),
      },
    )
  }

  #onOpened(stream: ConstructorParameters<typeof LinkClient>[0]): void {
    const events = this.#events
    if (events === undefined) return void stream.destroy()
    const link: LinkClient = new LinkClient(
      stream,
      { machine: this.#config.machine, ...this.#place! },
      {
        onUp: (left) => {
          this.#problem = ''
          this.#link = link
          if (this.#isHeld) link.holdInput(true)
          events.onUp(left)
        },
        onLeft: (port, ordinal) => events.onLeft(port, ordinal),
        onInput: (port, bytes) => events.onInput(port, bytes),
        onDown: (reason) => {
          if (this.#link === link) this.#link = undefined
          this.#onDown(reason)
        },
      },
    )
  }

  #onDown(reason: string): void {
    if (this.#events === undefined) return
    if (reason !== this.#problem) this.#onNotice(`no link to the gateway: ${reason}`)
    this.#problem = reason
    this.#timer = setTimeout(() => this.#connect(), RETRY_MS)
  }
}

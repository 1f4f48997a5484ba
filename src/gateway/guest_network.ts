/**
 * The network of one guest, in user mode: sockets of the operating system on one side, Ethernet frames on the other.
 * What the frames mean is the stack's business; here are the sockets and the clock.
 *
 * It outlives the hosts that run the guest. While none of them is attached its clients wait: what they send is kept up to
 * a bound, nothing is transmitted, and no timer runs.
 */
import { randomInt } from 'node:crypto'
import { getServers } from 'node:dns'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { UserError } from '../base/errors.ts'
import { Outbound, parseDnsServer, requireIpv4 } from './outbound.ts'
import { type PortForward, portForwardText } from './port_forward.ts'
import { MAC_BYTES } from './stack/address.ts'
import { GuestStack, type StackOptions } from './stack/guest_stack.ts'
import type { TcpConnection } from './stack/tcp_connection.ts'
import { TcpBridge } from './tcp_bridge.ts'
import { UdpRelay } from './udp_relay.ts'

/** A locally administered address; the guest sees it beside the gateway's and the name server's IP address. */
const MAC_DEFAULT = Uint8Array.of(0x52, 0x55, 0x0a, 0x00, 0x02, 0x02)
const LISTEN_BACKLOG = 511

export interface GuestNetworkOptions {
  readonly forwards: readonly PortForward[]
  /** The gateway's own Ethernet address. The guest's is learned. */
  readonly mac?: Uint8Array
  readonly guestAddress?: string
  readonly gatewayAddress?: string
  readonly dnsAddress?: string
  readonly prefix?: number
  /** Whether the guest may connect to the host itself: to its loopback by the gateway's address, and to its others. */
  readonly allowLoopback: boolean
  /** As `dns.getServers()` writes them, which is the default. */
  readonly dnsServers?: readonly string[]
  /** A frame towards the guest, 14 to 1514 bytes, without check sequence; it is the receiver's to keep. */
  readonly transmit: (frame: Uint8Array) => void
  /** One line for people. */
  readonly onNotice: (text: string) => void
}

export interface GuestNetworkStats {
  readonly isAttached: boolean
  /** TCP connections with the guest, with those that wait to be forgotten. */
  readonly connections: number
  readonly udpFlows: number
  /** Bytes of frames. */
  readonly bytesToGuest: number
  readonly bytesFromGuest: number
  /** Frames and datagrams that were dropped for what they were. */
  readonly refused: number
}

export class GuestNetwork {
  readonly #stack: GuestStack
  readonly #outbound: Outbound
  readonly #relay: UdpRelay
  readonly #servers: Server[] = []
  readonly #sockets = new Set<Socket>()
  #timer: NodeJS.Timeout | undefined
  #timerAt = Number.POSITIVE_INFINITY
  #isClosed = false

  private constructor(options: GuestNetworkOptions) {
    const stackOptions = readOptions(options)
    const dnsServers = (options.dnsServers ?? getServers()).map(parseDnsServer)
    this.#outbound = new Outbound({ ...stackOptions, allowLoopback: options.allowLoopback, dnsServers })
    this.#stack = new GuestStack(stackOptions, {
      transmit: options.transmit,
      onNotice: options.onNotice,
      onCall: (connection) => this.#onGuestCall(connection),
      onDatagram: (datagram) => this.#relay.send(datagram),
      onDeadline: () => this.#setTimer(),
    })
    this.#relay = new UdpRelay(this.#stack, this.#outbound, this.#enter)
  }

  /** Listens on the ports of `options.forwards`; a UserError says which cannot be had. Nobody is attached yet. */
  static async open(options: GuestNetworkOptions): Promise<GuestNetwork> {
    const network = new GuestNetwork(options)
    try {
      for (const forward of options.forwards) await network.#listen(forward)
    } catch (error) {
      await network.close()
      throw error
    }
    return network
  }

  /** The ports that this host listens on, in the order of the forwards. */
  get hostPorts(): number[] {
    return this.#servers.map((server) => (server.address() as AddressInfo).port)
  }

  /** A frame from the guest; it is not kept. */
  receive(frame: Uint8Array): void {
    if (this.#isClosed) return
    this.#enter()
    this.#stack.receive(frame)
  }

  /** A primary is attached: everything unacknowledged goes to the guest at once, and time goes on. */
  attached(): void {
    if (!this.#isClosed) this.#stack.attach(performance.now())
  }

  /** The guest that is attached next has started anew: connections of the one before end with a reset. */
  guestRestarted(): void {
    if (!this.#isClosed) this.#stack.tcp.onGuestRestart()
  }

  /** No primary is attached: nothing is transmitted, and time stands still. */
  detached(): void {
    this.#stack.detach(performance.now())
  }

  stats(): GuestNetworkStats {
    const { isAttached, tcp, bytesToGuest, bytesFromGuest, refusals } = this.#stack
    const { flowCount } = this.#relay
    return {
      ...{ isAttached, connections: tcp.connectionCount, udpFlows: flowCount },
      ...{ bytesToGuest, bytesFromGuest, refused: refusals.total },
    }
  }

  /** Ends everything; the guest hears nothing of it. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.detached()
    clearTimeout(this.#timer)
    const ended = this.#servers.map((server) => new Promise((resolve) => server.close(resolve)))
    for (const socket of this.#sockets) socket.destroy()
    this.#relay.close()
    await Promise.all(ended)
  }

  readonly #enter = (): void => {
    this.#stack.at(performance.now())
  }

  async #listen(forward: PortForward): Promise<void> {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true })
    server.on('connection', (socket) => this.#onClient(socket, forward))
    const { hostAddress: host, hostPort: port } = forward
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(listenError(forward, error)))
      server.listen({ host, port, backlog: LISTEN_BACKLOG }, resolve)
    })
    // The system has no room for another client, say: as long as that lasts each of them tells it.
    server.on('error', (error: NodeJS.ErrnoException) => {
      this.#stack.refusals.count(`a client of ${portForwardText(forward)}: ${error.code ?? error.message}`)
    })
    this.#servers.push(server)
  }

  #onClient(socket: Socket, { guestPort }: PortForward): void {
    if (this.#isClosed) {
      socket.destroy()
      return
    }
    this.#keep(socket)
    this.#enter()
    const bridge = new TcpBridge(socket, this.#enter)
    const connection = this.#stack.tcp.call(guestPort, bridge)
    if (connection === undefined) {
      this.#stack.refusals.count('a client: there are too many connections')
      socket.resetAndDestroy()
    } else bridge.tie(connection)
  }

  /** The guest is told yes only when the real connection is there. */
  #onGuestCall(connection: TcpConnection): void {
    const { remoteAddress, remotePort } = connection.endpoints
    const target = this.#outbound.destination(remoteAddress, remotePort)
    if (target === undefined) {
      this.#stack.refusals.count('a connection of the guest to where it may not connect')
      connection.abort()
      return
    }
    const socket = connect({ ...target, allowHalfOpen: true })
    this.#keep(socket)
    const bridge = new TcpBridge(socket, this.#enter)
    bridge.tie(connection)
    connection.handler = bridge
    socket.once('connect', () => {
      this.#enter()
      connection.accept(bridge)
    })
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
  }

  /** Wakes up at the stack's deadline, or before it. */
  #setTimer(): void {
    const { deadline } = this.#stack
    if (deadline >= this.#timerAt || this.#isClosed) return
    clearTimeout(this.#timer)
    this.#timerAt = deadline
    this.#timer = setTimeout(this.#onTimer, Math.max(0, deadline - performance.now()))
  }

  readonly #onTimer = (): void => {
    this.#timerAt = Number.POSITIVE_INFINITY
    this.#enter()
    this.#stack.tick()
    this.#setTimer()
  }
}

function readOptions(options: GuestNetworkOptions): StackOptions {
  const { mac = MAC_DEFAULT, prefix = 24 } = options
  if (mac.length !== MAC_BYTES || (mac[0]! & 1) !== 0) {
    throw new UserError('the MAC of the gateway: six bytes, of which the first is even')
  }
  if (!Number.isInteger(prefix) || prefix < 8 || prefix > 29) {
    throw new UserError(`the guest's network: a prefix of ${prefix} bits, not 8 to 29`)
  }
  return {
    mac,
    prefix,
    guestAddress: requireIpv4(options.guestAddress ?? '10.0.2.15', 'the address of the guest'),
    gatewayAddress: requireIpv4(options.gatewayAddress ?? '10.0.2.2', 'the address of the gateway'),
    dnsAddress: requireIpv4(options.dnsAddress ?? '10.0.2.3', 'the address of the name server'),
    seed: randomInt(0x1_0000_0000),
  }
}

function listenError(forward: PortForward, error: NodeJS.ErrnoException): UserError {
  const reasons: Readonly<Record<string, string>> = {
    EADDRINUSE: 'the port is in use: choose another',
    EACCES: 'not allowed: ports below 1024 are for the administrator',
    EADDRNOTAVAIL: 'this host does not have that address',
  }
  const reason = reasons[error.code ?? ''] ?? error.message
  return new UserError(`port forward ${portForwardText(forward)}: ${reason}`)
}

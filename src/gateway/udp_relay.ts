/**
 * The guest's datagrams, and the answers to them: a connected socket for each pair of ports and addresses, so that the
 * operating system lets through what comes from there and nothing else. Flows end when they are idle; when there are too
 * many the one that was idle for longest does.
 */
import { createSocket, type Socket } from 'node:dgram'
import { type Destination, isDestinationIpv4, type Outbound } from './outbound.ts'
import { dnsId, isDnsQuery, truncatedDns } from './stack/dns.ts'
import type { GuestStack } from './stack/guest_stack.ts'
import type { UnreachableReason } from './stack/icmp.ts'
import type { Timed } from './stack/timer_queue.ts'
import type { UdpDatagram } from './stack/udp.ts'

export const UDP_FLOWS_MAX = 512
const IDLE_MS = 60_000
/** A query has one answer. */
const DNS_IDLE_MS = 15_000
/** Datagrams that wait while a socket is being opened. */
const WAITING_MAX = 16
/** Bytes that may wait in a socket. */
const QUEUED_BYTES_MAX = 256 * 1024

type Addresses = Omit<UdpDatagram, 'payload'>

class UdpFlow implements Timed {
  queued: Timed['queued']
  readonly addresses: Addresses
  readonly isDns: boolean
  deadline = 0
  socket: Socket
  /** Which of the name servers is asked. */
  server = 0
  lastQuery: number | undefined
  isConnected = false
  waiting: Uint8Array[] = []
  readonly #onIdle: (flow: UdpFlow) => void

  constructor(addresses: Addresses, isDns: boolean, socket: Socket, onIdle: (flow: UdpFlow) => void) {
    this.addresses = addresses
    this.isDns = isDns
    this.socket = socket
    this.#onIdle = onIdle
  }

  onDeadline(): void {
    this.#onIdle(this)
  }
}

export class UdpRelay {
  readonly #stack: GuestStack
  readonly #outbound: Outbound
  readonly #enter: () => void
  /** The one that was used last is the last. */
  readonly #flows = new Map<string, UdpFlow>()

  constructor(stack: GuestStack, outbound: Outbound, enter: () => void) {
    this.#stack = stack
    this.#outbound = outbound
    this.#enter = enter
  }

  get flowCount(): number {
    return this.#flows.size
  }

  /** Sends on what the guest has sent. Why not, if not. */
  send(datagram: UdpDatagram): UnreachableReason | undefined {
    const { source, destination, sourcePort, destinationPort, payload } = datagram
    const isDns = this.#outbound.isDns(destination, destinationPort)
    if (isDns && !isDnsQuery(payload)) {
      this.#stack.refusals.count('what is not a query, sent to the name server')
      return undefined
    }
    const key = `${sourcePort} ${destination} ${destinationPort}`
    let flow = this.#flows.get(key)
    if (flow === undefined) {
      const target = this.#outbound.destination(destination, destinationPort)
      if (target === undefined) return isDns ? 'port' : 'prohibited'
      flow = this.#open({ source, destination, sourcePort, destinationPort }, target, isDns)
    }
    this.#flows.delete(key)
    this.#flows.set(key, flow)
    if (isDns) this.#chooseServer(flow, dnsId(payload))
    this.#touch(flow)
    this.#send(flow, payload.slice())
    return undefined
  }

  close(): void {
    for (const flow of [...this.#flows.values()]) this.#end(flow)
  }

  #open(addresses: Addresses, target: Destination, isDns: boolean): UdpFlow {
    if (this.#flows.size >= UDP_FLOWS_MAX) this.#end(this.#flows.values().next().value!)
    const socket = createSocket(isDestinationIpv4(target) ? 'udp4' : 'udp6')
    const flow = new UdpFlow(addresses, isDns, socket, (idle) => this.#end(idle))
    this.#connect(flow, target)
    return flow
  }

  #connect(flow: UdpFlow, { host, port }: Destination): void {
    const { socket } = flow
    flow.isConnected = false
    // The guest hears of no error: datagrams are lost, and whoever minds asks again.
    socket.on('error', () => {})
    socket.on('message', (bytes) => this.#onMessage(flow, bytes))
    socket.once('connect', () => {
      if (flow.socket !== socket) return
      flow.isConnected = true
      for (const bytes of flow.waiting) socket.send(bytes)
      flow.waiting = []
    })
    socket.connect(port, host)
  }

  #send(flow: UdpFlow, bytes: Uint8Array): void {
    if (!flow.isConnected) {
      if (flow.waiting.length < WAITING_MAX) flow.waiting.push(bytes)
    } else if (flow.socket.getSendQueueSize() < QUEUED_BYTES_MAX) {
      flow.socket.send(bytes)
    }
  }

  /** A query that comes again has had no answer: the next server is asked. */
  #chooseServer(flow: UdpFlow, id: number): void {
    const servers = this.#outbound.dnsServers
    const isRepeated = flow.lastQuery === id && servers.length > 1
    flow.lastQuery = id
    if (!isRepeated) return
    flow.server = (flow.server + 1) % servers.length
    const target = servers[flow.server]!
    flow.socket.close()
    flow.socket = createSocket(isDestinationIpv4(target) ? 'udp4' : 'udp6')
    this.#connect(flow, target)
  }

  #onMessage(flow: UdpFlow, bytes: Uint8Array): void {
    this.#enter()
    this.#touch(flow)
    const { source, destination, sourcePort, destinationPort } = flow.addresses
    const back = {
      source: destination,
      destination: source,
      sourcePort: destinationPort,
      destinationPort: sourcePort,
    }
    if (this.#stack.sendDatagram({ ...back, payload: bytes })) return
    const truncated = flow.isDns ? truncatedDns(bytes) : undefined
    if (truncated !== undefined) this.#stack.sendDatagram({ ...back, payload: truncated })
    else this.#stack.refusals.count('a datagram for the guest that is too long for a packet')
  }

  #touch(flow: UdpFlow): void {
    flow.deadline = this.#stack.now + (flow.isDns ? DNS_IDLE_MS : IDLE_MS)
    this.#stack.timers.schedule(flow)
  }

  #end(flow: UdpFlow): void {
    const { sourcePort, destination, destinationPort } = flow.addresses
    this.#flows.delete(`${sourcePort} ${destination} ${destinationPort}`)
    this.#stack.timers.remove(flow)
    flow.socket.close()
  }
}

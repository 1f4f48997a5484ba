/** All TCP connections with the guest: which one a segment belongs to, their timers, and their frames. */
import { Random } from '../../base/prng.ts'
import { AttachPace } from './attach_pace.ts'
import { ETHERNET_BYTES } from './ethernet.ts'
import { IPV4_BYTES, type Ipv4Packet, PROTOCOL_TCP, writeIpv4 } from './ipv4.ts'
import { isRefusal, type Refusal, refuse } from './refusal.ts'
import { TcpConnection } from './tcp_connection.ts'
import type { Endpoints, Header, TcpEnvironment, TcpHandler } from './tcp_environment.ts'
import {
  ACK,
  FIN,
  parseTcp,
  RST,
  SYN,
  type TcpSegment,
  tcpHeaderBytes,
  writeTcpHeader,
} from './tcp_segment.ts'
import type { Outgoing } from './tcp_sender.ts'
import type { TimerQueue } from './timer_queue.ts'

/** Of both directions, with those that wait to be forgotten. */
export const CONNECTIONS_MAX = 16_384
/** Those that the guest has asked for and that are not decided. */
const PENDING_MAX = 1024
const PORT_MIN = 1024
const PORTS = 0x1_0000 - PORT_MIN
/** RFC 9293, section 3.4.1: initial sequence numbers rise with time, 250 a millisecond. */
const SEQUENCES_PER_MS = 250

export interface TcpPorts {
  readonly guestAddress: number
  /** Where calls to the guest come from. */
  readonly gatewayAddress: number
  /** Any number: initial sequence numbers depend on it. */
  readonly seed: number
  readonly clock: { readonly now: number }
  readonly timers: TimerQueue
  readonly canSend: () => boolean
  /** Takes a frame whose Ethernet header is not written yet. */
  readonly transmit: (frame: Uint8Array) => void
  /** The guest asks for a connection: `accept` or `abort` it, now or later. */
  readonly onCall: (connection: TcpConnection) => void
}

export class Tcp implements TcpEnvironment {
  readonly #ports: TcpPorts
  readonly #random: Random
  /** By the two ports; those that differ in the remote address are a chain. */
  readonly #connections = new Map<number, TcpConnection>()
  #count = 0
  #pending = 0
  #nextPort = 0
  #frames = 0
  readonly #pace: AttachPace

  constructor(ports: TcpPorts) {
    this.#ports = ports
    const tcp = this
    this.#pace = new AttachPace({
      get now() {
        return tcp.now
      },
      get frames() {
        return tcp.#frames
      },
      schedule: (entry) => ports.timers.schedule(entry),
    })
    this.#random = new Random(ports.seed)
    this.#nextPort = this.#random.below(PORTS)
  }

  get connectionCount(): number {
    return this.#count
  }

  get now(): number {
    return this.#ports.clock.now
  }

  get canSend(): boolean {
    return this.#ports.canSend()
  }

  /** Calls a port of the guest; undefined if there are too many connections. */
  call(guestPort: number, handler: TcpHandler): TcpConnection | undefined {
    const remoteAddress = this.#ports.gatewayAddress
    if (this.#count >= CONNECTIONS_MAX) return undefined
    for (let attempt = 0; attempt < PORTS; attempt++) {
      const remotePort = PORT_MIN + this.#nextPort
      this.#nextPort = (this.#nextPort + 1) % PORTS
      if (this.#find(remoteAddress, remotePort, guestPort) !== undefined) continue
      const endpoints = { remoteAddress, remotePort, guestPort }
      const connection = TcpConnection.call(this, endpoints, this.#initialSequence(), handler)
      this.#add(connection)
      connection.start()
      return connection
    }
    return undefined
  }

  /** A packet from the guest. */
  receive(packet: Ipv4Packet): Refusal | undefined {
    const segment = parseTcp(packet)
    if (isRefusal(segment)) return segment
    const connection = this.#find(packet.destination, segment.destinationPort, segment.sourcePort)
    const isCall = (segment.flags & (SYN | ACK | RST)) === SYN
    if (connection !== undefined && !(isCall && connection.isReplaceable)) {
      connection.receive(segment)
      return undefined
    }
    if (connection !== undefined) this.forget(connection)
    if (isCall) return this.#onCall(packet.destination, segment)
    this.#answerStray(packet.destination, segment)
    return undefined
  }

  decided(): void {
    this.#pending--
  }

  /** Frames reach the guest again: everything unacknowledged goes at once, as fast as the guest can take it. */
  attach(): void {
    this.#pace.begin(this.all())
  }

  /** The guest has started anew. */
  onGuestRestart(): void {
    for (const connection of this.all()) connection.onGuestRestart()
  }

  all(): TcpConnection[] {
    const all: TcpConnection[] = []
    for (const first of this.#connections.values()) {
      for (let one: TcpConnection | undefined = first; one !== undefined; one = one.nextOfPorts) all.push(one)
    }
    return all
  }

  schedule(connection: TcpConnection): void {
    this.#ports.timers.schedule(connection)
  }

  forget(connection: TcpConnection): void {
    this.#ports.timers.remove(connection)
    const key = portsKey(connection.endpoints.remotePort, connection.endpoints.guestPort)
    let one = this.#connections.get(key)
    if (one === connection) {
      if (connection.nextOfPorts === undefined) this.#connections.delete(key)
      else this.#connections.set(key, connection.nextOfPorts)
      this.#count--
      return
    }
    while (one !== undefined && one.nextOfPorts !== connection) one = one.nextOfPorts
    if (one === undefined) return
    one.nextOfPorts = connection.nextOfPorts
    this.#count--
  }

  transmit(connection: TcpConnection, header: Header, content: Outgoing | undefined): void {
    const length = content?.length ?? 0
    const at = ETHERNET_BYTES + IPV4_BYTES + tcpHeaderBytes(header.options)
    const frame = new Uint8Array(at + length)
    if (length > 0) connection.sender.buffer.copy(content!.offset, length, frame, at)
    this.#transmitFrame(frame, connection.endpoints, header)
  }

  #transmitFrame(frame: Uint8Array, endpoints: Endpoints, header: Header): void {
    const { remoteAddress, remotePort, guestPort } = endpoints
    const { guestAddress } = this.#ports
    writeIpv4(frame, remoteAddress, guestAddress, PROTOCOL_TCP, frame.length - ETHERNET_BYTES - IPV4_BYTES)
    const { sequence, acknowledgment, flags, window, options } = header
    const segment = { sourcePort: remotePort, destinationPort: guestPort, sequence, acknowledgment }
    writeTcpHeader(frame, remoteAddress, guestAddress, { ...segment, flags, window, options })
    this.#frames++
    this.#ports.transmit(frame)
  }

  #onCall(remoteAddress: number, segment: TcpSegment): Refusal | undefined {
    if (this.#count >= CONNECTIONS_MAX || this.#pending >= PENDING_MAX) {
      this.#answerStray(remoteAddress, segment)
      return refuse('a TCP connection from the guest: there are too many')
    }
    const endpoints = { remoteAddress, remotePort: segment.destinationPort, guestPort: segment.sourcePort }
    const connection = TcpConnection.answer(this, endpoints, this.#initialSequence(), segment)
    this.#add(connection)
    this.#pending++
    this.#ports.onCall(connection)
    return undefined
  }

  /** A segment of no connection: RFC 9293, section 3.10.7.1. */
  #answerStray(remoteAddress: number, segment: TcpSegment): void {
    const { flags, sequence, payload, acknowledgment } = segment
    if ((flags & RST) !== 0 || !this.canSend) return
    const hasAck = (flags & ACK) !== 0
    const length = payload.length + (flags & FIN) + ((flags & SYN) >> 1)
    const header: Header = {
      flags: hasAck ? RST : RST | ACK,
      sequence: hasAck ? acknowledgment : 0,
      acknowledgment: hasAck ? 0 : (sequence + length) >>> 0,
      window: 0,
      options: undefined,
    }
    const endpoints = { remoteAddress, remotePort: segment.destinationPort, guestPort: segment.sourcePort }
    this.#transmitFrame(
      new Uint8Array(ETHERNET_BYTES + IPV4_BYTES + tcpHeaderBytes(undefined)),
      endpoints,
      header,
    )
  }

  #initialSequence(): number {
    return (Math.floor(this.now * SEQUENCES_PER_MS) + this.#random.below(0x1_0000) + this.#ports.seed) >>> 0
  }

  #find(remoteAddress: number, remotePort: number, guestPort: number): TcpConnection | undefined {
    let one = this.#connections.get(portsKey(remotePort, guestPort))
    while (one !== undefined && one.endpoints.remoteAddress !== remoteAddress) one = one.nextOfPorts
    return one
  }

  #add(connection: TcpConnection): void {
    const key = portsKey(connection.endpoints.remotePort, connection.endpoints.guestPort)
    connection.nextOfPorts = this.#connections.get(key)
    this.#connections.set(key, connection)
    this.#count++
  }
}

function portsKey(remotePort: number, guestPort: number): number {
  return remotePort * 0x1_0000 + guestPort
}

/**
 * The network that a guest sees: a gateway, a name server, and behind them the world. Ethernet frames on one side,
 * connections and datagrams on the other.
 *
 * This folder is pure, as the pure layers are: no clock, no chance, no I/O, no promises. Time comes in through `at`, and
 * stands still while no primary is attached. Whatever a guest sends is either understood or dropped and counted.
 */
import { BROADCAST_ADDRESS, BROADCAST_MAC, isSameMac, MAC_BYTES } from './address.ts'
import { ARP_REPLY, ARP_REQUEST, arpFrame, parseArp } from './arp.ts'
import { DHCP_CLIENT_PORT, DHCP_SERVER_PORT, type DhcpSettings, dhcpReply } from './dhcp.ts'
import {
  destinationMac,
  ETHERNET_BYTES,
  etherType,
  FRAME_BYTES_MAX,
  sourceMac,
  TYPE_ARP,
  TYPE_IPV4,
  writeEthernet,
} from './ethernet.ts'
import { echoReply, isEchoRequest, type UnreachableReason, unreachable } from './icmp.ts'
import {
  IPV4_BYTES,
  type Ipv4Packet,
  PROTOCOL_ICMP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  parseIpv4,
  writeIpv4,
} from './ipv4.ts'
import { isRefusal, type Refusal, RefusalCounter, refuse } from './refusal.ts'
import { Tcp } from './tcp.ts'
import type { TcpConnection } from './tcp_connection.ts'
import { type Timed, TimerQueue } from './timer_queue.ts'
import { parseUdp, UDP_BYTES, UDP_PAYLOAD_MAX, type UdpDatagram, writeUdp } from './udp.ts'

/** How often a guest whose MAC is not known is asked for it while something waits for it. */
const RESOLVE_MS = 1000

export interface StackOptions extends DhcpSettings {
  /** The gateway's own. */
  readonly mac: Uint8Array
  /** Any number; what is random depends on it. */
  readonly seed: number
}

export interface StackPorts {
  /** A frame towards the guest; never called while detached. */
  readonly transmit: (frame: Uint8Array) => void
  readonly onNotice: (text: string) => void
  /** The guest asks for a connection: `accept` or `abort` it, now or later. */
  readonly onCall: (connection: TcpConnection) => void
  /** A datagram from the guest; its bytes are lent. Why it cannot be sent on, if it cannot. */
  readonly onDatagram: (datagram: UdpDatagram) => UnreachableReason | undefined
  /** `deadline` has come nearer. */
  readonly onDeadline: () => void
}

export class GuestStack {
  readonly tcp: Tcp
  readonly timers: TimerQueue
  readonly refusals: RefusalCounter
  readonly #options: StackOptions
  readonly #ports: StackPorts
  readonly #resolver: Timed
  #resolveAt = Number.POSITIVE_INFINITY
  #guestMac: Uint8Array | undefined
  #isAttached = false
  #now = 0
  /** How far the time outside is ahead. */
  #offset = 0
  #bytesToGuest = 0
  #bytesFromGuest = 0

  constructor(options: StackOptions, ports: StackPorts) {
    this.#options = options
    this.#ports = ports
    this.refusals = new RefusalCounter(ports.onNotice)
    this.timers = new TimerQueue(ports.onDeadline)
    this.#resolver = this.#makeResolver()
    const stack = this
    this.tcp = new Tcp({
      guestAddress: options.guestAddress,
      gatewayAddress: options.gatewayAddress,
      seed: options.seed,
      clock: {
        get now() {
          return stack.now
        },
      },
      timers: this.timers,
      canSend: () => this.#canSend(),
      transmit: (frame) => this.#transmitIpv4(frame, this.#guestMac!),
      onCall: ports.onCall,
    })
  }

  /** Milliseconds; stands still while no primary is attached. */
  get now(): number {
    return this.#now
  }

  get isAttached(): boolean {
    return this.#isAttached
  }

  get bytesToGuest(): number {
    return this.#bytesToGuest
  }

  get bytesFromGuest(): number {
    return this.#bytesFromGuest
  }

  /** It is `hostMs` outside. Whoever calls anything else here says so first. */
  at(hostMs: number): void {
    if (this.#isAttached) this.#now = Math.max(this.#now, hostMs - this.#offset)
  }

  /** When `tick` is due, in the time outside. */
  get deadline(): number {
    return this.#isAttached ? this.timers.earliest + this.#offset : Number.POSITIVE_INFINITY
  }

  tick(): void {
    if (this.#isAttached) this.timers.run(this.#now)
  }

  attach(hostMs: number): void {
    if (this.#isAttached) this.at(hostMs)
    this.#offset = hostMs - this.#now
    this.#isAttached = true
    // Asking tells the guest where the gateway is as well.
    this.#resolve()
    if (this.#guestMac !== undefined) this.tcp.attach()
    this.#ports.onDeadline()
  }

  detach(hostMs: number): void {
    this.at(hostMs)
    this.#isAttached = false
  }

  /** A frame from the guest. What it holds is read during the call only. */
  receive(frame: Uint8Array): void {
    this.#bytesFromGuest += frame.length
    const refusal = this.#take(frame)
    if (refusal !== undefined) this.refusals.count(refusal.refused)
  }

  /** A datagram for the guest; false if it is too long for a packet. It is lost if the guest cannot be reached now. */
  sendDatagram(datagram: UdpDatagram): boolean {
    if (datagram.payload.length > UDP_PAYLOAD_MAX) return false
    if (this.#canSend()) this.#transmitUdp(datagram, this.#guestMac!)
    return true
  }

  #take(frame: Uint8Array): Refusal | undefined {
    if (frame.length < ETHERNET_BYTES || frame.length > FRAME_BYTES_MAX) {
      return refuse('a frame with a wrong length')
    }
    const to = destinationMac(frame)
    if (!isSameMac(to, this.#options.mac) && !isSameMac(to, BROADCAST_MAC)) return undefined
    if ((sourceMac(frame)[0]! & 1) !== 0) return refuse('a frame that a group of interfaces has sent')
    // Other types are no mistake: IPv6 looks for its routers.
    if (etherType(frame) === TYPE_ARP) return this.#takeArp(frame)
    return etherType(frame) === TYPE_IPV4 ? this.#takeIpv4(frame) : undefined
  }

  #takeArp(frame: Uint8Array): Refusal | undefined {
    const packet = parseArp(frame)
    if (isRefusal(packet)) return packet
    const { guestAddress, mac } = this.#options
    if (packet.senderAddress === guestAddress) this.#learn(packet.senderMac)
    if (packet.operation !== ARP_REQUEST || !this.#isOwn(packet.targetAddress)) return undefined
    const reply = {
      operation: ARP_REPLY,
      senderMac: mac,
      senderAddress: packet.targetAddress,
      targetMac: packet.senderMac,
      targetAddress: packet.senderAddress,
    }
    this.#transmit(arpFrame(packet.senderMac, reply))
    return undefined
  }

  #takeIpv4(frame: Uint8Array): Refusal | undefined {
    const packet = parseIpv4(frame)
    if (isRefusal(packet)) return packet
    if (packet.protocol === PROTOCOL_UDP) {
      const datagram = parseUdp(packet)
      if (isRefusal(datagram)) return datagram
      if (datagram.destinationPort === DHCP_SERVER_PORT) return this.#takeDhcp(datagram, sourceMac(frame))
      return this.#fromGuest(packet, frame) ?? this.#takeDatagram(packet, datagram)
    }
    const stranger = this.#fromGuest(packet, frame)
    if (stranger !== undefined) return stranger
    if (packet.protocol === PROTOCOL_TCP) return this.#takeTcp(packet)
    if (packet.protocol === PROTOCOL_ICMP) return this.#takeIcmp(packet)
    return refuse('a packet of a protocol that is not passed on')
  }

  #fromGuest(packet: Ipv4Packet, frame: Uint8Array): Refusal | undefined {
    if (packet.source !== this.#options.guestAddress)
      return refuse("a packet from an address not the guest's")
    this.#learn(sourceMac(frame))
    return undefined
  }

  #takeTcp(packet: Ipv4Packet): Refusal | undefined {
    return this.#isForOne(packet.destination) ? this.tcp.receive(packet) : refuse('a TCP segment to many')
  }

  #takeDatagram(packet: Ipv4Packet, datagram: UdpDatagram): Refusal | undefined {
    // Names are looked for by multicast all the time.
    if (!this.#isForOne(packet.destination)) return undefined
    const reason = this.#ports.onDatagram(datagram)
    if (reason !== undefined) this.#sendUnreachable(packet, reason)
    return undefined
  }

  #takeIcmp(packet: Ipv4Packet): Refusal | undefined {
    const isOwn = this.#isOwn(packet.destination)
    const reply = echoReply(packet.payload)
    if (reply === undefined || isRefusal(reply)) return reply
    if (isOwn) this.#sendIcmp(packet.destination, reply)
    else if (this.#isForOne(packet.destination) && isEchoRequest(packet.payload)) {
      this.#sendUnreachable(packet, 'prohibited')
    }
    return undefined
  }

  #takeDhcp({ payload }: UdpDatagram, mac: Uint8Array): Refusal | undefined {
    const reply = dhcpReply(payload, mac, this.#options)
    if (reply === undefined || isRefusal(reply)) return reply
    const { guestAddress, gatewayAddress } = this.#options
    const datagram = {
      source: gatewayAddress,
      destination: reply.isBroadcast ? BROADCAST_ADDRESS : guestAddress,
      sourcePort: DHCP_SERVER_PORT,
      destinationPort: DHCP_CLIENT_PORT,
      payload: reply.message,
    }
    if (this.#isAttached) this.#transmitUdp(datagram, reply.isBroadcast ? BROADCAST_MAC : mac)
    return undefined
  }

  #sendUnreachable(packet: Ipv4Packet, reason: UnreachableReason): void {
    const isOwn = this.#isOwn(packet.destination)
    const source = isOwn ? packet.destination : this.#options.gatewayAddress
    this.#sendIcmp(source, unreachable(packet, reason))
  }

  #sendIcmp(source: number, message: Uint8Array): void {
    if (!this.#canSend()) return
    const frame = new Uint8Array(ETHERNET_BYTES + IPV4_BYTES + message.length)
    frame.set(message, ETHERNET_BYTES + IPV4_BYTES)
    writeIpv4(frame, source, this.#options.guestAddress, PROTOCOL_ICMP, message.length)
    this.#transmitIpv4(frame, this.#guestMac!)
  }

  #transmitUdp(datagram: UdpDatagram, mac: Uint8Array): void {
    const { source, destination, payload } = datagram
    const frame = new Uint8Array(ETHERNET_BYTES + IPV4_BYTES + UDP_BYTES + payload.length)
    writeIpv4(frame, source, destination, PROTOCOL_UDP, UDP_BYTES + payload.length)
    writeUdp(frame, datagram)
    this.#transmitIpv4(frame, mac)
  }

  #transmitIpv4(frame: Uint8Array, mac: Uint8Array): void {
    writeEthernet(frame, mac, this.#options.mac, TYPE_IPV4)
    this.#transmit(frame)
  }

  #transmit(frame: Uint8Array): void {
    if (!this.#isAttached) return
    this.#bytesToGuest += frame.length
    this.#ports.transmit(frame)
  }

  #isOwn(address: number): boolean {
    return address === this.#options.gatewayAddress || address === this.#options.dnsAddress
  }

  /** Neither broadcast, here or everywhere, nor multicast. */
  #isForOne(address: number): boolean {
    const hosts = 2 ** (32 - this.#options.prefix) - 1
    const isHere = Math.floor(address / (hosts + 1)) === Math.floor(this.#options.guestAddress / (hosts + 1))
    return address < 0xe000_0000 && !(isHere && hosts > 1 && (address & hosts) === hosts)
  }

  #learn(mac: Uint8Array): void {
    const known = this.#guestMac
    if (known !== undefined && isSameMac(known, mac)) return
    this.#guestMac = mac.slice()
    if (known === undefined && this.#isAttached) this.tcp.attach()
  }

  #canSend(): boolean {
    if (!this.#isAttached) return false
    if (this.#guestMac !== undefined) return true
    if (this.#resolveAt === Number.POSITIVE_INFINITY) this.#resolve()
    return false
  }

  /** Asks for the guest's MAC; again and again while it is not known and something waits for it. */
  #resolve(): void {
    const { mac, gatewayAddress, guestAddress } = this.#options
    const request = {
      operation: ARP_REQUEST,
      senderMac: mac,
      senderAddress: gatewayAddress,
      targetMac: new Uint8Array(MAC_BYTES),
      targetAddress: guestAddress,
    }
    this.#transmit(arpFrame(BROADCAST_MAC, request))
    const isWanted = this.#guestMac === undefined && this.tcp.connectionCount > 0
    this.#resolveAt = isWanted ? this.#now + RESOLVE_MS : Number.POSITIVE_INFINITY
    if (isWanted) this.timers.schedule(this.#resolver)
  }

  #makeResolver(): Timed {
    const stack = this
    return {
      queued: undefined,
      get deadline() {
        return stack.#resolveAt
      },
      onDeadline: () => {
        this.#resolveAt = Number.POSITIVE_INFINITY
        if (this.#guestMac === undefined) this.#resolve()
      },
    }
  }
}

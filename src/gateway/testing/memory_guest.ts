/**
 * A guest in memory, for tests and measurements: it answers ARP, and speaks TCP with the same code as the gateway, in
 * the other role. Its frames go out through `transmit`; the network's come in through `receive`.
 */
import { ARP_REPLY, ARP_REQUEST, arpFrame, parseArp } from '../stack/arp.ts'
import {
  ETHERNET_BYTES,
  etherType,
  FRAME_BYTES_MAX,
  TYPE_ARP,
  TYPE_IPV4,
  writeEthernet,
} from '../stack/ethernet.ts'
import {
  IPV4_BYTES,
  type Ipv4Packet,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  parseIpv4,
  writeIpv4,
} from '../stack/ipv4.ts'
import { isRefusal } from '../stack/refusal.ts'
import { Tcp } from '../stack/tcp.ts'
import type { TcpConnection } from '../stack/tcp_connection.ts'
import type { TcpHandler } from '../stack/tcp_environment.ts'
import { TimerQueue } from '../stack/timer_queue.ts'
import { parseUdp, UDP_BYTES, type UdpDatagram, writeUdp } from '../stack/udp.ts'

export const GUEST_MAC = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56)
export const GUEST_ADDRESS = 0x0a00_020f
export const GATEWAY_ADDRESS = 0x0a00_0202
export const DNS_ADDRESS = 0x0a00_0203

export class MemoryGuest {
  /** What listens on the guest's ports; any other is refused. */
  readonly services = new Map<number, (connection: TcpConnection) => TcpHandler>()
  readonly datagrams: UdpDatagram[] = []
  /** ICMP messages, with the addresses that they came from. */
  readonly messages: Ipv4Packet[] = []
  readonly timers = new TimerQueue(() => {})
  /** Milliseconds. */
  now = 0
  readonly #transmit: (frame: Uint8Array) => void
  /** By the address of the other side. */
  readonly #peers = new Map<number, Tcp>()
  #gatewayMac: Uint8Array | undefined

  constructor(transmit: (frame: Uint8Array) => void) {
    this.#transmit = transmit
  }

  /** Connects to where the guest believes to connect. */
  connect(address: number, port: number, handler: TcpHandler): TcpConnection {
    return this.#peer(address).call(port, handler)!
  }

  connections(): TcpConnection[] {
    return [...this.#peers.values()].flatMap((peer) => peer.all())
  }

  tick(now: number): void {
    this.now = now
    this.timers.run(now)
  }

  receive(frame: Uint8Array): void {
    if (frame.length > FRAME_BYTES_MAX) throw new Error(`a frame of ${frame.length} bytes`)
    if (etherType(frame) === TYPE_ARP) this.#receiveArp(frame)
    if (etherType(frame) !== TYPE_IPV4) return
    const packet = parseIpv4(frame)
    if (isRefusal(packet)) throw new Error(packet.refused)
    if (packet.protocol === PROTOCOL_UDP) this.#receiveUdp(packet)
    else if (packet.protocol !== PROTOCOL_TCP) this.messages.push(packet)
    else {
      const refusal = this.#peer(packet.source).receive(packet)
      if (refusal !== undefined) throw new Error(refusal.refused)
    }
  }

  /** Asks for the gateway's MAC, and tells the guest's. */
  arp(targetAddress = GATEWAY_ADDRESS): void {
    const request = { senderMac: GUEST_MAC, senderAddress: GUEST_ADDRESS, targetMac: new Uint8Array(6) }
    const broadcast = new Uint8Array(6).fill(255)
    this.#transmit(arpFrame(broadcast, { operation: ARP_REQUEST, ...request, targetAddress }))
  }

  sendUdp(datagram: Omit<UdpDatagram, 'source'>): void {
    const whole = { source: GUEST_ADDRESS, ...datagram }
    const frame = new Uint8Array(ETHERNET_BYTES + IPV4_BYTES + UDP_BYTES + whole.payload.length)
    writeIpv4(frame, whole.source, whole.destination, PROTOCOL_UDP, UDP_BYTES + whole.payload.length)
    writeUdp(frame, whole)
    this.#send(frame)
  }

  /** Sends IPv4 content of any protocol. */
  sendIpv4(destination: number, protocol: number, content: Uint8Array): void {
    const frame = new Uint8Array(ETHERNET_BYTES + IPV4_BYTES + content.length)
    frame.set(content, ETHERNET_BYTES + IPV4_BYTES)
    writeIpv4(frame, GUEST_ADDRESS, destination, protocol, content.length)
    this.#send(frame)
  }

  get knowsGateway(): boolean {
    return this.#gatewayMac !== undefined
  }

  #receiveUdp(packet: Ipv4Packet): void {
    const datagram = parseUdp(packet)
    if (isRefusal(datagram)) throw new Error(datagram.refused)
    this.datagrams.push(datagram)
  }

  #receiveArp(frame: Uint8Array): void {
    const packet = parseArp(frame)
    if (isRefusal(packet)) throw new Error(packet.refused)
    this.#gatewayMac ??= packet.senderMac
    if (packet.operation !== ARP_REQUEST || packet.targetAddress !== GUEST_ADDRESS) return
    const reply = { senderMac: GUEST_MAC, senderAddress: GUEST_ADDRESS, targetMac: packet.senderMac }
    const targetAddress = packet.senderAddress
    this.#transmit(arpFrame(packet.senderMac, { operation: ARP_REPLY, ...reply, targetAddress }))
  }

  #peer(address: number): Tcp {
    const known = this.#peers.get(address)
    if (known !== undefined) return known
    const peer = new Tcp({
      guestAddress: address,
      gatewayAddress: GUEST_ADDRESS,
      seed: address ^ 0x5a5a,
      clock: this,
      timers: this.timers,
      canSend: () => this.#gatewayMac !== undefined,
      transmit: (frame) => this.#send(frame),
      onCall: (connection) => this.#onCall(connection),
    })
    this.#peers.set(address, peer)
    return peer
  }

  #onCall(connection: TcpConnection): void {
    const service = this.services.get(connection.endpoints.remotePort)
    if (service === undefined) connection.abort()
    else connection.accept(service(connection))
  }

  #send(frame: Uint8Array): void {
    if (this.#gatewayMac === undefined) return
    writeEthernet(frame, this.#gatewayMac, GUEST_MAC, TYPE_IPV4)
    this.#transmit(frame)
  }
}

/** Segments made by hand, to see what a connection takes and what it answers. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { GUEST_ADDRESS, GUEST_MAC } from '../testing/memory_guest.ts'
import { RecordedHandler } from '../testing/recorded_handler.ts'
import { SimulatedLink } from '../testing/simulated_link.ts'
import { ETHERNET_BYTES, TYPE_IPV4, writeEthernet } from './ethernet.ts'
import { IPV4_BYTES, PROTOCOL_TCP, parseIpv4, writeIpv4 } from './ipv4.ts'
import { isRefusal } from './refusal.ts'
import { RECEIVE_BYTES_MAX, type TcpConnection } from './tcp_connection.ts'
import { ACK, parseTcp, RST, SYN, type TcpSegment, tcpHeaderBytes, writeTcpHeader } from './tcp_segment.ts'

const SERVER_ADDRESS = 0x0102_0304
const GATEWAY_MAC = Uint8Array.of(0x52, 0x55, 10, 0, 2, 2)
const INITIAL = 0xffff_ff00

/** A guest whose every segment is made by hand, with a connection that it has opened. */
class HandMade {
  readonly link = new SimulatedLink(1).start()
  readonly handler = new RecordedHandler()
  readonly answers: TcpSegment[] = []
  connection!: TcpConnection
  readonly #mss: number

  constructor(mss = 1460) {
    this.#mss = mss
    this.link.filter = (frame, isToGuest) => {
      const packet = isToGuest ? parseIpv4(frame) : undefined
      const segment = packet === undefined || isRefusal(packet) ? undefined : parseTcp(packet)
      if (segment !== undefined && !isRefusal(segment)) this.answers.push(segment)
      return false
    }
    this.link.onCall = (connection) => {
      this.connection = connection
      this.handler.connection = connection
      connection.accept(this.handler)
    }
    this.send({ flags: SYN, sequence: INITIAL, acknowledgment: 0 })
    this.send({ sequence: INITIAL + 1 })
    assert.deepEqual(this.handler.events, ['open'])
    this.answers.length = 0
  }

  get acknowledgment(): number {
    return this.connection.sender.max
  }

  send(segment: Partial<TcpSegment> & { readonly sequence: number }, server = SERVER_ADDRESS): void {
    const {
      flags = ACK,
      sequence,
      acknowledgment = this.acknowledgment,
      payload = new Uint8Array(0),
    } = segment
    const options = (flags & SYN) === 0 ? undefined : { mss: this.#mss, windowScale: 4 }
    const header = tcpHeaderBytes(options)
    const start = ETHERNET_BYTES + IPV4_BYTES
    const frame = new Uint8Array(start + header + payload.length)
    frame.set(payload, start + header)
    writeEthernet(frame, GATEWAY_MAC, GUEST_MAC, TYPE_IPV4)
    writeIpv4(frame, GUEST_ADDRESS, server, PROTOCOL_TCP, header + payload.length)
    const ports = { sourcePort: 4000, destinationPort: 80, window: 1000 }
    const numbers = { sequence: sequence >>> 0, acknowledgment }
    writeTcpHeader(frame, GUEST_ADDRESS, server, { ...ports, flags, ...numbers, options })
    this.link.stack.receive(frame)
  }
}

describe('a connection looks at the window', () => {
  it('before it believes a reset: only the exact one ends it, others are answered with where it is', () => {
    const hand = new HandMade()
    for (const ahead of [-1, 1, 1000, 70_000]) hand.send({ flags: RST, sequence: INITIAL + 1 + ahead })
    assert.equal(hand.connection.state, 'established')
    const places = hand.answers.map(({ flags, acknowledgment }) => [flags, acknowledgment])
    assert.deepEqual(places, Array(3).fill([ACK, (INITIAL + 1) >>> 0]))
    hand.send({ flags: RST, sequence: INITIAL + 1 })
    assert.equal(hand.connection.state, 'closed')
    assert.deepEqual(hand.handler.events, ['open', 'reset'])
  })

  it('before it takes bytes: none from beyond it, and of a segment that begins before what is due the new part', () => {
    const hand = new HandMade()
    hand.handler.takes = false
    hand.send({ sequence: INITIAL + 1 + RECEIVE_BYTES_MAX, payload: new Uint8Array(100) })
    hand.send({ sequence: INITIAL + 1 - 100, payload: new Uint8Array(100) })
    assert.equal(hand.handler.received, 0)
    hand.send({ sequence: INITIAL + 1 - 100, payload: new Uint8Array(150).fill(7, 100) })
    assert.deepEqual([...hand.handler.content], Array(50).fill(7))
    const next = INITIAL + 51
    for (let sent = 0; sent < RECEIVE_BYTES_MAX; sent += 1400) {
      hand.send({ sequence: next + sent, payload: new Uint8Array(1400) })
    }
    assert.ok(hand.handler.received <= RECEIVE_BYTES_MAX, `${hand.handler.received}`)
    assert.ok(hand.handler.received >= RECEIVE_BYTES_MAX - 1400)
  })

  it('and at both addresses: equal ports of two servers are two connections', () => {
    const hand = new HandMade()
    const other = new RecordedHandler()
    let call: TcpConnection | undefined
    hand.link.onCall = (connection) => {
      call = connection
      connection.accept(other)
    }
    hand.send({ flags: SYN, sequence: 5, acknowledgment: 0 }, SERVER_ADDRESS + 1)
    assert.equal(call?.endpoints.remoteAddress, SERVER_ADDRESS + 1)
    hand.send(
      { sequence: 6, acknowledgment: call.sender.max, payload: Uint8Array.of(1, 2) },
      SERVER_ADDRESS + 1,
    )
    hand.send({ sequence: INITIAL + 1, payload: Uint8Array.of(3) })
    assert.deepEqual([[...other.content], [...hand.handler.content]], [[1, 2], [3]])
    hand.send({ flags: RST, sequence: INITIAL + 1 + 1 })
    assert.deepEqual([call.state, hand.connection.state], ['established', 'closed'])
    assert.equal(hand.link.stack.tcp.connectionCount, 1)
  })

  it('and at the size of segments that the guest takes', () => {
    const hand = new HandMade(500)
    hand.connection.write(new Uint8Array(4000))
    assert.deepEqual(
      hand.answers.map(({ payload }) => payload.length),
      [500, 500, 500, 500, 500, 500, 500, 500],
    )
  })

  it('and never answers more than a few times a second to what says nothing new', () => {
    const hand = new HandMade()
    for (let i = 0; i < 1000; i++) hand.send({ sequence: INITIAL - 5000 })
    assert.ok(hand.answers.length > 0 && hand.answers.length <= 20, `${hand.answers.length}`)
  })

  it('and puts together what comes in the wrong order, within bounds', () => {
    const hand = new HandMade()
    for (let i = 99; i >= 0; i--) {
      hand.send({ sequence: INITIAL + 1 + i * 10, payload: new Uint8Array(10).fill(i) })
      assert.equal(hand.handler.received, i === 0 ? 1000 : 0)
    }
    assert.deepEqual(
      [...hand.handler.content],
      Array.from({ length: 1000 }, (_, i) => Math.floor(i / 10)),
    )
  })
})

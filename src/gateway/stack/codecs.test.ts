/** What goes over the wire: made here and read here, against simple oracles, and bent by fast-check. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { SimulatedLink } from '../testing/simulated_link.ts'
import { ipv4FromText, ipv4Text } from './address.ts'
import { ARP_REQUEST, arpFrame, parseArp } from './arp.ts'
import { ETHERNET_BYTES, TYPE_IPV4, writeEthernet } from './ethernet.ts'
import { foldSum, sumWords } from './internet_checksum.ts'
import { IPV4_BYTES, type Ipv4Packet, PROTOCOL_TCP, PROTOCOL_UDP, parseIpv4, writeIpv4 } from './ipv4.ts'
import { isRefusal, type Refusal } from './refusal.ts'
import { ACK, parseTcp, SYN, type TcpSegment, tcpHeaderBytes, writeTcpHeader } from './tcp_segment.ts'
import { parseUdp, UDP_BYTES, type UdpDatagram, writeUdp } from './udp.ts'

const GATEWAY_MAC = Uint8Array.of(0x52, 0x55, 10, 0, 2, 2)
const GUEST_MAC = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56)
const GUEST = 0x0a00_020f

const address = fc.nat({ max: 0xffff_ffff })
const port = fc.nat({ max: 0xffff })
const content = fc.uint8Array({ maxLength: 1400 })

function taken<T extends object>(parsed: T | Refusal): T {
  assert.ok(!isRefusal(parsed), JSON.stringify(parsed))
  return parsed
}

function reason(parsed: object): string {
  assert.ok(isRefusal(parsed), 'a refusal')
  return parsed.refused
}

function ipv4Frame(source: number, destination: number, protocol: number, bytes: Uint8Array): Uint8Array {
  const frame = new Uint8Array(ETHERNET_BYTES + IPV4_BYTES + bytes.length)
  frame.set(bytes, ETHERNET_BYTES + IPV4_BYTES)
  writeEthernet(frame, GATEWAY_MAC, GUEST_MAC, TYPE_IPV4)
  writeIpv4(frame, source, destination, protocol, bytes.length)
  return frame
}

function tcpFrame(source: number, destination: number, segment: TcpSegment): Uint8Array {
  const header = tcpHeaderBytes(segment.options)
  const bytes = new Uint8Array(header + segment.payload.length)
  bytes.set(segment.payload, header)
  const frame = ipv4Frame(source, destination, PROTOCOL_TCP, bytes)
  writeTcpHeader(frame, source, destination, segment)
  return frame
}

function udpFrame(datagram: UdpDatagram): Uint8Array {
  const { source, destination, payload } = datagram
  const frame = ipv4Frame(source, destination, PROTOCOL_UDP, new Uint8Array(UDP_BYTES + payload.length))
  writeUdp(frame, datagram)
  return frame
}

describe('addresses', () => {
  it('are read as they are written', () => {
    fc.assert(fc.property(address, (number) => assert.equal(ipv4FromText(ipv4Text(number)), number)))
    for (const text of [
      '',
      '1.2.3',
      '1.2.3.4.5',
      '1.2.3.256',
      '01.2.3.4',
      '1.2.3.-4',
      ' 1.2.3.4',
      '1.2.3.4a',
    ])
      assert.equal(ipv4FromText(text), undefined, text)
  })
})

describe('checksums', () => {
  it('are those of a sum in big numbers, wherever the bytes stand', () => {
    const bytes = fc.uint8Array({ maxLength: 3000 })
    fc.assert(
      fc.property(bytes, fc.nat({ max: 3 }), (whole, offset) => {
        const part = whole.subarray(Math.min(offset, whole.length))
        let sum = 0n
        for (let i = 0; i < part.length; i += 2) sum += BigInt((part[i]! << 8) | (part[i + 1] ?? 0))
        while (sum > 0xffffn) sum = (sum & 0xffffn) + (sum >> 16n)
        assert.equal(foldSum(sumWords(part, 0, part.length, 0)), Number(~sum & 0xffffn))
      }),
    )
  })

  it('of the example in RFC 1071', () => {
    const bytes = Uint8Array.of(0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7)
    assert.equal(foldSum(sumWords(bytes, 0, 8, 0)), ~0xddf2 & 0xffff)
  })
})

describe('packets', () => {
  it('of ARP are read as they are written', () => {
    const packet = { operation: ARP_REQUEST, senderMac: GUEST_MAC, senderAddress: GUEST }
    const whole = { ...packet, targetMac: GATEWAY_MAC, targetAddress: 0x0a00_0202 }
    assert.deepEqual(parseArp(arpFrame(GATEWAY_MAC, whole)), whole)
  })

  it('of UDP are read as they are written, and refused with any byte changed', () => {
    fc.assert(
      fc.property(
        address,
        address,
        port,
        port,
        content,
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (...all) => {
          const [source, destination, sourcePort, destinationPort, payload, where, change] = all
          const datagram = { source, destination, sourcePort, destinationPort, payload }
          const frame = udpFrame(datagram)
          assert.deepEqual(taken(parseUdp(taken(parseIpv4(frame)))), datagram)
          const udp = ETHERNET_BYTES + IPV4_BYTES
          const at = udp + (where % (frame.length - udp))
          frame[at]! ^= change
          // A checksum of 0 says that there is none.
          if (frame[udp + 6] === 0 && frame[udp + 7] === 0) return
          assert.ok(isRefusal(parseUdp(taken(parseIpv4(frame)))))
        },
      ),
    )
  })

  it('of TCP are read as they are written, and refused with any byte changed', () => {
    const number = fc.nat({ max: 0xffff_ffff })
    const options = fc.record(
      {
        mss: port,
        windowScale: fc.option(fc.nat({ max: 14 }), { nil: undefined }),
      },
      { noNullPrototype: true },
    )
    const segments = fc.record({
      ...{ sourcePort: port, destinationPort: port, window: port, payload: content },
      ...{ sequence: number, acknowledgment: number, flags: fc.nat({ max: 0x3f }), options },
    })
    fc.assert(
      fc.property(segments, fc.nat(), fc.integer({ min: 1, max: 255 }), (any, where, change) => {
        const segment = { ...any, options: (any.flags & SYN) === 0 ? undefined : any.options }
        const frame = tcpFrame(GUEST, 0x0102_0304, segment)
        assert.deepEqual(taken(parseTcp(taken(parseIpv4(frame)))), segment)
        frame[ETHERNET_BYTES + 12 + (where % (frame.length - ETHERNET_BYTES - 12))]! ^= change
        const packet = parseIpv4(frame)
        assert.ok(isRefusal(packet) || isRefusal(parseTcp(packet)))
      }),
    )
  })

  it('say why they are refused', () => {
    const frame = ipv4Frame(GUEST, 0x0102_0304, 99, new Uint8Array(30))
    const changed = (at: number, value: number): Uint8Array => {
      const copy = frame.slice()
      copy[ETHERNET_BYTES + at] = value
      return copy
    }
    assert.match(reason(parseIpv4(frame.subarray(0, 30))), /cut off/)
    assert.match(reason(parseIpv4(changed(0, 0x65))), /another version/)
    assert.match(reason(parseIpv4(changed(0, 0x44))), /wrong length/)
    assert.match(reason(parseIpv4(changed(3, 51))), /wrong length/)
    assert.match(reason(parseIpv4(changed(3, 19))), /wrong length/)
    assert.match(reason(parseIpv4(changed(12, 11))), /wrong checksum/)
    const fragment = frame.slice()
    fragment[ETHERNET_BYTES + 6] = 0x20
    fragment.fill(0, ETHERNET_BYTES + 10, ETHERNET_BYTES + 12)
    const sum = foldSum(sumWords(fragment, ETHERNET_BYTES, ETHERNET_BYTES + IPV4_BYTES, 0))
    fragment[ETHERNET_BYTES + 10] = sum >> 8
    fragment[ETHERNET_BYTES + 11] = sum
    assert.match(reason(parseIpv4(fragment)), /fragment/)
  })

  it('of TCP with options that make no sense are read without them', () => {
    const options = fc.uint8Array({ minLength: 0, maxLength: 40 })
    fc.assert(
      fc.property(options, (bytes) => {
        const header = 20 + Math.ceil(bytes.length / 4) * 4
        const payload = new Uint8Array(header)
        payload[12] = (header / 4) << 4
        payload[13] = SYN
        payload.set(bytes, 20)
        const packet = { source: GUEST, destination: 1, protocol: PROTOCOL_TCP, bytes: payload, payload }
        const pseudo = GUEST + 1 + PROTOCOL_TCP + header
        const sum = foldSum(sumWords(payload, 0, header, (pseudo % 0x1_0000) + Math.floor(pseudo / 0x1_0000)))
        payload[16] = sum >> 8
        payload[17] = sum
        const segment = taken(parseTcp(packet satisfies Ipv4Packet))
        assert.ok((segment.options!.windowScale ?? 0) <= 14)
      }),
    )
  })
})

describe('a hostile guest', () => {
  /** A frame that passes some of the checks, so that what is behind them is reached as well. */
  const bytes = fc.uint8Array({ maxLength: 1500 })
  const destination = fc.constantFrom(
    0x0a00_0202,
    0x0a00_0203,
    0x0102_0304,
    0xffff_ffff,
    0x0a00_02ff,
    0xe000_0001,
  )
  const somePort = fc.constantFrom(53, 67, 68, 80, 4000)
  const frames = fc.oneof(
    bytes,
    fc.tuple(fc.constantFrom(0x0800, 0x0806, 0x86dd), bytes).map(([type, inside]) => {
      const frame = new Uint8Array(ETHERNET_BYTES + inside.length)
      frame.set(inside, ETHERNET_BYTES)
      writeEthernet(frame, GATEWAY_MAC, GUEST_MAC, type)
      return frame
    }),
    fc.tuple(destination, fc.constantFrom(1, 6, 17, 99), content).map(([to, protocol, inside]) => {
      return ipv4Frame(GUEST, to, protocol, inside)
    }),
    fc.tuple(destination, somePort, somePort, content).map(([to, sourcePort, destinationPort, payload]) => {
      return udpFrame({ source: GUEST, destination: to, sourcePort, destinationPort, payload })
    }),
    fc
      .tuple(destination, somePort, somePort, fc.nat({ max: 63 }), fc.nat({ max: 0xffff_ffff }), content)
      .map(([to, sourcePort, destinationPort, flags, sequence, payload]) => {
        const numbers = { sequence, acknowledgment: (sequence * 7) >>> 0, window: 1000 }
        const options = (flags & SYN) === 0 ? undefined : { mss: 0, windowScale: 14 }
        return tcpFrame(GUEST, to, { sourcePort, destinationPort, flags, ...numbers, payload, options })
      }),
  )

  it('finds no frame that is answered with an exception', () => {
    const link = new SimulatedLink(1)
    link.stack.attach(0)
    let calls = 0
    link.onCall = (connection) => {
      if (++calls % 3 === 0) connection.abort()
      else connection.accept({ onOpen() {}, onData() {}, onEnd() {}, onRoom() {}, onReset() {} })
    }
    let now = 0
    fc.assert(
      fc.property(frames, (frame) => {
        now += 10
        link.stack.at(now)
        link.stack.receive(frame)
        link.stack.tick()
      }),
      { numRuns: 3000 },
    )
    assert.ok(link.stack.refusals.total > 100)
    assert.ok(calls > 10)
  })

  it('speaks nonsense into an open connection without breaking it', () => {
    const numbers = fc.record({
      ahead: fc.integer({ min: -70_000, max: 70_000 }),
      flags: fc.nat({ max: 63 }),
    })
    fc.assert(
      fc.property(fc.array(fc.tuple(numbers, numbers, content), { maxLength: 30 }), (segments) => {
        const link = new SimulatedLink(2).start()
        let sequence = 0
        let acknowledgment = 0
        link.filter = (frame, isToGuest) => {
          const packet = isToGuest ? parseIpv4(frame) : undefined
          const segment = packet === undefined || isRefusal(packet) ? undefined : parseTcp(packet)
          if (segment === undefined || isRefusal(segment)) return true
          acknowledgment = segment.sequence
          sequence = segment.acknowledgment
          return false
        }
        link.onCall = (connection) => {
          connection.accept({
            onOpen: () => connection.write(new Uint8Array(5000)),
            onData: (received) => connection.setUnread(received.length),
            onEnd: () => connection.end(),
            ...{ onRoom() {}, onReset() {} },
          })
        }
        const ports = { sourcePort: 4000, destinationPort: 80, window: 5000 }
        const send = (
          segment: Pick<TcpSegment, 'flags' | 'sequence' | 'acknowledgment' | 'payload'>,
        ): void => {
          const options = (segment.flags & SYN) === 0 ? undefined : { mss: 1000, windowScale: 2 }
          link.stack.receive(tcpFrame(GUEST, 0x0102_0304, { ...ports, ...segment, options }))
          link.advance(300)
        }
        send({ flags: SYN, sequence: 100, acknowledgment: 0, payload: new Uint8Array(0) })
        send({ flags: ACK, sequence, acknowledgment: acknowledgment + 1, payload: new Uint8Array(0) })
        for (const [one, other, payload] of segments) {
          const numbersNow = {
            sequence: (sequence + one.ahead) >>> 0,
            acknowledgment: (acknowledgment + other.ahead) >>> 0,
          }
          send({ flags: one.flags | (other.flags & ACK), ...numbersNow, payload })
        }
        assert.ok(link.stack.tcp.connectionCount <= 1)
      }),
      { numRuns: 300 },
    )
  })
})

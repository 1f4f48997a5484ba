import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { DNS_ADDRESS, GATEWAY_ADDRESS, GUEST_ADDRESS, GUEST_MAC } from '../testing/memory_guest.ts'
import { RecordedHandler } from '../testing/recorded_handler.ts'
import { SimulatedLink } from '../testing/simulated_link.ts'
import { get32, put32 } from './big_endian.ts'
import { etherType, TYPE_ARP } from './ethernet.ts'
import { foldSum, sumWords } from './internet_checksum.ts'
import { PROTOCOL_ICMP } from './ipv4.ts'

function echoRequest(): Uint8Array {
  const message = Uint8Array.of(8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7)
  const sum = foldSum(sumWords(message, 0, message.length, 0))
  message[2] = sum >> 8
  message[3] = sum
  return message
}

describe('the gateway', () => {
  it('answers pings of its own two addresses, and says that others are out of reach', () => {
    const link = new SimulatedLink(1).start()
    for (const address of [GATEWAY_ADDRESS, DNS_ADDRESS]) {
      link.guest.sendIpv4(address, PROTOCOL_ICMP, echoRequest())
      link.advance(10)
      const { source, payload } = link.guest.messages.pop()!
      assert.equal(source, address)
      assert.deepEqual([payload[0], ...payload.subarray(4)], [0, 1, 2, 3, 4, 5, 6, 7])
      assert.equal(foldSum(sumWords(payload, 0, payload.length, 0)), 0)
    }
    link.guest.sendIpv4(0x0102_0304, PROTOCOL_ICMP, echoRequest())
    link.advance(10)
    const { source, payload } = link.guest.messages.pop()!
    assert.deepEqual([source, payload[0], payload[1]], [GATEWAY_ADDRESS, 3, 13])
    assert.equal(get32(payload, 8 + 16), 0x0102_0304)
  })

  it('answers ARP for its own addresses, and for no other', () => {
    const link = new SimulatedLink(2).start()
    const answers: number[] = []
    link.filter = (frame, isToGuest) => {
      if (isToGuest && etherType(frame) === TYPE_ARP) answers.push(get32(frame, 28))
      return true
    }
    for (const address of [GATEWAY_ADDRESS, DNS_ADDRESS, 0x0a00_0204, GUEST_ADDRESS]) link.guest.arp(address)
    link.advance(10)
    assert.deepEqual(answers, [GATEWAY_ADDRESS, DNS_ADDRESS])
  })

  it('asks for a guest that it does not know for as long as a client waits, and tells where it is when attached', () => {
    const link = new SimulatedLink(3)
    let requests = 0
    link.filter = (frame, isToGuest) => {
      if (isToGuest && etherType(frame) === TYPE_ARP) requests++
      return false
    }
    link.stack.attach(0)
    assert.equal(requests, 1)
    link.advance(60_000)
    assert.equal(requests, 1)
    const handler = new RecordedHandler()
    link.stack.tcp.call(80, handler)
    link.advance(3_600_000)
    assert.ok(requests > 3000, `${requests}`)
    assert.deepEqual(handler.events, [])
    link.guest.services.set(80, () => new RecordedHandler())
    link.filter = undefined
    link.run(() => handler.events.length > 0)
    assert.deepEqual(handler.events, ['open'])
  })

  it('never calls from a port that is in use', () => {
    const link = new SimulatedLink(6).start()
    link.filter = () => false
    const first = link.stack.tcp.call(80, new RecordedHandler())!
    for (let i = 0; i < 66_000; i++) {
      const other = link.stack.tcp.call(80, new RecordedHandler())!
      assert.notEqual(other.endpoints.remotePort, first.endpoints.remotePort)
      other.abort()
    }
    assert.equal(link.stack.tcp.connectionCount, 1)
  })

  it('keeps thousands of connections apart', () => {
    const link = new SimulatedLink(4).start()
    link.guest.services.set(80, (connection) => {
      const handler = new RecordedHandler()
      handler.onData = (bytes) => connection.write(bytes)
      handler.onEnd = () => connection.end()
      return handler
    })
    const handlers = Array.from({ length: 3000 }, (_, i) => {
      const handler = new RecordedHandler()
      handler.connection = link.stack.tcp.call(80, handler)!
      handler.connection.write(Buffer.from(`this is ${i}`))
      handler.connection.end()
      return handler
    })
    assert.equal(link.stack.tcp.connectionCount, 3000)
    link.run(() => handlers.every(({ events }) => events.includes('end')))
    handlers.forEach((handler, i) => {
      assert.equal(handler.content.toString(), `this is ${i}`)
    })
    link.advance(20_000)
    assert.equal(link.stack.tcp.connectionCount, 0)
  })
})

describe('DHCP', () => {
  const TYPE = { discover: 1, offer: 2, request: 3, ack: 5, nak: 6, inform: 8 }
  const message = (type: number, options: readonly number[] = []): Uint8Array => {
    const bytes = new Uint8Array(300)
    bytes.set([1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef])
    bytes.set(GUEST_MAC, 28)
    bytes.set([0x63, 0x82, 0x53, 0x63, 53, 1, type, ...options, 255], 236)
    return bytes
  }
  const ask = (
    request: Uint8Array,
  ): { type: number; yiaddr: number; options: Map<number, Uint8Array> } | undefined => {
    const link = new SimulatedLink(5).start()
    const target = { destination: 0xffff_ffff, sourcePort: 68, destinationPort: 67 }
    link.guest.sendUdp({ ...target, payload: request })
    link.advance(10)
    const payload = link.guest.datagrams.pop()?.payload
    if (payload === undefined) return undefined
    assert.deepEqual([...payload.subarray(4, 8)], [0xde, 0xad, 0xbe, 0xef])
    const options = new Map<number, Uint8Array>()
    for (let at = 240; payload[at] !== 255; at += 2 + payload[at + 1]!)
      options.set(payload[at]!, payload.slice(at + 2, at + 2 + payload[at + 1]!))
    return { type: options.get(53)![0]!, yiaddr: get32(payload, 16), options }
  }
  const requested = (address: number): number[] => {
    const option = new Uint8Array(6)
    option.set([50, 4])
    put32(option, 2, address)
    return [...option]
  }

  it('offers the one address, with router and name server, and confirms it', () => {
    const offer = ask(message(TYPE.discover))!
    assert.deepEqual([offer.type, offer.yiaddr], [TYPE.offer, GUEST_ADDRESS])
    assert.deepEqual([...offer.options.get(3)!], [10, 0, 2, 2])
    assert.deepEqual([...offer.options.get(6)!], [10, 0, 2, 3])
    assert.deepEqual([...offer.options.get(1)!], [255, 255, 255, 0])
    const ack = ask(message(TYPE.request, requested(GUEST_ADDRESS)))!
    assert.deepEqual([ack.type, ack.yiaddr], [TYPE.ack, GUEST_ADDRESS])
    const inform = ask(message(TYPE.inform))!
    assert.deepEqual([inform.type, inform.yiaddr], [TYPE.ack, 0])
  })

  it('refuses another address, and says nothing to what is not for it', () => {
    const nak = ask(message(TYPE.request, requested(0x0a00_0263)))!
    assert.deepEqual([nak.type, nak.yiaddr], [TYPE.nak, 0])
    assert.equal(ask(message(TYPE.request, [54, 4, 9, 9, 9, 9])), undefined)
    assert.equal(ask(message(7)), undefined)
    const foreign = message(TYPE.discover)
    foreign[28] = 0x99
    assert.equal(ask(foreign), undefined)
    assert.equal(ask(message(TYPE.discover).subarray(0, 100)), undefined)
  })
})

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Random } from '../../base/prng.ts'
import { RecordedHandler } from '../testing/recorded_handler.ts'
import { type LinkQuality, SimulatedLink } from '../testing/simulated_link.ts'
import { RECEIVE_BYTES_MAX, SEND_BYTES_MAX, type TcpConnection } from './tcp_connection.ts'

const PORT = 80

interface Pair {
  readonly link: SimulatedLink
  readonly gateway: RecordedHandler
  readonly guest: RecordedHandler
}

/** A client's connection to a service of the guest. */
function called(seed: number, quality: LinkQuality = {}): Pair {
  const link = new SimulatedLink(seed, {}).start()
  link.quality = quality
  const gateway = new RecordedHandler()
  const guest = new RecordedHandler()
  link.guest.services.set(PORT, (connection) => {
    guest.connection = connection
    return guest
  })
  gateway.connection = link.stack.tcp.call(PORT, gateway)!
  link.run(() => gateway.events.includes('open') && guest.events.includes('open'))
  assert.deepEqual([gateway.events, guest.events], [['open'], ['open']])
  return { link, gateway, guest }
}

/** Writes it all, and the end behind it, as fast as there is room. */
function sendAll(handler: RecordedHandler, content: Uint8Array): void {
  let at = 0
  const more = (): void => {
    while (at < content.length) {
      const piece = content.subarray(at, at + 10_000)
      at += piece.length
      if (!handler.connection!.write(piece) && at < content.length) return
    }
    handler.connection!.end()
  }
  handler.onRoomCalled = more
  more()
}

function transfers(seed: number, quality: LinkQuality, bytes: number): Pair {
  const pair = called(seed, quality)
  const random = new Random(seed, 1)
  const toGuest = random.bytes(bytes)
  const toGateway = random.bytes(bytes)
  sendAll(pair.gateway, toGuest)
  sendAll(pair.guest, toGateway)
  pair.link.run(() => pair.gateway.events.includes('end') && pair.guest.events.includes('end'))
  assert.ok(
    pair.guest.content.equals(toGuest),
    `seed ${seed}: ${pair.guest.received} of ${bytes} to the guest`,
  )
  assert.ok(pair.gateway.content.equals(toGateway), `seed ${seed}: ${pair.gateway.received} of ${bytes} back`)
  return pair
}

/** Opens connections, and loses the primary when 100 bytes are on their way in each; the guest's ends of them. */
function cutOffWhileSending(link: SimulatedLink, count: number): RecordedHandler[] {
  const guests: RecordedHandler[] = []
  link.guest.services.set(PORT, (connection) => {
    const guest = new RecordedHandler()
    guest.connection = connection
    guests.push(guest)
    return guest
  })
  const gateways = Array.from({ length: count }, () => {
    const handler = new RecordedHandler()
    handler.connection = link.stack.tcp.call(PORT, handler)!
    return handler
  })
  link.run(() => guests.filter(({ events }) => events.includes('open')).length === count)
  link.advance(1000)
  for (const { connection } of gateways) connection!.write(new Uint8Array(100))
  link.stack.detach(link.now)
  link.loseFramesToGuest()
  return guests
}

describe('TCP with a guest', () => {
  it('carries bytes both ways over a good link, and both ends', () => {
    const { link, gateway, guest } = transfers(1, {}, 1_000_000)
    assert.ok(!gateway.events.includes('reset') && !guest.events.includes('reset'))
    link.advance(60_000)
    assert.equal(link.stack.tcp.connectionCount, 0)
    assert.deepEqual(link.notices, [])
  })

  it('carries every byte over links that lose, repeat and reorder, by seed', () => {
    for (let seed = 1; seed <= 60; seed++) {
      const random = new Random(seed, 2)
      const quality = {
        loss: random.fraction() * 0.2,
        repeats: random.fraction() * 0.1,
        delayMsMin: 1,
        delayMsMax: 1 + random.below(40),
      }
      const { link } = transfers(seed, quality, 20_000 + random.below(100_000))
      link.quality = {}
      link.advance(120_000)
      assert.equal(link.stack.tcp.connectionCount, 0, `seed ${seed}`)
    }
  })

  it('repairs a single loss without waiting for a timeout', () => {
    const { link, gateway, guest } = called(3)
    let lost = 0
    link.filter = (frame, isToGuest) => !(isToGuest && frame.length > 1000 && ++lost === 5)
    const start = link.now
    gateway.connection!.write(new Uint8Array(60_000))
    link.run(() => guest.received === 60_000)
    assert.ok(link.now - start < 100, `${link.now - start} ms`)
  })

  it('repairs several losses of one window without waiting for a timeout', () => {
    const { link, gateway, guest } = called(3)
    let lost = 0
    link.filter = (frame, isToGuest) => {
      if (isToGuest && frame.length > 1000) lost++
      return !(isToGuest && frame.length > 1000 && [3, 5, 8].includes(lost))
    }
    const start = link.now
    gateway.connection!.write(new Uint8Array(60_000))
    link.run(() => guest.received === 60_000)
    assert.ok(link.now - start < 100, `${link.now - start} ms`)
  })

  it('tells at once that its window has opened', () => {
    const { link, gateway, guest } = called(14)
    gateway.takes = false
    guest.connection!.write(new Uint8Array(RECEIVE_BYTES_MAX + 100_000))
    link.advance(10_000)
    assert.ok(gateway.received <= RECEIVE_BYTES_MAX)
    const start = link.now
    gateway.takeAll()
    link.run(() => gateway.received === RECEIVE_BYTES_MAX + 100_000)
    assert.ok(link.now - start < 50, `${link.now - start} ms`)
  })

  it('acknowledges what comes while its own probes go into a closed window', () => {
    const { link, gateway, guest } = called(15)
    guest.takes = false
    gateway.connection!.write(new Uint8Array(RECEIVE_BYTES_MAX + 50_000))
    link.advance(20_000)
    guest.connection!.write(new Uint8Array(1000))
    link.advance(100)
    assert.equal(gateway.received, 1000)
    assert.equal(guest.connection!.sender.buffer.length, 0)
  })

  it('goes on in one direction after the other has ended', () => {
    const { link, gateway, guest } = called(4)
    gateway.connection!.end()
    link.run(() => guest.events.includes('end'))
    guest.connection!.write(Buffer.from('late'))
    link.run(() => gateway.received === 4)
    assert.equal(gateway.connection!.state, 'finWait2')
    assert.equal(guest.connection!.state, 'closeWait')
    guest.connection!.end()
    link.run(() => gateway.events.includes('end'))
    assert.equal(gateway.connection!.state, 'timeWait')
  })

  it('stops at a closed window, probes it, and goes on when it opens although the word of it is lost', () => {
    const { link, gateway, guest } = called(5)
    guest.takes = false
    assert.equal(gateway.connection!.write(new Uint8Array(RECEIVE_BYTES_MAX + 50_000)), false)
    link.advance(10_000)
    assert.ok(guest.received <= RECEIVE_BYTES_MAX)
    const stopped = guest.received
    link.advance(3_600_000)
    assert.ok(guest.received - stopped <= 1)
    assert.ok(!gateway.events.includes('reset'))
    link.filter = () => false
    guest.takeAll()
    link.advance(1000)
    link.filter = undefined
    link.run(() => guest.received === RECEIVE_BYTES_MAX + 50_000)
    assert.equal(guest.received, RECEIVE_BYTES_MAX + 50_000)
  })

  it('says when there is room again', () => {
    const { link, gateway } = called(6)
    assert.equal(gateway.connection!.write(new Uint8Array(SEND_BYTES_MAX)), false)
    link.run(() => gateway.events.includes('room'))
    assert.deepEqual(gateway.events, ['open', 'room'])
  })

  it('resets both ways', () => {
    const one = called(7)
    one.gateway.connection!.abort()
    one.link.run(() => one.guest.events.includes('reset'))
    assert.ok(one.guest.events.includes('reset'))
    const other = called(8)
    other.guest.connection!.abort()
    other.link.run(() => other.gateway.events.includes('reset'))
    assert.ok(other.gateway.events.includes('reset'))
    other.link.advance(20_000)
    assert.equal(other.link.stack.tcp.connectionCount, 0)
  })

  it('hears that a port of the guest is closed', () => {
    const link = new SimulatedLink(9).start()
    const handler = new RecordedHandler()
    link.stack.tcp.call(81, handler)
    link.run(() => handler.events.length > 0)
    assert.deepEqual(handler.events, ['reset'])
    assert.equal(link.stack.tcp.connectionCount, 0)
  })
})

describe('calls of the guest', () => {
  it('are open when they are accepted, and not before', () => {
    const link = new SimulatedLink(10).start()
    let call: TcpConnection | undefined
    link.onCall = (connection) => {
      call = connection
    }
    const guest = new RecordedHandler()
    guest.connection = link.guest.connect(0x01020304, 443, guest)
    link.advance(5000)
    assert.deepEqual(guest.events, [])
    assert.deepEqual([call!.endpoints.remoteAddress, call!.endpoints.remotePort], [0x01020304, 443])
    const gateway = new RecordedHandler()
    gateway.connection = call
    call!.accept(gateway)
    link.run(() => gateway.events.includes('open'))
    assert.deepEqual([gateway.events, guest.events], [['open'], ['open']])
  })

  it('are refused with a reset', () => {
    const link = new SimulatedLink(11).start()
    const guest = new RecordedHandler()
    link.guest.connect(0x01020304, 443, guest)
    link.run(() => guest.events.length > 0)
    assert.deepEqual(guest.events, ['reset'])
  })
})

describe('while no primary is attached', () => {
  it('nothing is sent and nothing ends, for however long; afterwards all that was lost goes at once', () => {
    const { link, gateway, guest } = called(12)
    gateway.connection!.write(new Uint8Array(30_000))
    // All of the first window is still on its way.
    link.advance(0.5)
    link.stack.detach(link.now)
    link.loseFramesToGuest()
    const before = guest.received
    assert.equal(before, 0)
    const frames = link.frames
    link.advance(24 * 3_600_000)
    gateway.connection!.write(new Uint8Array(500))
    assert.equal(link.frames, frames)
    assert.deepEqual(gateway.events, ['open'])
    link.stack.attach(link.now)
    const start = link.now
    link.run(() => guest.received === 30_500)
    assert.equal(guest.received, 30_500)
    assert.ok(link.now - start < 20, `${link.now - start} ms`)
  })

  it('a thousand connections do not send more at once than the guest has buffers for', () => {
    const link = new SimulatedLink(14, {}).start()
    const guests = cutOffWhileSending(link, 1000)
    let [toGuest, most, sinceMs] = [0, 0, link.now]
    link.filter = (_, isToGuest) => {
      if (link.now !== sinceMs) [toGuest, sinceMs] = [0, link.now]
      if (isToGuest) most = Math.max(most, ++toGuest)
      return true
    }
    const start = link.now
    link.stack.attach(link.now)
    link.run(() => guests.every(({ received }) => received === 100))
    assert.ok(most <= 128, `${most} frames at once`)
    assert.ok(link.now - start < 300, `${link.now - start} ms`)
  })

  it('what has not been sent when the primary is lost again is sent with the rest to the next one', () => {
    const link = new SimulatedLink(15, {}).start()
    const guests = cutOffWhileSending(link, 300)
    link.stack.attach(link.now)
    link.stack.detach(link.now)
    link.loseFramesToGuest()
    const { frames } = link
    link.advance(1000)
    assert.equal(link.frames, frames, 'nothing is sent while nobody is attached')
    const start = link.now
    link.stack.attach(link.now)
    link.run(() => guests.every(({ received }) => received === 100))
    assert.ok(link.now - start < 150, `${link.now - start} ms`)
  })

  it('a call waits, and a reset that was lost with a host comes again', () => {
    const { link, gateway, guest } = called(13)
    link.stack.detach(link.now)
    const late = new RecordedHandler()
    late.connection = link.stack.tcp.call(PORT, late)
    link.advance(3_600_000)
    assert.deepEqual(late.events, [])
    link.stack.attach(link.now)
    gateway.connection!.abort()
    link.stack.detach(link.now)
    link.loseFramesToGuest()
    link.advance(3_600_000)
    assert.ok(!guest.events.includes('reset'))
    link.stack.attach(link.now)
    link.run(() => guest.events.includes('reset') && late.events.includes('open'))
    assert.deepEqual([guest.events.includes('reset'), late.events], [true, ['open']])
  })

  it('time stands still: what is kept for some seconds is kept for as long as it takes', () => {
    const { link, gateway } = called(16)
    gateway.connection!.abort()
    link.advance(5000)
    link.stack.detach(link.now)
    link.advance(3_600_000)
    link.stack.attach(link.now)
    link.advance(4000)
    assert.equal(link.stack.tcp.connectionCount, 1)
    link.advance(2000)
    assert.equal(link.stack.tcp.connectionCount, 0)
  })

  it('transfers survive failovers in which everything towards the guest is lost, by seed', () => {
    for (let seed = 20; seed < 50; seed++) {
      const { link, gateway, guest } = called(seed, { delayMsMin: 1, delayMsMax: 3 })
      const random = new Random(seed, 3)
      const toGuest = random.bytes(400_000)
      const toGateway = random.bytes(400_000)
      sendAll(gateway, toGuest)
      sendAll(guest, toGateway)
      for (let failover = 0; failover < 8; failover++) {
        link.advance(random.below(12))
        link.stack.detach(link.now)
        link.loseFramesToGuest()
        link.advance(random.below(3000))
        link.stack.attach(link.now)
      }
      link.run(() => gateway.events.includes('end') && guest.events.includes('end'))
      assert.ok(guest.content.equals(toGuest), `seed ${seed}`)
      assert.ok(gateway.content.equals(toGateway), `seed ${seed}`)
    }
  })
})

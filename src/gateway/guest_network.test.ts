import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { afterEach, describe, it } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { Random } from '../base/prng.ts'
import { GuestNetwork } from './guest_network.ts'
import { PROTOCOL_ICMP } from './stack/ipv4.ts'
import type { TcpConnection } from './stack/tcp_connection.ts'
import { LiveGuest } from './testing/live_guest.ts'
import { DNS_ADDRESS, GATEWAY_ADDRESS, GUEST_ADDRESS } from './testing/memory_guest.ts'
import { RecordedHandler } from './testing/recorded_handler.ts'
import { UDP_FLOWS_MAX } from './udp_relay.ts'

const PORT = 7
const DEADLINE_MS = 60_000
const FORWARD = { hostAddress: '127.0.0.1', hostPort: 0, guestPort: PORT }

let live: LiveGuest
const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

async function open(options: { allowLoopback?: boolean; dnsServers?: string[] } = {}): Promise<LiveGuest> {
  live = await LiveGuest.open({ forwards: [FORWARD], allowLoopback: true, dnsServers: [], ...options })
  closers.unshift(() => live.close())
  return live
}

async function attached(
  options: { allowLoopback?: boolean; dnsServers?: string[] } = {},
): Promise<LiveGuest> {
  await open(options)
  live.attach()
  await until(() => live.guest.knowsGateway, 'the gateway to ask for the guest')
  return live
}

async function until(isSo: () => boolean, what: string): Promise<void> {
  const end = performance.now() + DEADLINE_MS
  while (!isSo()) {
    assert.ok(performance.now() < end, `waited in vain for ${what}`)
    await setTimeout(2)
  }
}

/** Waits until a number, once there is one, stays as it is for long. */
async function quiet(measure: () => number | false): Promise<void> {
  let last: number | false = false
  let polls = 0
  await until(() => {
    const now = measure()
    polls = now === last && now !== false ? polls + 1 : 0
    last = now
    return polls === 100
  }, 'nothing to move')
}

/** The guest gives back what it gets, and ends when its client does. */
function echo(connection: TcpConnection): RecordedHandler {
  const handler = new RecordedHandler()
  handler.connection = connection
  const onData = handler.onData.bind(handler)
  handler.onData = (bytes) => {
    onData(bytes)
    handler.pieces.length = 0
    connection.write(bytes)
  }
  const onEnd = handler.onEnd.bind(handler)
  handler.onEnd = () => {
    onEnd()
    connection.end()
  }
  return handler
}

/** Notes who connects and does nothing. */
function listen(): RecordedHandler[] {
  const handlers: RecordedHandler[] = []
  live.guest.services.set(PORT, (connection) => {
    const handler = new RecordedHandler()
    handler.connection = connection
    handlers.push(handler)
    return handler
  })
  return handlers
}

function client(): { socket: Socket; events: string[]; received: () => number; digest: () => string } {
  const socket = connect({ port: live.network.hostPorts[0]!, host: '127.0.0.1', allowHalfOpen: true })
  closers.unshift(() => socket.destroy())
  const events: string[] = []
  const hash = createHash('sha256')
  let received = 0
  socket.on('data', (bytes: Buffer) => {
    received += bytes.length
    hash.update(bytes)
  })
  socket.on('end', () => events.push('end'))
  socket.on('error', (error: NodeJS.ErrnoException) => events.push(error.code ?? error.message))
  socket.on('close', () => events.push('close'))
  return { socket, events, received: () => received, digest: () => hash.digest('hex') }
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

async function hostServer(onSocket: (socket: Socket) => void): Promise<{ port: number; server: Server }> {
  const server = createServer({ allowHalfOpen: true }, onSocket)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closers.push(() => server.close())
  return { port: (server.address() as AddressInfo).port, server }
}

function guestCall(address: number, port: number): RecordedHandler {
  const handler = new RecordedHandler()
  handler.connection = live.guest.connect(address, port, handler)
  return handler
}

describe('a forwarded port', () => {
  it('carries bytes both ways, and ends', async () => {
    await attached()
    live.guest.services.set(PORT, echo)
    const content = new Random(1).bytes(3_000_000)
    const { socket, events, received, digest } = client()
    socket.end(content)
    await until(() => events.includes('close'), 'the end')
    assert.deepEqual(events, ['end', 'close'])
    assert.equal(received(), content.length)
    assert.equal(digest(), sha256(content))
    assert.deepEqual(live.notices, [])
  })

  it('resets a client whose port the guest refuses', async () => {
    await attached()
    const { events } = client()
    await until(() => events.includes('close'), 'the reset')
    assert.deepEqual(events, ['ECONNRESET', 'close'])
  })

  it('passes resets on, both ways', async () => {
    await attached()
    const handlers = listen()
    const one = client()
    await until(() => handlers.length === 1, 'a connection')
    one.socket.write('x')
    await until(() => handlers[0]!.received === 1, 'a byte')
    handlers[0]!.connection!.abort()
    await until(() => one.events.includes('close'), 'the reset of the client')
    assert.deepEqual(one.events, ['ECONNRESET', 'close'])
    const other = client()
    await until(() => handlers.length === 2, 'another connection')
    other.socket.write('x')
    await until(() => handlers[1]!.received === 1, 'a byte')
    other.socket.resetAndDestroy()
    await until(() => handlers[1]!.events.includes('reset'), 'the reset of the guest')
  })

  it('ends one direction and keeps the other', async () => {
    await attached()
    const handlers = listen()
    const { socket, events, received } = client()
    await until(() => handlers.length === 1, 'a connection')
    socket.end('question')
    await until(() => handlers[0]!.events.includes('end'), 'the end')
    assert.equal(handlers[0]!.content.toString(), 'question')
    handlers[0]!.connection!.write(Buffer.from('answer'))
    await until(() => received() === 6, 'the answer')
    assert.equal(events.length, 0)
    handlers[0]!.connection!.end()
    await until(() => events.includes('close'), 'the other end')
    assert.deepEqual(events, ['end', 'close'])
  })

  it('slows a client down that is faster than the guest', async () => {
    await attached()
    const handlers = listen()
    const { socket } = client()
    await until(() => handlers.length === 1, 'a connection')
    handlers[0]!.takes = false
    const piece = Buffer.alloc(2 ** 20)
    for (let i = 0; i < 32; i++) socket.write(piece)
    await quiet(() => handlers[0]!.received > 400_000 && socket.writableLength)
    assert.ok(socket.writableLength > 16 * 2 ** 20, `${socket.writableLength}`)
    handlers[0]!.takeAll()
    await until(() => handlers[0]!.received === 32 * 2 ** 20, 'the rest')
  })

  it('slows a guest down that is faster than the client', async () => {
    await attached()
    const handlers = listen()
    const { socket, received } = client()
    await until(() => handlers.length === 1, 'a connection')
    socket.pause()
    const connection = handlers[0]!.connection!
    const piece = new Uint8Array(100_000)
    let sent = 0
    const more = (): void => {
      while (sent < 300) {
        sent++
        if (!connection.write(piece)) return
      }
    }
    handlers[0]!.onRoomCalled = more
    more()
    await quiet(() => sent > 5 && sent)
    assert.ok(sent < 250, `${sent} pieces`)
    socket.resume()
    await until(() => received() === 300 * piece.length, 'the rest')
  })

  it('is named when it is in use, and nothing stays open', async () => {
    const { port } = await hostServer(() => {})
    const forwards = [FORWARD, { ...FORWARD, hostPort: port }]
    const options = { forwards, allowLoopback: false, transmit: () => {}, onNotice: () => {} }
    await assert.rejects(GuestNetwork.open(options), {
      name: 'UserError',
      message: `port forward 127.0.0.1:${port}:7: the port is in use: choose another`,
    })
  })
})

describe('a failover', () => {
  it('in the middle of transfers loses nothing although all on its way to the guest is lost', async () => {
    await attached()
    live.guest.services.set(PORT, echo)
    const content = new Random(2).bytes(6_000_000)
    const clients = [client(), client(), client()]
    for (const { socket } of clients) socket.end(content)
    const random = new Random(3)
    for (let failover = 0; failover < 6; failover++) {
      const goal = (failover + 1) * 800_000
      await until(() => clients[0]!.received() >= goal, 'progress')
      live.detach()
      const frames = live.framesToGuest
      await setTimeout(random.below(30))
      assert.equal(live.framesToGuest, frames)
      live.attach()
    }
    await until(() => clients.every(({ events }) => events.includes('close')), 'the end')
    for (const { events, digest } of clients) {
      assert.deepEqual(events, ['end', 'close'])
      assert.equal(digest(), sha256(content))
    }
  })

  it('lets a new client wait, and keeps what a known one sends', async () => {
    await attached()
    const handlers = listen()
    const known = client()
    await until(() => handlers.length === 1, 'a connection')
    live.detach()
    known.socket.write('kept')
    const late = client()
    late.socket.write('late')
    await until(() => live.network.stats().connections === 2, 'the new client')
    await setTimeout(20)
    assert.equal(handlers.length, 1)
    live.attach()
    await until(() => handlers.length === 2 && handlers[1]!.received === 4, 'the new connection')
    await until(() => handlers[0]!.received === 4, 'the bytes')
    assert.equal(handlers[0]!.content.toString(), 'kept')
    assert.deepEqual([known.events, late.events], [[], []])
  })

  it('to a guest that has started anew ends what that knows nothing of, and no call that waits', async () => {
    await attached()
    const handlers = listen()
    const known = client()
    await until(() => handlers.length === 1, 'a connection')
    live.detach()
    const late = client()
    await until(() => live.network.stats().connections === 2, 'the new client')
    live.network.guestRestarted()
    await until(() => known.events.includes('close'), 'the reset')
    assert.deepEqual(known.events, ['ECONNRESET', 'close'])
    live.attach()
    await until(() => handlers.length === 2, 'the new connection')
    assert.deepEqual(late.events, [])
  })
})

describe('a connection of the guest', () => {
  it('reaches a server behind the gateway', async () => {
    await attached()
    const { port } = await hostServer((socket) => socket.pipe(socket))
    const guest = guestCall(GATEWAY_ADDRESS, port)
    await until(() => guest.events.includes('open'), 'the connection')
    guest.connection!.write(Buffer.from('hello'))
    guest.connection!.end()
    await until(() => guest.events.includes('end'), 'the end')
    assert.equal(guest.content.toString(), 'hello')
  })

  it('is refused where nobody listens, and to the host itself unless that is allowed', async () => {
    await attached({ allowLoopback: false })
    let connections = 0
    const { port, server } = await hostServer(() => connections++)
    for (const address of [GATEWAY_ADDRESS, 0x7f00_0001, 0, DNS_ADDRESS, GUEST_ADDRESS + 1]) {
      const guest = guestCall(address, port)
      await until(() => guest.events.length > 0, 'the refusal')
      assert.deepEqual(guest.events, ['reset'])
    }
    assert.equal(connections, 0)
    assert.match(live.notices[0]!, /where it may not connect/)
    await live.close()
    await attached({ allowLoopback: true })
    server.close()
    await once(server, 'close')
    const guest = guestCall(GATEWAY_ADDRESS, port)
    await until(() => guest.events.length > 0, 'the refusal')
    assert.deepEqual(guest.events, ['reset'])
  })

  it('hears the reset of the server', async () => {
    await attached()
    const { port } = await hostServer((socket) => socket.once('data', () => socket.resetAndDestroy()))
    const guest = guestCall(GATEWAY_ADDRESS, port)
    guest.connection!.write(Buffer.from('x'))
    await until(() => guest.events.includes('reset'), 'the reset')
    assert.deepEqual(guest.events, ['open', 'reset'])
  })
})

describe('datagrams', () => {
  it('of the guest reach a server of the host, and its answers the guest', async () => {
    await attached()
    const server = createSocket('udp4')
    closers.push(() => server.close())
    server.on('message', (bytes, { port, address }) => server.send(`<${bytes}>`, port, address))
    server.bind(0, '127.0.0.1')
    await once(server, 'listening')
    const destinationPort = server.address().port
    const payload = Buffer.from('hello')
    live.guest.sendUdp({ destination: GATEWAY_ADDRESS, sourcePort: 4000, destinationPort, payload })
    await until(() => live.guest.datagrams.length > 0, 'the answer')
    const { source, sourcePort, destinationPort: to, payload: answer } = live.guest.datagrams[0]!
    assert.deepEqual([source, sourcePort, to], [GATEWAY_ADDRESS, destinationPort, 4000])
    assert.equal(Buffer.from(answer).toString(), '<hello>')
    assert.equal(live.network.stats().udpFlows, 1)
  })

  it('to the name server go to the resolvers of the host; what does not fit comes back as truncated', async () => {
    const resolver = createSocket('udp4')
    closers.push(() => resolver.close())
    resolver.on('message', (bytes, { port, address }) => {
      bytes[2]! |= 0x80
      const isLong = bytes.length > 12
      resolver.send(isLong ? Buffer.concat([bytes, Buffer.alloc(1600)]) : bytes, port, address)
    })
    resolver.bind(0, '127.0.0.1')
    await once(resolver, 'listening')
    await attached({ allowLoopback: false, dnsServers: [`127.0.0.1:${resolver.address().port}`] })
    const query = new Uint8Array(12)
    query.set([0xab, 0xcd, 1, 0, 0, 1])
    const target = { destination: DNS_ADDRESS, sourcePort: 5000, destinationPort: 53 }
    // What is an answer itself is not passed on.
    live.guest.sendUdp({ ...target, payload: new Uint8Array(12).fill(0xff) })
    live.guest.sendUdp({ ...target, payload: query })
    await until(() => live.guest.datagrams.length === 1, 'the answer')
    assert.deepEqual([...live.guest.datagrams[0]!.payload.subarray(0, 4)], [0xab, 0xcd, 0x81, 0])
    live.guest.sendUdp({ ...target, payload: new Uint8Array([...query, 1, 2, 3]) })
    await until(() => live.guest.datagrams.length === 2, 'the truncated answer')
    assert.equal(live.network.stats().refused, 1)
    const { payload } = live.guest.datagrams[1]!
    assert.deepEqual([payload.length, payload[2]! & 0x82], [12, 0x82])
  })

  it('of very many ports take no more than so many sockets', async () => {
    await attached()
    const server = createSocket('udp4')
    closers.push(() => server.close())
    let last = 0
    server.on('message', (bytes) => {
      last = bytes.readUInt16BE()
    })
    server.bind(0, '127.0.0.1')
    await once(server, 'listening')
    const destinationPort = server.address().port
    for (let sourcePort = 1000; sourcePort < 1000 + 2 * UDP_FLOWS_MAX; sourcePort++) {
      const payload = Uint8Array.of(sourcePort >> 8, sourcePort)
      live.guest.sendUdp({ destination: GATEWAY_ADDRESS, sourcePort, destinationPort, payload })
      if (sourcePort % 100 === 0) await setTimeout(1)
    }
    await until(() => last === 999 + 2 * UDP_FLOWS_MAX, 'the last datagram')
    assert.equal(live.network.stats().udpFlows, UDP_FLOWS_MAX)
  })

  it('to where they may not go are answered with ICMP', async () => {
    await attached({ allowLoopback: false })
    const target = { destination: GATEWAY_ADDRESS, sourcePort: 5000, destinationPort: 9 }
    live.guest.sendUdp({ ...target, payload: new Uint8Array(3) })
    await until(() => live.guest.messages.length > 0, 'the message')
    const { protocol, payload } = live.guest.messages[0]!
    assert.deepEqual([protocol, payload[0], payload[1]], [PROTOCOL_ICMP, 3, 13])
  })
})

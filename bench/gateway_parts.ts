/**
 * How fast the gateway's network is, with a guest in memory that keeps up. Client, gateway and guest share one thread, so
 * the figure is a lower bound.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import { LiveGuest } from '../src/gateway/testing/live_guest.ts'
import { RecordedHandler } from '../src/gateway/testing/recorded_handler.ts'
import type { BenchOptions } from './guest_parts.ts'
import { type Figure, figure } from './results.ts'

const SINK_PORT = 9
const SOURCE_PORT = 19
const BYTES = 512 * 2 ** 20
const PIECE = new Uint8Array(64 * 1024).fill(0x5a)

class Sink extends RecordedHandler {
  override onData(bytes: Uint8Array): void {
    this.received += bytes.length
    this.connection!.setUnread(0)
  }
}

async function open(): Promise<LiveGuest> {
  const forward = (guestPort: number) => ({ hostAddress: '127.0.0.1', hostPort: 0, guestPort })
  const forwards = [forward(SINK_PORT), forward(SOURCE_PORT)]
  const live = await LiveGuest.open({ forwards, allowLoopback: false, dnsServers: [] })
  live.guest.services.set(SINK_PORT, (connection) => {
    const sink = new Sink()
    sink.connection = connection
    sink.onEnd = () => connection.end()
    return sink
  })
  live.guest.services.set(SOURCE_PORT, (connection) => {
    const source = new RecordedHandler()
    let sent = 0
    const more = (): void => {
      while (sent < BYTES) {
        sent += PIECE.length
        if (!connection.write(PIECE) && sent < BYTES) return
      }
      connection.end()
    }
    source.onOpen = more
    source.onRoom = more
    return source
  })
  live.attach()
  return live
}

/** Bytes in both directions, one after the other. */
export async function measureGateway({ say, repeat }: BenchOptions): Promise<Figure[]> {
  const live = await open()
  const up: number[] = []
  const down: number[] = []
  try {
    for (let round = 0; round < repeat; round++) {
      say(`gateway: round ${round + 1} of ${repeat}`)
      up.push(await mbitPerSecond(() => toGuest(live)))
      down.push(await mbitPerSecond(() => fromGuest(live)))
    }
  } finally {
    await live.close()
  }
  const of = (name: string, samples: readonly number[]): Figure =>
    figure({ part: 'gateway', name, unit: 'Mbit/s', isRate: true }, samples)
  return [of('client to guest', up), of('guest to client', down)]
}

async function mbitPerSecond(transfer: () => Promise<void>): Promise<number> {
  const start = performance.now()
  await transfer()
  return (BYTES * 8) / 1000 / (performance.now() - start)
}

async function toGuest(live: LiveGuest): Promise<void> {
  const socket = connect(live.network.hostPorts[0]!, '127.0.0.1')
  for (let sent = 0; sent < BYTES; sent += PIECE.length) {
    if (!socket.write(PIECE)) await once(socket, 'drain')
  }
  socket.end()
  socket.resume()
  await once(socket, 'close')
}

async function fromGuest(live: LiveGuest): Promise<void> {
  const socket = connect(live.network.hostPorts[1]!, '127.0.0.1')
  let received = 0
  socket.on('data', (bytes: Buffer) => {
    received += bytes.length
  })
  await once(socket, 'close')
  if (received !== BYTES) throw new Error(`${received} of ${BYTES} bytes`)
}

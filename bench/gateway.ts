/**
 * How fast the gateway's network is, with a guest in memory that keeps up: `node bench/gateway.ts`. Client, gateway and
 * guest share one thread, so the figure is a lower bound.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import { LiveGuest } from '../src/gateway/testing/live_guest.ts'
import { RecordedHandler } from '../src/gateway/testing/recorded_handler.ts'

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

function report(what: string, start: number, cpu: NodeJS.CpuUsage): void {
  const seconds = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(cpu)
  const mbit = (BYTES * 8) / 1e6 / seconds
  console.log(
    `${what}: ${mbit.toFixed(0)} Mbit/s, ${((user + system) / 1e4 / seconds).toFixed(0)} % of a core`,
  )
}

async function toGuest(live: LiveGuest): Promise<void> {
  const cpu = process.cpuUsage()
  const start = performance.now()
  const socket = connect(live.network.hostPorts[0]!, '127.0.0.1')
  for (let sent = 0; sent < BYTES; sent += PIECE.length) {
    if (!socket.write(PIECE)) await once(socket, 'drain')
  }
  socket.end()
  socket.resume()
  await once(socket, 'close')
  report('client to guest', start, cpu)
}

async function fromGuest(live: LiveGuest): Promise<void> {
  const cpu = process.cpuUsage()
  const start = performance.now()
  const socket = connect(live.network.hostPorts[1]!, '127.0.0.1')
  let received = 0
  socket.on('data', (bytes: Buffer) => {
    received += bytes.length
  })
  await once(socket, 'close')
  if (received !== BYTES) throw new Error(`${received} of ${BYTES} bytes`)
  report('guest to client', start, cpu)
}

const live = await open()
for (let round = 0; round < 2; round++) {
  await toGuest(live)
  await fromGuest(live)
}
await live.close()

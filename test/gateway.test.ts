/** The gateway's network with Debian as its guest: the TCP of Linux is the judge of ours, in both roles. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { GuestNetwork } from '../src/gateway/guest_network.ts'
import { openImage } from '../src/image/store.ts'
import { PORT, Session } from '../src/node/session.ts'
import { GuestConsole } from './guest_console.ts'
import { systemImage, testEnvironment } from './system_image.ts'

const MIB = 2 ** 20
const MAC = Uint8Array.of(0x02, 0, 0, 0, 0, 0x15)
const REDIS_PORT = 6379
const ECHO_PORT = 4000
const ANSWER_MS_MAX = 120_000

const image = await systemImage()
const skip = 'missing' in image ? image.missing : false

/** A guest in this process whose network is the gateway's. */
class NetworkedGuest {
  readonly console: GuestConsole
  readonly notices: string[] = []
  network!: GuestNetwork
  session!: Session
  /** Sees each frame that goes to the guest; false loses it. */
  filter: () => boolean = () => true
  #running: Promise<unknown> | undefined

  private constructor() {
    this.console = new GuestConsole((bytes) => this.#input(PORT.uart, bytes))
  }

  static async boot(): Promise<NetworkedGuest> {
    assert.ok('files' in image)
    const guest = new NetworkedGuest()
    const forward = (guestPort: number) => ({ hostAddress: '127.0.0.1', hostPort: 0, guestPort })
    guest.network = await GuestNetwork.open({
      ...{ forwards: [forward(REDIS_PORT), forward(ECHO_PORT)], allowLoopback: true },
      transmit: (frame) => {
        if (guest.filter()) guest.#input(PORT.net, frame)
      },
      onNotice: (text) => guest.notices.push(text),
    })
    const { commandLine } = openImage(image.name, testEnvironment).manifest
    guest.session = await Session.open({
      ...{ image: image.files, ramBytes: 256 * MIB, mac: MAC, harts: 1 },
      bootArguments: `console=ttyS0 ${commandLine} quiet`,
      onOutput: ({ port, bytes }) => {
        if (port === PORT.uart) guest.console.output(bytes)
        if (port === PORT.net) guest.network.receive(bytes)
      },
      onNotice: (text) => guest.notices.push(text),
    })
    guest.network.attached()
    guest.#running = guest.session.run().catch((error: unknown) => guest.console.end(String(error)))
    return guest
  }

  async end(): Promise<void> {
    this.session.runner.stop()
    await this.#running
    await this.session.close()
    await this.network.close()
  }

  #input(port: number, bytes: Uint8Array): void {
    this.session.runner.deliver({ kind: 'input', port, bytes })
  }
}

/** Everything that the socket gives until its end. */
async function readAll(socket: Socket): Promise<Buffer> {
  const pieces: Buffer[] = []
  socket.on('data', (bytes: Buffer) => pieces.push(bytes))
  await once(socket, 'end', { signal: AbortSignal.timeout(ANSWER_MS_MAX) })
  socket.end()
  return Buffer.concat(pieces)
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

describe('Debian behind the gateway', { skip }, () => {
  let guest: NetworkedGuest
  let server: Server
  let serverPort: number
  /** Greets with a text, then gives back what comes. */
  const greet = (socket: Socket): void => {
    socket.on('error', () => {})
    socket.write('hello\n')
    socket.pipe(socket)
  }
  before(async () => {
    server = createServer({ allowHalfOpen: true }, greet).listen(0, '127.0.0.1')
    await once(server, 'listening')
    serverPort = (server.address() as AddressInfo).port
    guest = await NetworkedGuest.boot()
  })
  after(async () => {
    server.close()
    await guest.end()
  })

  const client = (index: number): Socket => {
    const socket = connect({ port: guest.network.hostPorts[index]!, host: '127.0.0.1', allowHalfOpen: true })
    return socket.setNoDelay(true)
  }

  it('answers a client', async () => {
    await guest.console.shell()
    await guest.console.succeed('until redis-cli ping; do sleep 0.2; done')
    const other = client(0)
    other.write('PING\r\nSET key value\r\nGET key\r\nQUIT\r\n')
    assert.equal((await readAll(other)).toString(), '+PONG\r\n+OK\r\n$5\r\nvalue\r\n+OK\r\n')
  })

  it('stores and gives back megabytes', async () => {
    const content = randomBytes(3 * MIB)
    const socket = client(0)
    socket.write(`*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$${content.length}\r\n`)
    socket.write(content)
    socket.write('\r\nGET big\r\nQUIT\r\n')
    const answer = await readAll(socket)
    const start = answer.indexOf('\r\n', 5) + 2
    assert.equal(answer.subarray(0, start).toString(), `+OK\r\n$${content.length}\r\n`)
    assert.equal(sha256(answer.subarray(start, start + content.length)), sha256(content))
  })

  it('connects to a server outside, and is refused where there is none', async () => {
    const program =
      'import socket,hashlib\n' +
      `s=socket.create_connection(("10.0.2.2",${serverPort}))\n` +
      'f=s.makefile("rb")\nprint(f.readline())\n' +
      'd=bytes(i*7%251 for i in range(200000))\n' +
      's.sendall(d[:100000])\na=f.read(100000)\ns.sendall(d[100000:])\ns.shutdown(1)\na+=f.read()\n' +
      'print(len(a),a==d)\n' +
      'try: socket.create_connection(("10.0.2.2",1))\nexcept Exception as e: print(type(e).__name__)\n'
    const encoded = Buffer.from(program).toString('base64')
    const output = await guest.console.succeed(`echo ${encoded} | base64 -d | python3`)
    assert.equal(output, "b'hello\\n'\n200000 True\nConnectionRefusedError\n")
  })

  it('pings the gateway, and no further', async () => {
    const output = await guest.console.succeed(
      'busybox ping -c 3 10.0.2.2; busybox ping -c 1 -W 2 1.2.3.4; :',
    )
    assert.match(output, /3 packets transmitted, 3 packets received/)
    assert.match(output, /1\.2\.3\.4[\s\S]*0 packets received/)
  })

  it('keeps its connections over failovers in which all frames on their way to it are lost', async () => {
    const idle = client(0)
    idle.write('PING\r\n')
    await once(idle, 'data')
    const content = randomBytes(2 * MIB)
    const socket = client(0)
    socket.write(`*3\r\n$3\r\nSET\r\n$5\r\nagain\r\n$${content.length}\r\n`)
    socket.write(content)
    socket.write('\r\nGET again\r\nQUIT\r\n')
    const answer = readAll(socket)
    for (let failover = 0; failover < 4; failover++) {
      const { bytesToGuest } = guest.network.stats()
      const end = performance.now() + ANSWER_MS_MAX
      // What follows is lost: the host has died, and nobody knows yet.
      while (guest.network.stats().bytesToGuest < bytesToGuest + 200_000 && performance.now() < end) {
        await setTimeout(1)
      }
      guest.filter = () => false
      await setTimeout(20)
      guest.network.detached()
      const before = guest.network.stats().bytesToGuest
      await setTimeout(300)
      assert.equal(guest.network.stats().bytesToGuest, before)
      guest.filter = () => true
      guest.network.attached()
    }
    const bytes = await answer
    const start = bytes.indexOf('\r\n', 5) + 2
    assert.equal(bytes.subarray(0, start).toString(), `+OK\r\n$${content.length}\r\n`)
    assert.equal(sha256(bytes.subarray(start, start + content.length)), sha256(content))
    idle.write('PING\r\nQUIT\r\n')
    assert.equal((await readAll(idle)).toString(), '+PONG\r\n+OK\r\n')
  })

  it('leaves nothing behind', async () => {
    const connections = await guest.console.succeed(
      'sleep 1; cat /proc/net/tcp | grep -c " 01 " ; grep -h "Tcp:" /proc/net/snmp',
    )
    assert.match(connections, /^0\n/)
    const end = performance.now() + ANSWER_MS_MAX
    while (guest.network.stats().connections > 0 && performance.now() < end) await setTimeout(100)
    assert.equal(guest.network.stats().connections, 0)
    assert.deepEqual(guest.notices, [])
  })
})

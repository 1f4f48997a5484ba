/** Both ends of gateway links for tests, over sockets of the loopback, with all that they have said. */
import assert from 'node:assert/strict'
import { connect, createServer, type Socket } from 'node:net'
import type { PortOrdinal } from '../../replication/message.ts'
import { LinkClient, type LinkIdentity } from '../link_client.ts'
import { NET_PORT } from '../link_ports.ts'
import { LinkServer, type LinkServerOptions } from '../link_server.ts'

/** Far above what anything here takes on a busy machine. */
export const PATIENT_MS = 20_000

/** What a test has opened: closed by `closeAll`. */
export const closers: (() => unknown)[] = []

export async function closeAll(): Promise<void> {
  for (const close of closers.splice(0)) await close()
}

export async function until(what: string, isSo: () => boolean): Promise<void> {
  for (const end = performance.now() + PATIENT_MS; !isSo(); ) {
    assert.ok(performance.now() < end, what)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

/** As deepEqual, which takes minutes to tell long arrays apart. */
export function assertBytes(actual: readonly number[], expected: readonly number[]): void {
  assert.equal(actual.length, expected.length)
  assert.ok(Buffer.from(actual).equals(Buffer.from(expected)), 'other bytes')
}

/** A gateway's server behind a port of the loopback, and all that it has said. */
export class Gateway {
  readonly server: LinkServer
  readonly said: string[] = []
  readonly frames: string[] = []
  readonly console: number[] = []
  readonly sockets: Socket[] = []
  #port = 0

  constructor(options: LinkServerOptions = {}) {
    this.server = new LinkServer(
      'vm',
      {
        onFrame: (port, bytes) => {
          if (port === NET_PORT) this.frames.push(Buffer.from(bytes).toString('latin1'))
          else this.console.push(...bytes)
        },
        onAttached: ({ peerName, epoch, life }) => this.said.push(`${peerName} attached, ${epoch} ${life}`),
        onDetached: (reason) => this.said.push(`detached: ${reason}`),
        onInputReady: () => this.said.push('ready'),
        onNotice: (line) => this.said.push(`notice: ${line}`),
      },
      options,
    )
  }

  async open(): Promise<this> {
    const listener = createServer((socket) => {
      this.sockets.push(socket)
      this.server.accept(socket, 'hostA')
    })
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
    closers.push(
      () => listener.close(),
      () => this.server.close(),
    )
    this.#port = (listener.address() as { port: number }).port
    return this
  }

  socket(): Promise<Socket> {
    return new Promise((resolve) => {
      const socket = connect(this.#port, '127.0.0.1', () => resolve(socket)).on('error', () => {})
      closers.push(() => socket.destroy())
    })
  }

  async primary(identity: Partial<LinkIdentity> = {}): Promise<Primary> {
    return new Primary(await this.socket(), identity)
  }

  /** One that has not said hello. */
  async waiting(): Promise<Primary> {
    return new Primary(await this.socket(), undefined)
  }
}

/** A client, and all that it was told. */
export class Primary {
  readonly client: LinkClient
  readonly socket: Socket
  readonly inputs: string[] = []
  readonly left = new Map<number, bigint>()
  /** What the welcome said. */
  up: readonly PortOrdinal[] | undefined
  down: string | undefined

  constructor(
    socket: Socket,
    identity: Partial<LinkIdentity> | undefined,
    onUp?: (left: readonly PortOrdinal[]) => void,
  ) {
    this.socket = socket
    this.client = new LinkClient(
      socket,
      {
        onUp: (left) => {
          this.up = left
          onUp?.(left)
        },
        onLeft: (port, ordinal) => this.left.set(port, ordinal),
        onInput: (port, bytes) => this.inputs.push(`${port} ${Buffer.from(bytes).toString('latin1')}`),
        onDown: (reason) => {
          this.down = reason
        },
      },
      PATIENT_MS,
    )
    if (identity !== undefined) this.hello(identity)
    closers.push(() => this.client.close())
  }

  hello(identity: Partial<LinkIdentity>): void {
    this.client.hello({ machine: 'vm', epoch: 1, life: 1, ...identity })
  }

  async isUp(): Promise<this> {
    await until('up', () => this.up !== undefined)
    return this
  }

  async isDown(): Promise<string> {
    await until('down', () => this.down !== undefined)
    return this.down!
  }
}

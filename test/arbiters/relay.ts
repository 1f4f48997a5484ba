/** A TCP relay that can lose what comes back, or hold what goes there. */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'

export class Relay {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #mode: 'pass' | 'lose answers' | 'hold requests' = 'pass'
  #held: (() => void)[] = []
  #onHeld: (() => void) | undefined

  private constructor(server: Server) {
    this.#server = server
  }

  static async start(port: number): Promise<Relay> {
    const server = createServer()
    const relay = new Relay(server)
    server.on('connection', (client) => relay.#join(client, connect(port, '127.0.0.1')))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return relay
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as { port: number }).port}`
  }

  /** From now on requests arrive, and connections are cut when the answer comes. */
  loseAnswers(): void {
    this.#mode = 'lose answers'
  }

  /** From now on requests wait here. Resolves with the first; clients that go away do not take theirs with them. */
  holdRequests(): Promise<void> {
    this.#mode = 'hold requests'
    return new Promise((resolve) => {
      this.#onHeld = resolve
    })
  }

  /** Passes on everything, also what was held. */
  pass(): void {
    this.#mode = 'pass'
    for (const send of this.#held.splice(0)) send()
  }

  close(): void {
    this.#server.close()
    for (const socket of this.#sockets) socket.destroy()
  }

  #join(client: Socket, server: Socket): void {
    for (const socket of [client, server]) {
      this.#sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => this.#sockets.delete(socket))
    }
    client.on('data', (bytes) => {
      if (this.#mode !== 'hold requests') return void server.write(bytes)
      this.#held.push(() => server.write(bytes))
      this.#onHeld?.()
    })
    server.on('data', (bytes) => {
      if (this.#mode === 'lose answers') client.destroy()
      else client.write(bytes)
    })
    server.on('close', () => client.destroy())
    client.on('close', () => {
      if (this.#held.length === 0) server.end()
    })
  }
}

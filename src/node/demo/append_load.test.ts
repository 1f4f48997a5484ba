import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { afterEach, describe, it } from 'node:test'
import { AppendLoad, compare } from './append_load.ts'
import { ReplyDecoder } from './resp.ts'

/** A server that keeps one list, and forgets, repeats, fails or falls silent as it is told. */
class ListServer {
  list: string[] = []
  /** What becomes of an append: undefined for no answer. */
  onAppend: (value: string) => string | undefined = (value) => {
    this.list.push(value)
    return `:${this.list.length}\r\n`
  }
  onPing: () => string = () => '+PONG\r\n'
  readonly #server: Server = createServer((socket) => this.#serve(socket))
  readonly #sockets = new Set<Socket>()

  async start(): Promise<number> {
    await once(this.#server.listen(0, '127.0.0.1'), 'listening')
    return (this.#server.address() as AddressInfo).port
  }

  drop(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  stop(): void {
    this.drop()
    this.#server.close()
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => {}).on('close', () => this.#sockets.delete(socket))
    // A command is an array of strings, as a reply may be.
    const decoder = new ReplyDecoder()
    socket.on('data', (bytes: Buffer) => {
      decoder.push(bytes)
      for (let command = decoder.next(); Array.isArray(command); command = decoder.next()) {
        const answer = this.#answer(command.map(String))
        if (answer !== undefined) socket.write(answer)
      }
    })
  }

  #answer([name, , first, last]: string[]): string | undefined {
    if (name === 'PING') return this.onPing()
    if (name === 'RPUSH') return this.onAppend(first!)
    if (name === 'LRANGE') {
      const page = this.list.slice(Number(first), Number(last) + 1)
      return `*${page.length}\r\n${page.map((text) => `$${text.length}\r\n${text}\r\n`).join('')}`
    }
    this.list = []
    return ':1\r\n'
  }
}

const DEADLINE_MS = 30_000

async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + DEADLINE_MS
  while (!condition()) {
    assert.ok(performance.now() < end, 'it never happens')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

describe('the client of the demo', () => {
  let server: ListServer
  afterEach(() => server.stop())

  const start = async (): Promise<AppendLoad> => {
    server = new ListServer()
    const port = await server.start()
    const load = new AppendLoad({ host: '127.0.0.1', port, key: 'list', intervalMs: 1 })
    load.start()
    return load
  }

  it('finds everything that was acknowledged, and removes what an earlier run has left', async () => {
    const load = await start()
    server.list = ['left over']
    await until(() => load.counts().acknowledged >= 20)
    await load.stop()
    const { acknowledged, found, lost, wrong } = await load.verify()
    assert.ok(acknowledged >= 20)
    assert.deepEqual({ found, lost, wrong }, { found: acknowledged, lost: 0, wrong: 0 })
  })

  it('waits while the service starts, without counting errors', async () => {
    const load = await start()
    let pings = 0
    server.onPing = () => (++pings < 3 ? '-LOADING the data set\r\n' : '+PONG\r\n')
    await until(() => load.counts().acknowledged > 0)
    assert.ok(pings >= 3)
    assert.equal(load.counts().errors, 0)
    await load.stop()
  })

  it('sees that an acknowledged write is missing', async () => {
    const load = await start()
    await until(() => load.counts().acknowledged >= 5)
    await load.stop()
    server.list.splice(2, 1)
    const { lost, faults } = await load.verify()
    assert.equal(lost, 1)
    assert.deepEqual(faults, ['2 was acknowledged and is not there'])
  })

  it('goes on over a broken connection, and holds a write without answer against nobody', async () => {
    const load = await start()
    await until(() => load.counts().acknowledged >= 3)
    const good = server.onAppend
    server.onAppend = (value) => {
      server.list.push(value)
      server.drop()
      server.onAppend = good
      return undefined
    }
    await until(() => load.counts().errors === 1)
    const { acknowledged } = load.counts()
    await until(() => load.counts().acknowledged > acknowledged)
    await load.stop()
    const result = await load.verify()
    assert.equal(result.found, result.acknowledged + 1)
    assert.deepEqual([result.lost, result.wrong], [0, 0])
  })

  it('measures the longest wait, and anew since a mark', async () => {
    const load = await start()
    await until(() => load.counts().acknowledged >= 2)
    let answer: (() => void) | undefined
    const good = server.onAppend
    server.onAppend = (value) => {
      answer = () => good(value)
      return undefined
    }
    await until(() => answer !== undefined && load.counts().waitingMs > 50)
    server.onAppend = good
    server.drop()
    await until(() => load.counts().errors === 1)
    await until(() => load.counts().waitingMs === 0)
    assert.ok(load.counts().longestPauseMs > 50)
    const { longestPauseMs } = load.counts()
    load.mark()
    assert.ok(load.counts().longestPauseMs >= longestPauseMs)
    assert.ok(load.counts().pauseSinceMarkMs <= load.counts().longestPauseMs)
    await load.stop()
  })

  it('is not fooled by an answer that is none', async () => {
    const load = await start()
    await until(() => load.counts().acknowledged >= 2)
    server.onAppend = () => 'HTTP/1.1 400 Bad Request\r\n\r\n'
    await until(() => load.counts().errors >= 2)
    assert.match(load.counts().lastError!, /not an answer of Redis/)
    await load.stop()
  })
})

describe('the comparison of a list with what was sent', () => {
  const judge = (elements: readonly string[], next: number, unanswered: readonly number[] = []) => {
    const { lost, wrong } = compare(elements, next, new Set(unanswered))
    return { lost, wrong }
  }

  it('accepts what was sent, with or without the unanswered', () => {
    assert.deepEqual(judge(['0', '1', '2'], 3), { lost: 0, wrong: 0 })
    assert.deepEqual(judge(['0', '2'], 3, [1]), { lost: 0, wrong: 0 })
    assert.deepEqual(judge(['0', '2', '1'], 3, [1]), { lost: 0, wrong: 0 })
  })

  it('finds repeats, strangers and another order', () => {
    assert.deepEqual(judge(['0', '1', '1', '2'], 3), { lost: 0, wrong: 1 })
    assert.deepEqual(judge(['0', '1', '1', '2'], 3, [1]), { lost: 0, wrong: 1 })
    assert.deepEqual(judge(['0', '1', '7', 'x'], 2), { lost: 0, wrong: 2 })
    assert.deepEqual(judge(['1', '0'], 2), { lost: 0, wrong: 1 })
  })
})

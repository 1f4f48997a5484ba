/**
 * The clients: each asks the service for one thing at a time and waits for the answer. What is not answered in time, or
 * whose connection fails, stays open for ever: the client goes on under another name.
 */
import type { Random } from '../src/base/prng.ts'
import type { Gateway } from './gateway.ts'
import type { ClientOperation } from './history.ts'
import { PORT } from './machine_ports.ts'
import { type Answer, CLIENTS_MAX, decodeAnswer, encodeRequest, KEYS, type Request } from './toy_service.ts'
import type { World } from './world.ts'

const PATIENCE_MS = 6000

interface Waiting {
  readonly request: Request
  readonly operation: ClientOperation
}

interface Client {
  readonly number: number
  /** Its name in the history: a new one after each operation that stays open. */
  name: number
  waiting: Waiting | undefined
  /** What it has read or written of each key last: what a compare-and-set expects. */
  readonly known: number[]
}

export class Clients {
  readonly #world: World
  readonly #gateway: Gateway
  readonly #random: Random
  readonly #thinkMs: number
  readonly #clients: Client[] = []
  readonly #operations: ClientOperation[] = []
  #names = 0
  #requests = 0
  #values = 1000
  #answered = 0
  #isResting = false

  constructor(world: World, gateway: Gateway, random: Random, count: number, thinkMs: number) {
    this.#world = world
    this.#gateway = gateway
    this.#random = random
    this.#thinkMs = thinkMs
    gateway.onOutput = (port, bytes) => this.#onOutput(port, bytes)
    gateway.onRestart = () => this.#onRestart()
    for (let number = 0; number < Math.min(count, CLIENTS_MAX); number++) {
      const client = { number, name: this.#names++, waiting: undefined, known: new Array(KEYS).fill(0) }
      this.#clients.push(client)
      this.#think(client)
    }
  }

  get operations(): readonly ClientOperation[] {
    return this.#operations
  }

  /** How many operations have been answered. */
  get answered(): number {
    return this.#answered
  }

  /** Lets every client read all keys, and do nothing more: whether that is done. */
  rest(): void {
    this.#isResting = true
  }

  get isAtRest(): boolean {
    return this.#isResting && this.#clients.every(({ waiting }) => waiting === undefined)
  }

  /** Reads a key for the last time. */
  readFinally(key: number): void {
    const client = this.#clients[key % this.#clients.length]!
    if (client.waiting === undefined) this.#call(client, { kind: 'get', key, value: 0, expected: 0 })
  }

  #think(client: Client): void {
    this.#world.after(this.#random.fraction() * this.#thinkMs, () => {
      if (!this.#isResting && client.waiting === undefined) this.#call(client, this.#choose(client))
    })
  }

  #choose(client: Client): Pick<Request, 'kind' | 'key' | 'value' | 'expected'> {
    const random = this.#random
    const key = random.below(KEYS)
    const expected = client.known[key]!
    // The first key is a counter.
    if (key === 0) return { kind: random.pick(['get', 'increment']), key, value: 0, expected: 0 }
    const kind = random.pick(['get', 'get', 'put', 'put', 'cas', 'delete'] as const)
    const isWriting = kind === 'put' || kind === 'cas'
    return { kind, key, value: isWriting ? ++this.#values : 0, expected: kind === 'cas' ? expected : 0 }
  }

  #call(client: Client, what: Pick<Request, 'kind' | 'key' | 'value' | 'expected'>): void {
    const request = { client: client.number, operation: ++this.#requests, ...what }
    const operation: ClientOperation = {
      client: client.name,
      connection: client.number,
      callMs: this.#world.nowMs,
      returnMs: undefined,
      request,
      answer: undefined,
    }
    const waiting = { request, operation }
    client.waiting = waiting
    this.#operations.push(operation)
    this.#world.say(`client ${client.number}`, () => `calls ${describeRequest(request)}`)
    this.#gateway.input(PORT.net, encodeRequest(request))
    this.#world.after(PATIENCE_MS, () => {
      if (client.waiting === waiting) this.#giveUp(client)
    })
  }

  #onOutput(port: number, bytes: Uint8Array): void {
    const answer = port === PORT.net ? decodeAnswer(bytes) : undefined
    if (answer === undefined) return
    const client = this.#clients[answer.client]
    if (client?.waiting?.request.operation === answer.operation)
      this.#onAnswer(client, client.waiting, answer)
  }

  #onAnswer(client: Client, { request, operation }: Waiting, answer: Answer): void {
    this.#world.say(
      `client ${client.number}`,
      () => `gets ${answer.status} ${answer.value} for ${answer.operation}`,
    )
    // Whether a write that failed has been done is not known.
    if (answer.status === 'disk error' && request.kind !== 'get') return this.#giveUp(client)
    client.waiting = undefined
    operation.returnMs = this.#world.nowMs
    if (answer.status !== 'disk error') {
      operation.answer = answer
      this.#answered++
      client.known[request.key] = request.kind === 'get' ? answer.value : request.value
    }
    this.#think(client)
  }

  #giveUp(client: Client): void {
    client.waiting = undefined
    client.name = this.#names++
    this.#think(client)
  }

  #onRestart(): void {
    for (const client of this.#clients) if (client.waiting !== undefined) this.#giveUp(client)
  }
}

function describeRequest({ operation, kind, key, value, expected }: Request): string {
  return `${operation}: ${kind} ${key} ${kind === 'cas' ? `${expected} -> ` : ''}${value}`
}

/**
 * Clients that append to shared lists and read them back, at a bounded rate, and keep the history. Each connection asks
 * one thing at a time. A list that is full is left for a new one, so that no answer and no search grows without bound.
 */
import assert from 'node:assert/strict'
import { HistoryRecorder } from '../../sim/checkers/history.ts'
import type { ListInput, ListOperation, ListOutput } from './list_model.ts'
import { ConnectionError, RedisClient } from './redis_client.ts'
import type { Reply } from './resp.ts'

export interface WorkloadOptions {
  readonly host?: string
  readonly port: number
  /** Makes the keys of this workload its own. */
  readonly name: string
  readonly connections?: number
  /** Between an answer and the next command of the same connection. */
  readonly pauseMs?: number
}

export interface WorkloadResult {
  readonly history: readonly ListOperation[]
  readonly connectionErrors: readonly string[]
  /** Answers that are errors of the server's, or of no type that the command can have. */
  readonly wrongAnswers: readonly string[]
  readonly longestPauseMs: number
}

const CONNECTIONS_DEFAULT = 8
/**
 * So many connect at a time, and are answered before others connect. Redis listens with a backlog of 511: of more that come at
 * once Linux forgets those that a slow guest has not accepted within seconds, and resets them when they speak.
 */
const CONNECTING_MAX = 100
const PAUSE_MS_DEFAULT = 60
/** Lists that are in use at a time. */
const SHARED_KEYS = 3
const PUSHES_PER_KEY = 60
/** Of so many operations one reads the whole list, some its end, and the others push. */
const CYCLE = 8
const END_COUNT = 4

export class Workload {
  readonly #options: WorkloadOptions
  readonly #clients: readonly RedisClient[]
  readonly #recorder = new HistoryRecorder<ListInput, ListOutput>()
  readonly #keys: { name: string; pushes: number }[] = []
  readonly #wrongAnswers: string[] = []
  readonly #connectionErrors: string[] = []
  readonly #running: Promise<unknown>
  #keyCount = 0
  #operations = 0
  #isStopping = false
  #longestPauseMs = 0

  private constructor(options: WorkloadOptions, clients: readonly RedisClient[]) {
    this.#options = options
    this.#clients = clients
    for (let i = 0; i < SHARED_KEYS; i++) this.#keys.push(this.#newKey())
    this.#running = Promise.all(clients.map((client, number) => this.#work(client, number)))
  }

  /** Rejects with a ConnectionError if it cannot connect. */
  static async start(options: WorkloadOptions): Promise<Workload> {
    const { host, port, connections: count = CONNECTIONS_DEFAULT } = options
    const clients: RedisClient[] = []
    while (clients.length < count) {
      await Promise.all(clients.slice(-CONNECTING_MAX).map((client) => client.command('PING')))
      const length = Math.min(CONNECTING_MAX, count - clients.length)
      clients.push(...(await Promise.all(Array.from({ length }, () => RedisClient.connect(port, host)))))
    }
    return new Workload(options, clients)
  }

  /** Operations that were answered so far. */
  get operations(): number {
    return this.#operations
  }

  get connectionErrors(): readonly string[] {
    return this.#connectionErrors
  }

  /** The longest time so far that an operation took, or takes; begins again at zero when asked for. */
  takeLongestPauseMs(): number {
    const now = performance.now()
    const waiting = this.#clients.map(({ oldestCallMs }) => now - (oldestCallMs ?? now))
    const longest = Math.max(this.#longestPauseMs, ...waiting)
    this.#longestPauseMs = 0
    return longest
  }

  /**
   * Lets every connection finish what it has asked, reads every list to the end, and closes. What has no answer by
   * then, because it does not come within `patienceMs`, is open in the history.
   */
  async finish(patienceMs: number): Promise<WorkloadResult> {
    this.#isStopping = true
    let isGivenUp = false
    const timer = setTimeout(() => {
      isGivenUp = true
      this.#close()
    }, patienceMs)
    try {
      await this.#running
      const reader = this.#clients.find(({ connectionError }) => connectionError === undefined)
      if (reader !== undefined && !isGivenUp) await this.#readAll(reader)
    } finally {
      clearTimeout(timer)
      this.#close()
    }
    return {
      ...{ history: this.#recorder.history(), connectionErrors: this.#connectionErrors },
      ...{ wrongAnswers: this.#wrongAnswers, longestPauseMs: this.#longestPauseMs },
    }
  }

  /** Ends all connections at once. */
  #close(): void {
    for (const client of this.#clients) client.close()
  }

  async #work(client: RedisClient, number: number): Promise<void> {
    const { pauseMs = PAUSE_MS_DEFAULT } = this.#options
    for (let turn = number; !this.#isStopping; turn++) {
      const slot = turn % SHARED_KEYS
      if (!(await this.#ask(client, number, this.#keys[slot]!.name, this.#next(slot, turn, number)))) return
      await new Promise((resolve) => setTimeout(resolve, pauseMs))
    }
  }

  #next(slot: number, turn: number, number: number): ListInput {
    const phase = turn % CYCLE
    if (phase === 0) return { kind: 'read', count: 'all' }
    if (phase % 3 === 0) return { kind: 'read', count: END_COUNT }
    const key = this.#keys[slot]!
    key.pushes++
    if (key.pushes >= PUSHES_PER_KEY) this.#keys[slot] = this.#newKey()
    return { kind: 'push', value: `${number}.${turn}` }
  }

  #newKey(): { name: string; pushes: number } {
    return { name: `${this.#options.name}:${this.#keyCount++}`, pushes: 0 }
  }

  /** Whether the connection is still good. */
  async #ask(client: RedisClient, number: number, key: string, input: ListInput): Promise<boolean> {
    const call = this.#recorder.call(number, key, input)
    try {
      const { reply, callMs, returnMs } = await client.command(...wordsOf(key, input))
      this.#longestPauseMs = Math.max(this.#longestPauseMs, returnMs - callMs)
      const output = outputOf(input, reply)
      if (output === undefined) this.#wrongAnswers.push(`${wordsOf(key, input).join(' ')}: ${reply}`)
      else this.#recorder.answer(call, output)
      this.#operations++
      return true
    } catch (error) {
      if (!(error instanceof ConnectionError)) this.#wrongAnswers.push(String(error))
      else if (client.connectionError !== undefined) this.#connectionErrors.push(error.message)
      return !(error instanceof ConnectionError)
    }
  }

  async #readAll(client: RedisClient): Promise<void> {
    for (let number = 0; number < this.#keyCount; number++) {
      const key = `${this.#options.name}:${number}`
      if (!(await this.#ask(client, this.#clients.length, key, { kind: 'read', count: 'all' }))) return
    }
  }
}

function wordsOf(key: string, input: ListInput): string[] {
  if (input.kind === 'push') return ['RPUSH', key, input.value]
  return ['LRANGE', key, input.count === 'all' ? '0' : `-${input.count}`, '-1']
}

/** The answer, if it is of the type that it must have. */
function outputOf({ kind }: ListInput, reply: Reply): ListOutput | undefined {
  if (kind === 'push') return typeof reply === 'number' ? reply : undefined
  return Array.isArray(reply) && reply.every((value) => typeof value === 'string') ? reply : undefined
}

/** Throws unless the connections lived, and every answer was one. */
export function requireGoodAnswers({ connectionErrors, wrongAnswers }: WorkloadResult): void {
  assert.deepEqual({ connectionErrors, wrongAnswers }, { connectionErrors: [], wrongAnswers: [] })
}

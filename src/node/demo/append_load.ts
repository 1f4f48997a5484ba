/**
 * The demo's client: appends numbers to a list in Redis, one after another, and holds the server to what it has
 * acknowledged.
 *
 *     waiting for the service --PONG--> appending --stop--> stopped
 *
 * A number whose append got no answer is never sent again: whether it is in the list is open, and both is right. Every
 * other number must be there, once, and in order.
 */
import { UserError } from '../../base/errors.ts'
import { type RedisAddress, RedisConnection } from './redis_connection.ts'

/** While the guest boots, nobody answers, or somebody refuses. */
const PROBE_MS = 1000
const PROBE_PAUSE_MS = 200
/** Longer than any failover; what takes longer is an error. */
const ANSWER_MS = 60_000
const CONNECT_MS = 10_000
const STOP_MS = 15_000
const RETRY_MS = 200
/** Elements of the list that are read at once. */
const PAGE = 1000
/** Faults of the list that are named. */
const NAMED_MAX = 5
/** A client that sees nothing but errors does not gather them for ever. */
const UNANSWERED_MAX = 100_000

export interface LoadOptions extends RedisAddress {
  readonly key: string
  readonly intervalMs: number
}

export interface LoadCounts {
  readonly isServing: boolean
  readonly acknowledged: number
  readonly errors: number
  readonly lastError: string | undefined
  /** For how long the append that is under way has waited; 0 if none is. */
  readonly waitingMs: number
  /** The longest that an append has waited for its answer. */
  readonly longestPauseMs: number
  /** The same since `mark` was called. */
  readonly pauseSinceMarkMs: number
}

/** What reading the list back has shown. */
export interface Verification {
  readonly acknowledged: number
  readonly found: number
  /** Acknowledged numbers that are not in the list. */
  readonly lost: number
  /** Elements that are there twice, out of order, or that nobody has sent. */
  readonly wrong: number
  /** The first of them, in words. */
  readonly faults: readonly string[]
}

export class AppendLoad {
  readonly #options: LoadOptions
  readonly #unanswered = new Set<number>()
  #connection: RedisConnection | undefined
  #next = 0
  #isServing = false
  #isStopping = false
  #running: Promise<void> | undefined
  #errors = 0
  #lastError: string | undefined
  #sentMs: number | undefined
  #longestPauseMs = 0
  #pauseSinceMarkMs = 0

  constructor(options: LoadOptions) {
    this.#options = options
  }

  start(): void {
    this.#running ??= this.#run()
  }

  /** Ends when the append under way has its answer, or gets none for too long. */
  async stop(): Promise<void> {
    this.#isStopping = true
    // Where nobody serves there is nothing to wait for.
    const patience = setTimeout(() => this.#connection?.close(), this.#isServing ? STOP_MS : 0)
    await this.#running
    clearTimeout(patience)
  }

  counts(): LoadCounts {
    const waitingMs = this.#sentMs === undefined ? 0 : performance.now() - this.#sentMs
    return {
      ...{ isServing: this.#isServing, acknowledged: this.#next - this.#unanswered.size },
      ...{ errors: this.#errors, lastError: this.#lastError, waitingMs },
      longestPauseMs: Math.max(this.#longestPauseMs, waitingMs),
      pauseSinceMarkMs: Math.max(this.#pauseSinceMarkMs, waitingMs),
    }
  }

  /** From now on `pauseSinceMarkMs` counts anew. */
  mark(): void {
    this.#pauseSinceMarkMs = 0
  }

  /** Reads the whole list back; to be called when it is stopped. Throws a UserError if it cannot be read. */
  async verify(): Promise<Verification> {
    this.#connection?.close()
    this.#connection = undefined
    const elements: string[] = []
    if (this.#isServing) {
      const connection = await RedisConnection.open(this.#options, CONNECT_MS)
      try {
        for (let page = await this.#page(connection, 0); page.length > 0; ) {
          elements.push(...page)
          page = await this.#page(connection, elements.length)
          if (elements.length > this.#next * 2 + PAGE) break
        }
      } finally {
        connection.close()
      }
    }
    return compare(elements, this.#next, this.#unanswered)
  }

  async #page(connection: RedisConnection, start: number): Promise<string[]> {
    const { key } = this.#options
    const reply = await connection.ask(['LRANGE', key, `${start}`, `${start + PAGE - 1}`], ANSWER_MS)
    if (!Array.isArray(reply)) throw new UserError(`the list ${key} cannot be read back`)
    return reply.map(String)
  }

  async #run(): Promise<void> {
    await this.#waitForService()
    while (!this.#isStopping && this.#unanswered.size < UNANSWERED_MAX) {
      const didAnswer = await this.#append()
      await sleep(didAnswer ? this.#options.intervalMs : RETRY_MS)
    }
    this.#connection?.close()
  }

  /** The list of an earlier run is removed: what is read back is of this one. */
  async #waitForService(): Promise<void> {
    while (!this.#isStopping && !this.#isServing) {
      try {
        this.#connection = await RedisConnection.open(this.#options, PROBE_MS)
        await this.#connection.ask(['PING'], PROBE_MS)
        await this.#connection.ask(['DEL', this.#options.key], ANSWER_MS)
        this.#isServing = true
      } catch (error) {
        this.#giveUp(error)
        await sleep(PROBE_PAUSE_MS)
      }
    }
  }

  /** Whether the server has answered. */
  async #append(): Promise<boolean> {
    const number = this.#next
    this.#sentMs = performance.now()
    try {
      this.#connection ??= await RedisConnection.open(this.#options, CONNECT_MS)
      this.#next++
      this.#unanswered.add(number)
      await this.#connection.ask(['RPUSH', this.#options.key, `${number}`], ANSWER_MS)
      this.#unanswered.delete(number)
      return true
    } catch (error) {
      this.#giveUp(error)
      this.#errors++
      this.#lastError = (error as UserError).message
      return false
    } finally {
      const pauseMs = performance.now() - this.#sentMs
      this.#longestPauseMs = Math.max(this.#longestPauseMs, pauseMs)
      this.#pauseSinceMarkMs = Math.max(this.#pauseSinceMarkMs, pauseMs)
      this.#sentMs = undefined
    }
  }

  #giveUp(error: unknown): void {
    if (!(error instanceof UserError)) throw error
    this.#connection?.close()
    this.#connection = undefined
  }
}

/** Holds a list against the numbers below `next` that were sent; those `unanswered` may be there or not. */
export function compare(
  elements: readonly string[],
  next: number,
  unanswered: ReadonlySet<number>,
): Verification {
  const seen = new Set<number>()
  const faults: string[] = []
  let wrong = 0
  const onWrong = (fault: string): void => {
    wrong++
    if (faults.length < NAMED_MAX) faults.push(fault)
  }
  let newest = -1
  for (const element of elements) {
    const number = /^\d{1,15}$/.test(element) ? Number(element) : Number.NaN
    if (!(number < next)) onWrong(`${JSON.stringify(element.slice(0, 40))} was never sent`)
    else if (seen.has(number)) onWrong(`${number} is there twice`)
    // One without an answer may have arrived late, behind those that were sent after it.
    else if (number < newest && !unanswered.has(number)) onWrong(`${number} is out of order`)
    seen.add(number)
    if (!unanswered.has(number)) newest = Math.max(newest, number)
  }
  let lost = 0
  for (let number = 0; number < next; number++) {
    if (seen.has(number) || unanswered.has(number)) continue
    lost++
    if (faults.length < NAMED_MAX) faults.push(`${number} was acknowledged and is not there`)
  }
  return { acknowledged: next - unanswered.size, found: elements.length, lost, wrong, faults }
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/**
 * Asks the guest what time it is, several times at once. No two runs of a guest would answer alike: an answer that one copy gives
 * and the other does not know about shows as two different bytes at one place of the connection.
 */
import { ConnectionError, type RedisClient } from '../protected/redis_client.ts'

/** Questions under way. */
const DEPTH = 4
const PAUSE_MS = 5
const MICROSECONDS = 1_000_000

export class ClockReader {
  readonly #client: RedisClient
  readonly #running: Promise<unknown>
  readonly faults: string[] = []
  #answers = 0
  #last = 0
  #isStopping = false

  constructor(client: RedisClient) {
    this.#client = client
    this.#running = Promise.all(Array.from({ length: DEPTH }, () => this.#ask()))
  }

  get answers(): number {
    return this.#answers
  }

  /** Lets it finish what it has asked, or gives up after this long. */
  async finish(patienceMs: number): Promise<void> {
    this.#isStopping = true
    const timer = setTimeout(() => this.#client.close(), patienceMs)
    await this.#running
    clearTimeout(timer)
    this.#client.close()
  }

  async #ask(): Promise<void> {
    try {
      while (!this.#isStopping) {
        this.#onAnswer((await this.#client.command('TIME')).reply)
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
      }
    } catch (error) {
      if (!(error instanceof ConnectionError)) throw error
      this.faults.push(`the connection of the clock: ${error.message}`)
    }
  }

  #onAnswer(reply: unknown): void {
    const [seconds, microseconds] = Array.isArray(reply) ? reply.map(Number) : []
    const time = (seconds ?? Number.NaN) * MICROSECONDS + (microseconds ?? Number.NaN)
    this.#answers++
    if (!(time >= this.#last)) this.faults.push(`the guest's clock went from ${this.#last} to ${time}`)
    this.#last = time
  }
}

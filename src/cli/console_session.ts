/** What `understudy console` does. */
import type { JsonObject, JsonValue } from '../base/canonical_json.ts'
import { PairControl } from '../node/host/pair_control.ts'
import { tell } from './failure.ts'
import { openPair } from './machines.ts'
import { openTerminal } from './terminal.ts'

const RETRY_MS = 100
/** Keys that wait while there is no primary; more are lost, as a serial line loses them. */
const TYPED_BYTES_MAX = 64 * 1024
/** The serial port, as outputs are numbered. */
const UART = 0

export async function useConsole(name: string | undefined): Promise<void> {
  const session = new ConsoleSession(await PairControl.open(openPair(name)))
  await session.run()
}

type Client = Awaited<ReturnType<PairControl['connectToPrimary']>>

class ConsoleSession {
  readonly #control: PairControl
  readonly #terminal = openTerminal()
  #client: Client | undefined
  #life = 0
  /** Ordinal of the last byte shown. */
  #shown = 0n
  #isLeaving = false
  #onDown: () => void = () => {}
  /** Keys that nobody could take so far. */
  #typed: Uint8Array[] = []
  #typedBytes = 0

  constructor(control: PairControl) {
    this.#control = control
  }

  async run(): Promise<void> {
    if (this.#terminal.isInteractive) tell('Ctrl-] leaves')
    this.#terminal.start(
      (bytes) => this.#type(bytes),
      () => this.#leave(),
    )
    try {
      while (!this.#isLeaving) await this.#attach()
    } finally {
      this.#terminal.stop()
      this.#client?.close()
    }
  }

  /** Connects to the primary, and returns when that connection has ended. */
  async #attach(): Promise<void> {
    const down = new Promise<void>((resolve) => {
      this.#onDown = resolve
    })
    try {
      this.#client = await this.#control.connectToPrimary({
        onEvent: (event, data) => this.#onEvent(event, data),
        onClose: () => this.#onDown(),
      })
      await this.#client.request('console')
      this.#typedBytes = 0
      for (const bytes of this.#typed.splice(0)) this.#client.bytes(UART, bytes)
      await down
    } catch {
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
    }
    this.#client = undefined
  }

  async #type(bytes: Uint8Array): Promise<void> {
    if (this.#client !== undefined) return void this.#client.bytes(UART, bytes)
    if (this.#typedBytes + bytes.length > TYPED_BYTES_MAX) return
    this.#typed.push(bytes.slice())
    this.#typedBytes += bytes.length
  }

  #leave(): void {
    this.#isLeaving = true
    this.#onDown()
  }

  /** Shows what has not been shown: a new primary repeats what may not have left before. */
  #onEvent(event: string, data: JsonValue): void {
    if (event !== 'console') return
    const { life, port, ordinal, bytes } = data as JsonObject
    if (port !== UART || typeof life !== 'number') return
    if (life > this.#life) this.#shown = 0n
    this.#life = Math.max(this.#life, life)
    const content = Buffer.from(String(bytes), 'base64')
    const end = BigInt(String(ordinal))
    const fresh = end - this.#shown
    if (fresh <= 0n) return
    this.#shown = end
    this.#terminal.write(
      fresh < BigInt(content.length) ? content.subarray(content.length - Number(fresh)) : content,
    )
  }
}

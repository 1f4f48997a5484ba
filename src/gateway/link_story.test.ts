import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { Random } from '../base/prng.ts'
import { OutputGate } from '../replication/output_gate.ts'
import { assertBytes, closeAll, Gateway, Primary, until } from './testing/link_ends.ts'

const CONSOLE = 1
const NET = 2

afterEach(closeAll)

/**
 * A machine that puts out a stream whose content follows from its place, and its primaries: links are cut at random, and
 * now and then another copy, which knows less of what has left, goes live by a higher epoch.
 */
class Story {
  readonly #random: Random
  readonly #gateway: Gateway
  readonly #outputs: { readonly port: number; readonly ordinal: bigint; readonly bytes: Uint8Array }[] = []
  readonly #ends = new Map<number, number>()
  #gate = new OutputGate()
  #epoch = 1
  #primary: Primary | undefined

  constructor(seed: number, gateway: Gateway) {
    this.#random = new Random(seed)
    this.#gateway = gateway
  }

  async run(steps: number): Promise<void> {
    for (let step = 0; step < steps; step++) {
      const chance = this.#random.below(20)
      if (chance === 0) this.#primary?.socket.destroy()
      else if (chance === 1) this.#gateway.sockets.at(-1)?.destroy()
      else if (chance === 2) this.#failOver()
      else this.#produce(this.#random.between(1, 8))
      if (this.#primary?.down !== undefined || this.#primary === undefined) await this.#attach()
      if (this.#random.chance(0.5)) await new Promise((resolve) => setImmediate(resolve))
    }
    await until('all left', () => {
      this.#learn()
      return this.#gate.isEmpty
    })
  }

  get frames(): number {
    return this.#ends.get(NET) ?? 0
  }

  get consoleBytes(): number {
    return this.#ends.get(CONSOLE) ?? 0
  }

  async #attach(): Promise<void> {
    const socket = await this.#gateway.socket()
    this.#primary = new Primary(socket, { epoch: this.#epoch }, (left) => {
      for (const { port, ordinal } of left) this.#gate.onLeft(port, ordinal)
      this.#gate.holdAgain()
      this.#release()
    })
  }

  /** Another copy goes live: it has all outputs from some place on, cut as they were, and knows nothing of later. */
  #failOver(): void {
    this.#learn()
    this.#epoch++
    const gate = new OutputGate()
    const known = this.#gate.left.map(({ port, ordinal }) => {
      const less = ordinal - BigInt(this.#random.below(50))
      return { port, ordinal: less < 0n ? 0n : less }
    })
    for (const { port, ordinal } of known) gate.onLeft(port, ordinal)
    this.#outputs.forEach((output, index) => {
      gate.add({ ...output, index: BigInt(index) })
    })
    this.#gate = gate
    this.#primary = undefined
  }

  #learn(): void {
    for (const [port, ordinal] of this.#primary?.left ?? []) this.#gate.onLeft(port, ordinal)
  }

  #produce(count: number): void {
    for (let i = 0; i < count; i++) {
      const port = this.#random.pick([NET, CONSOLE])
      const before = this.#ends.get(port) ?? 0
      const length = this.#random.between(1, 40)
      const end = before + (port === NET ? 1 : length)
      const bytes =
        port === NET
          ? Buffer.from(`frame ${end}`)
          : Uint8Array.from({ length }, (_, at) => (before + at) % 251)
      this.#ends.set(port, end)
      const output = { port, ordinal: BigInt(end), bytes }
      this.#gate.add({ ...output, index: BigInt(this.#outputs.length) })
      this.#outputs.push(output)
    }
    this.#learn()
    this.#release()
  }

  #release(): void {
    if (this.#primary?.client.isUp !== true) return
    for (const one of this.#gate.release(BigInt(this.#outputs.length))) this.#primary.client.put(one)
  }
}

for (const seed of [1, 2, 3, 4, 5]) {
  test(`every output arrives once and in order over cuts and failovers (seed ${seed})`, async () => {
    const gateway = await new Gateway().open()
    const story = new Story(seed, gateway)
    await story.run(400)
    assert.ok(story.frames > 100 && story.consoleBytes > 1000)
    assert.deepEqual(
      gateway.frames,
      Array.from({ length: story.frames }, (_, i) => `frame ${i + 1}`),
    )
    assertBytes(
      gateway.console,
      Array.from({ length: story.consoleBytes }, (_, at) => at % 251),
    )
    assert.deepEqual(
      gateway.said.filter((line) => line.startsWith('notice') && !line.includes('superseded')),
      [],
    )
  })
}

/** The part of the bench for the replication core: how many inputs a pair of members takes in a second. */
import { BatchEncoder } from '../src/log/batch.ts'
import {
  encodeConfiguration,
  follow,
  type MemberIdentity,
  startCold,
} from '../src/replication/configuration.ts'
import { Member } from '../src/replication/member.ts'
import { encodeMessage, MessageDecoder } from '../src/replication/message_codec.ts'
import type { Input } from '../src/replication/ports.ts'
import { DEFAULT_SETTINGS } from '../src/replication/settings.ts'
import type { BenchOptions } from './guest_parts.ts'
import { type Figure, figure } from './results.ts'

const ROUNDS = 20_000
const OUTPUT_BYTES = 200

const A: MemberIdentity = { host: 'a', incarnation: 'a1', diskGeneration: 'disk-a' }
const B: MemberIdentity = { host: 'b', incarnation: 'b1', diskGeneration: 'disk-b' }

/** Two members over a channel without delay; the arbiter and the machines are as good as not there. */
class Pair {
  readonly #a = member('a')
  readonly #b = member('b')
  readonly #toA = new MessageDecoder('to a')
  readonly #toB = new MessageDecoder('to b')
  readonly #encoder = new BatchEncoder({ life: 1, nextIndex: 0n, position: 0n })
  #position = 0n
  #ordinal = 0n
  steps = 0
  released = 0

  /** Creates the machine at a, lets b join, and makes the pair of it. */
  constructor() {
    const cold = startCold(undefined, A)
    const pair = follow(cold, 'add', { primary: A, backup: B })
    this.#giveA({ kind: 'tick', nowMs: 1 })
    this.#giveA(current(1, undefined))
    this.#giveA(current(2, cold))
    this.#giveA({ kind: 'linkUp', left: [] })
    this.#giveB({ kind: 'tick', nowMs: 1 })
    this.#giveB(current(1, cold))
    this.#giveB({ kind: 'tick', nowMs: 2 })
    this.#giveA({ kind: 'opened', channel: 2, host: undefined })
    this.#giveB({ kind: 'opened', channel: 1, host: 'a' })
    this.#giveA({ kind: 'snapshotTaken', join: 1, frontier: { nextIndex: 0n, position: 0n } })
    this.#giveA({ kind: 'chunkRead', join: 1, number: 0, isLast: true, bytes: new Uint8Array(1) })
    this.#giveB({ kind: 'installed', join: 1 })
    this.#giveA({ kind: 'tick', nowMs: 50 })
    this.append(true)
    this.#giveA(current(3, cold))
    this.#giveA(current(4, pair))
    this.#giveB(current(2, pair))
    if (this.#b.role.name !== 'backup') throw new Error(`b is ${this.#b.role.name}`)
  }

  /** The primary logs and puts out; the backup receives, executes and acknowledges; the output leaves. */
  append(isDigest = false): void {
    const firstIndex = this.#encoder.nextIndex
    this.#position += 1000n
    const place = { position: this.#position }
    this.#encoder.append(
      isDigest ? { kind: 'digest', ...place, digest: 1n, slice: undefined } : { kind: 'reached', ...place },
    )
    if (firstIndex > 0n) this.#encoder.append({ kind: 'released', ...place, port: 1, ordinal: this.#ordinal })
    const index = this.#encoder.append({
      kind: 'output',
      ...place,
      port: 1,
      ordinal: ++this.#ordinal,
      digest: 1n,
    })
    const output = { index, port: 1, ordinal: this.#ordinal, bytes: new Uint8Array(OUTPUT_BYTES) }
    const frontier = { nextIndex: index + 1n, position: this.#position }
    const digestIndex = isDigest ? firstIndex : undefined
    this.#giveA({
      kind: 'appended',
      bytes: this.#encoder.take()!,
      firstIndex,
      frontier,
      outputs: [output],
      digestIndex,
    })
    this.#giveB({ kind: 'executed', frontier, outputs: [output] })
    this.#giveA({ kind: 'left', port: 1, ordinal: output.ordinal })
  }

  #giveA(input: Input): void {
    this.#carryOut(this.#a, input, this.#toB, (message) => this.#giveB(message), 1)
  }

  #giveB(input: Input): void {
    this.#carryOut(this.#b, input, this.#toA, (message) => this.#giveA(message), 2)
  }

  #carryOut(
    from: Member,
    input: Input,
    decoder: MessageDecoder,
    give: (input: Input) => void,
    channel: number,
  ): void {
    this.steps++
    for (const effect of from.step(input)) {
      if (effect.kind === 'release') this.released += effect.outputs.length
      if (effect.kind !== 'send') continue
      decoder.push(encodeMessage(effect.message))
      for (let message = decoder.next(); message !== undefined; message = decoder.next()) {
        give({ kind: 'message', channel, message })
      }
    }
  }
}

function member(host: string): Member {
  return new Member({
    ...{
      machine: 'bench',
      host,
      incarnation: `${host}1`,
      diskGeneration: `disk-${host}`,
      joinGeneration: 'disk-b',
    },
    ...{ mayCreate: true, mayRestart: false, force: false, settings: DEFAULT_SETTINGS },
  })
}

function current(
  request: number,
  configuration: Parameters<typeof encodeConfiguration>[0] | undefined,
): Input {
  const decision = configuration === undefined ? undefined : encodeConfiguration(configuration)
  return { kind: 'answer', request, answer: { kind: 'current', decision } }
}

/** Inputs a second through a protected pair, messages encoded and decoded. */
export function measureCore({ say, repeat }: BenchOptions): Figure[] {
  say('replication core')
  const steps: number[] = []
  const outputs: number[] = []
  for (let round = 0; round < repeat; round++) {
    const pair = new Pair()
    const { steps: stepsBefore, released: releasedBefore } = pair
    const start = performance.now()
    for (let i = 0; i < ROUNDS; i++) pair.append()
    const seconds = (performance.now() - start) / 1000
    if (pair.released - releasedBefore !== ROUNDS) throw new Error('outputs were held')
    steps.push((pair.steps - stepsBefore) / seconds / 1e3)
    outputs.push(ROUNDS / seconds / 1e3)
  }
  const rate = (name: string, unit: string, samples: number[]): Figure =>
    figure({ part: 'core', name, unit, isRate: true }, samples)
  return [
    rate('steps of members', 'k steps/s', steps),
    rate('outputs through a pair', 'k outputs/s', outputs),
  ]
}

const SIMULATED_SEEDS = 20

/** How much simulated time a second brings, with all that checks it. */
export async function measureSimulator({ say, repeat }: BenchOptions): Promise<Figure[]> {
  say('simulator')
  const { simulate } = await import('../sim/simulate.ts')
  const { allCheckers } = await import('../sim/checkers/all.ts')
  const hours: number[] = []
  const seeds: number[] = []
  for (let round = 0; round < repeat; round++) {
    let simulatedMs = 0
    const start = performance.now()
    for (let seed = 1; seed <= SIMULATED_SEEDS; seed++) {
      const result = simulate({ seed, checkers: allCheckers() })
      if (result.failures.length > 0) throw new Error(`seed ${seed}: ${result.failures[0]}`)
      simulatedMs += result.simulatedMs
    }
    const seconds = (performance.now() - start) / 1000
    hours.push(simulatedMs / 3_600_000 / seconds)
    seeds.push(SIMULATED_SEEDS / seconds)
  }
  const rate = (name: string, unit: string, samples: number[]): Figure =>
    figure({ part: 'simulator', name, unit, isRate: true }, samples)
  return [rate('simulated time', 'hours/s', hours), rate('runs', 'seeds/s', seeds)]
}

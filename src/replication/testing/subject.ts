/**
 * A member under test: takes inputs, and shows the effects as short lines, so that a test reads like a log.
 *
 *     read #1 | propose 2 'drop' a/- #4 | send 1 ack e2 7/5 ! | release 1:3 1:4 | halt: deposed ...
 *
 * `!` marks urgent messages; `7/5` is received/executed; `1:3` is port and ordinal.
 */
import { BatchEncoder } from '../../log/batch.ts'
import type { NewRecord } from '../../log/record.ts'
import type { ArbiterAnswer } from '../arbiter.ts'
import {
  type Configuration,
  decodeConfiguration,
  encodeConfiguration,
  type MemberIdentity,
} from '../configuration.ts'
import { Member } from '../member.ts'
import type { Message } from '../message.ts'
import type { Effect, Frontier, Input, MachineOutput, MemberOptions } from '../ports.ts'
import { DEFAULT_SETTINGS } from '../settings.ts'

/** The member that host `h` has in its process number `n`. */
export function identity(host: string, incarnation = `${host}1`): MemberIdentity {
  return { host, incarnation, diskGeneration: `disk-${host}` }
}

export function configuration(
  epoch: number,
  primary: MemberIdentity,
  backup?: MemberIdentity,
  others: Partial<Configuration> = {},
): Configuration {
  return { epoch, life: 1, primary, backup, phase: 'running', change: 'drop', ...others }
}

/** Answers of an arbiter that holds `current`. */
export function holding(current: Configuration | undefined): ArbiterAnswer {
  return { kind: 'current', decision: current === undefined ? undefined : encodeConfiguration(current) }
}

/** An output with index equal to its ordinal unless said otherwise. */
export function output(ordinal: number, port = 1, index = ordinal): MachineOutput {
  return { port, ordinal: BigInt(ordinal), index: BigInt(index), bytes: new Uint8Array([ordinal]) }
}

/** A batch of `count` records that say "reached", from record `first` on, one step apart. */
export function batch(first: number, count: number, life = 1, records?: readonly NewRecord[]): Uint8Array {
  const encoder = new BatchEncoder({ life, nextIndex: BigInt(first), position: BigInt(first) })
  for (let i = 0; i < count; i++) {
    encoder.append(records?.[i] ?? { kind: 'reached', position: BigInt(first + i) })
  }
  return encoder.take()!
}

export function frontier(nextIndex: number): Frontier {
  return { nextIndex: BigInt(nextIndex), position: BigInt(nextIndex) }
}

/** The primary's machine has logged records `first` to `first + count - 1`. */
export function appended(
  first: number,
  count: number,
  outputs: readonly MachineOutput[] = [],
  digest?: number,
): Input {
  return {
    kind: 'appended',
    bytes: batch(first, count),
    firstIndex: BigInt(first),
    frontier: frontier(first + count),
    outputs,
    digestIndex: digest === undefined ? undefined : BigInt(digest),
  }
}

export class Subject {
  readonly member: Member
  nowMs = 1000
  #request = 0

  constructor(host: string, options: Partial<MemberOptions> = {}) {
    this.member = new Member({
      machine: 'm',
      host,
      incarnation: `${host}1`,
      diskGeneration: `disk-${host}`,
      joinGeneration: `disk-${host}`,
      mayCreate: false,
      mayRestart: false,
      force: false,
      settings: DEFAULT_SETTINGS,
      ...options,
    })
  }

  /** Takes one input; the effects as lines. */
  step(input: Input): string[] {
    const effects = this.member.step(input)
    for (const effect of effects) {
      if (effect.kind === 'read' || effect.kind === 'propose') this.#request = effect.request
    }
    return effects.filter(({ kind }) => kind !== 'tell').map(line)
  }

  /** Lets `ms` pass in ticks of at most 50 ms. */
  wait(ms: number): string[] {
    const lines: string[] = []
    const end = this.nowMs + ms
    do {
      this.nowMs = Math.min(end, this.nowMs + 50)
      lines.push(...this.step({ kind: 'tick', nowMs: this.nowMs }))
    } while (this.nowMs < end)
    return lines
  }

  /** The arbiter answers the latest request. */
  answer(current: Configuration | undefined | 'unreachable'): string[] {
    const answer: ArbiterAnswer =
      current === 'unreachable' ? { kind: 'unreachable', reason: 'no route' } : holding(current)
    return this.step({ kind: 'answer', request: this.#request, answer })
  }

  receive(channel: number, message: Message): string[] {
    return this.step({ kind: 'message', channel, message })
  }

  /** Somebody opens a channel and says hello. */
  accept(channel: number, { host, incarnation }: MemberIdentity): string[] {
    this.step({ kind: 'opened', channel, host: undefined })
    return this.receive(channel, { kind: 'hello', machine: 'm', host, incarnation })
  }

  /** The dialled channel opens and the other side says hello. */
  connect(channel: number, { host, incarnation }: MemberIdentity): string[] {
    const lines = this.step({ kind: 'opened', channel, host })
    return [...lines, ...this.receive(channel, { kind: 'hello', machine: 'm', host, incarnation })]
  }
}

function line(effect: Effect): string {
  switch (effect.kind) {
    case 'read':
      return 'read'
    case 'propose': {
      const { epoch, change, primary, backup, life } = decodeConfiguration(effect.proposed)
      return `propose ${epoch} ${change} ${primary.incarnation}/${backup?.incarnation ?? '-'} life ${life}`
    }
    case 'dial':
      return `dial ${effect.channel} ${effect.host}`
    case 'send':
      return `send ${effect.channel} ${messageText(effect.message)}${effect.urgent ? ' !' : ''}`
    case 'close':
      return `close ${effect.channel}`
    case 'release':
      return `release ${effect.outputs.map(({ port, ordinal }) => `${port}:${ordinal}`).join(' ')}`
    case 'attach':
      return `attach epoch ${effect.epoch} life ${effect.life}`
    case 'halt':
      return `halt: ${effect.reason}`
    case 'feed':
      return `feed ${effect.batch.firstIndex}+${effect.batch.records.length}`
    case 'append':
      return `append ${effect.record.kind}`
    case 'execution':
      return `execution ${effect.pace} ${effect.inputs}`
    case 'boot':
      return `boot life ${effect.life}`
    case 'takeOver':
      return `takeOver at ${effect.frontier.nextIndex}`
    case 'readChunk':
    case 'storeChunk':
      return `${effect.kind} ${effect.number}`
    case 'install':
      return `install at ${effect.frontier.nextIndex}`
    default:
      return effect.kind
  }
}

function messageText(message: Message): string {
  switch (message.kind) {
    case 'ack':
      return `ack e${message.epoch} ${message.received}/${message.executed}`
    case 'heartbeat':
      return `heartbeat ${message.state}`
    case 'chunk':
      return `chunk ${message.number}${message.isLast ? ' last' : ''}`
    case 'follow':
      return `follow e${message.epoch} ${message.nextIndex}`
    case 'joinStart':
      return `joinStart ${message.join} at ${message.nextIndex}`
    case 'join':
      return message.resume === undefined
        ? 'join'
        : `join again chunk ${message.resume.nextChunk} record ${message.resume.nextIndex}`
    case 'pendingOutput':
      return `pendingOutput ${message.port}:${message.ordinal}`
    case 'configured':
      return `configured ${message.epoch}`
    case 'confirmed':
      return `confirmed ${message.incarnation} ${message.isDead ? 'dead' : 'alive'}`
    default:
      return message.kind
  }
}

/** Lines without heartbeats, which come with every tick. */
export function quiet(lines: readonly string[]): string[] {
  return lines.filter((text) => !text.includes(' heartbeat '))
}

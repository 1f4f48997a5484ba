/**
 * A process of a machine at a host: the member with its replica, its channels, its arbiter and its way to the network.
 *
 *     alive --the member halts--> ended
 *
 * Inputs are taken one by one, and the effects of one are carried out before the next is taken.
 */
import type { Duplex } from 'node:stream'
import { FormatError } from '../../base/errors.ts'
import { PORT } from '../../board/computer.ts'
import type { PeerHeartbeat } from '../../host/heartbeat_memory.ts'
import type { Arbiter, Decision } from '../../replication/arbiter.ts'
import { Member } from '../../replication/member.ts'
import type { Message, PortOrdinal } from '../../replication/message.ts'
import { MessageDecoder } from '../../replication/message_codec.ts'
import type { Effect, Input, MachineOutput, MemberOptions, OperatorCommand } from '../../replication/ports.ts'
import { ConsoleHub } from './console_hub.ts'
import { Measurements } from './measurements.ts'
import { Outgoing } from './outgoing.ts'
import { Replica, type ReplicaOptions } from './replica.ts'

/** The network that the machine is on, from the primary's side. */
export interface Network {
  /** Connects as the primary of a configuration; whatever was connected before is given up. */
  attach(place: { readonly epoch: number; readonly life: number }, events: NetworkEvents): void
  put(output: MachineOutput): void
  /** While inputs are held, nothing is read from the network. */
  holdInput(isHeld: boolean): void
  close(): void
}

export interface NetworkEvents {
  readonly onUp: (left: readonly PortOrdinal[]) => void
  readonly onLeft: (port: number, ordinal: bigint) => void
  readonly onInput: (port: number, bytes: Uint8Array) => void
}

export interface DialEvents {
  readonly opened: (stream: Duplex) => void
  readonly failed: (isRefused: boolean, reason: string) => void
}

export interface ProcessOptions extends MemberOptions {
  readonly arbiter: Arbiter
  readonly network: Network
  /** Opens a channel to the process of this machine at another host. */
  dial(host: string, events: DialEvents): void
  /** What the thread of the heartbeats has heard from another host, which counts as a sign of life of its channel. */
  heardFrom(host: string): PeerHeartbeat | undefined
  readonly replica: Omit<ReplicaOptions, 'give' | 'joinGeneration' | 'diskLimitMs'>
  /** The member has ended; outputs that are queued do not leave any more. */
  onHalted(reason: string): void
  onNotice(text: string): void
}

/** It is dialled many times a second: what was said longer ago than this is over. */
const REFUSAL_MS = 15_000

interface OpenChannel {
  readonly outgoing: Outgoing
  /** The host at the other end. */
  readonly host: string
  /** Whether it has said hello: before, nothing else counts. */
  isGreeted: boolean
  /** How many heartbeats of the host have been counted. */
  beats: bigint
}

export class MachineProcess {
  readonly member: Member
  readonly replica: Replica
  readonly console: ConsoleHub
  readonly measurements = new Measurements()
  readonly #options: ProcessOptions
  readonly #channels = new Map<number, OpenChannel>()
  /** Dials that have no outcome so far, and that nobody has closed. */
  readonly #dialing = new Set<number>()
  /** Why the last dial failed. */
  #dialProblem = ''
  /** Hosts with which no channel came about, and why. */
  readonly #refusals = new Map<string, { readonly reason: string; readonly atMs: number }>()
  #accepted = 0
  #inputs: Input[] = []
  #isDraining = false
  /** From then on the member hears nothing: the arbiter is closed, and a channel that closes is not dialled again. */
  #hasEnded = false
  /** Ports for which the network has sent something, though they are not its. */
  readonly #strangePorts = new Set<number>()
  #ticker: NodeJS.Timeout

  constructor(options: ProcessOptions) {
    this.#options = options
    const { joinGeneration } = options
    const { diskLimitMs } = options.settings
    const give = (input: Input): void => this.#give(input)
    this.replica = new Replica({ ...options.replica, joinGeneration, diskLimitMs, give })
    this.console = new ConsoleHub()
    this.member = new Member(options)
    const tickMs = Math.max(1, options.settings.heartbeatMs / 2)
    this.#ticker = setInterval(() => this.#tick(), tickMs)
    this.#tick()
  }

  operate(command: OperatorCommand): void {
    this.#give({ kind: 'operator', command })
  }

  /** Why there is no channel to or from other hosts, by their names, where that was tried lately. */
  get refusals(): Record<string, string> {
    const since = performance.now() - REFUSAL_MS
    const recent = [...this.#refusals].filter(([, { atMs }]) => atMs >= since)
    return Object.fromEntries(recent.map(([host, { reason }]) => [host, reason]))
  }

  /** One of the hosts that may have a copy has dialled, or was, and it came to nothing. */
  onRefusal(host: string, reason: string): void {
    this.#refusals.set(host, { reason, atMs: performance.now() })
  }

  /** The process at `host` has opened a channel to this one. */
  accept(stream: Duplex, host: string): void {
    this.#refusals.delete(host)
    this.#accepted += 2
    const number = this.#accepted
    this.#open(number, stream, host)
    this.#give({ kind: 'opened', channel: number, host: undefined })
  }

  /** Frees everything. To be called when the member has ended, or when the process is to end without a word. */
  async end(): Promise<void> {
    this.#hasEnded = true
    clearInterval(this.#ticker)
    this.#options.network.close()
    this.#options.arbiter.close()
    for (const { outgoing } of this.#channels.values()) outgoing.end()
    await this.replica.end()
  }

  // Channels

  #dial(number: number, host: string): void {
    this.#dialing.add(number)
    this.#options.dial(host, {
      opened: (stream) => {
        if (!this.#dialing.delete(number)) return void stream.destroy()
        this.#dialProblem = ''
        this.#refusals.delete(host)
        this.#open(number, stream, host)
        this.#give({ kind: 'opened', channel: number, host })
      },
      failed: (isRefused, reason) => {
        // It is tried again many times a second, maybe for days.
        if (!isRefused && reason !== this.#dialProblem)
          this.#options.onNotice(`no channel to ${host}: ${reason}`)
        this.#dialProblem = reason
        if (!isRefused) this.onRefusal(host, reason)
        if (this.#dialing.delete(number)) this.#give({ kind: 'closed', channel: number, isRefused })
      },
    })
  }

  #open(number: number, stream: Duplex, host: string): void {
    const decoder = new MessageDecoder(`channel ${number}`)
    const beats = this.#options.heardFrom(host)?.beats ?? 0n
    const outgoing = new Outgoing(stream, this.#options.settings.ack === 'received')
    this.#channels.set(number, { outgoing, host, isGreeted: false, beats })
    stream.on('data', (bytes: Uint8Array) => this.#onBytes(number, decoder, bytes))
    stream.on('error', () => {})
    stream.on('close', () => this.#onClosed(number))
    stream.on('end', () => this.#onClosed(number))
  }

  #onClosed(number: number): void {
    if (this.#channels.delete(number)) this.#give({ kind: 'closed', channel: number, isRefused: false })
  }

  #onBytes(number: number, decoder: MessageDecoder, bytes: Uint8Array): void {
    if (!this.#channels.has(number)) return
    try {
      decoder.push(bytes)
      for (;;) {
        const message = decoder.next()
        const channel = this.#channels.get(number)
        if (message === undefined || channel === undefined) return
        if (message.kind === 'hello') this.#checkName(channel, message.host)
        this.#give({ kind: 'message', channel: number, message })
      }
    } catch (error) {
      if (!(error instanceof FormatError)) throw error
      this.#options.onNotice(`channel ${number} is closed: ${error.message}`)
      this.#close(number)
      this.#give({ kind: 'closed', channel: number, isRefused: false })
    }
  }

  /** Who says hello must be who has proved to be there (duty 9 of replication/ports.ts). */
  #checkName(channel: OpenChannel, host: string): void {
    if (host !== channel.host) throw new FormatError(`${channel.host} says that it is ${host}`)
    channel.isGreeted = true
  }

  #close(number: number): void {
    this.#dialing.delete(number)
    const channel = this.#channels.get(number)
    this.#channels.delete(number)
    channel?.outgoing.end()
  }

  #send(number: number, message: Message): void {
    if (message.kind === 'batch') this.measurements.onLogged(message.bytes.length)
    const send = (): void => this.#channels.get(number)?.outgoing.send(message)
    // A chunk makes room for another one when it is stored, else a slow disk would let them pile up here.
    if (message.kind === 'chunkAck') void this.replica.stored().then(send)
    else send()
  }

  // Inputs and effects

  #give(input: Input): void {
    if (this.#hasEnded) return
    this.#inputs.push(input)
    if (this.#isDraining) return
    this.#isDraining = true
    for (let next = this.#inputs.shift(); next !== undefined; next = this.#inputs.shift()) this.#step(next)
    this.#isDraining = false
  }

  #step(input: Input): void {
    if (input.kind === 'appended') this.measurements.onProduced(input.outputs)
    for (const effect of this.member.step(input)) this.#perform(effect)
  }

  #perform(effect: Effect): void {
    switch (effect.kind) {
      case 'dial':
        return this.#dial(effect.channel, effect.host)
      case 'send':
        return this.#send(effect.channel, effect.message)
      case 'close':
        return this.#close(effect.channel)
      case 'read':
        return this.#options.arbiter.read((answer) =>
          this.#give({ kind: 'answer', request: effect.request, answer }),
        )
      case 'propose':
        return this.#propose(effect.request, effect.expected, effect.proposed)
      case 'attach':
        return this.#attach(effect.epoch, effect.life)
      case 'release':
        return this.#release(effect.outputs)
      case 'tell':
        return this.#options.onNotice(effect.text)
      case 'halt':
        clearInterval(this.#ticker)
        // What is queued there does not leave any more; messages may.
        this.#options.network.close()
        return this.#options.onHalted(effect.reason)
      case 'execution':
        this.#options.network.holdInput(effect.inputs === 'held')
        return this.replica.perform(effect)
      default:
        return this.replica.perform(effect)
    }
  }

  #propose(request: number, expected: Decision | undefined, proposed: Decision): void {
    this.#options.arbiter.propose(expected, proposed, (answer) =>
      this.#give({ kind: 'answer', request, answer }),
    )
  }

  // The way out

  #attach(epoch: number, life: number): void {
    this.console.attach(life)
    let isUp = false
    this.#options.network.attach(
      { epoch, life },
      {
        onUp: (left) => {
          isUp = true
          this.#give({ kind: 'linkUp', left })
        },
        onLeft: (port, ordinal) => this.#give({ kind: 'left', port, ordinal }),
        onInput: (port, bytes) => this.#onInput(port, bytes),
      },
    )
    // A console is here, and need not wait until the network is. What is released meanwhile for the network is dropped
    // there, and released again when its link is up; a network that is up already would send it all twice.
    if (!isUp) this.#inputs.push({ kind: 'linkUp', left: [] })
  }

  /** A network brings frames. Entropy and the like are not for it to choose. */
  #onInput(port: number, bytes: Uint8Array): void {
    if (port === PORT.net) return this.replica.send({ kind: 'input', port, bytes })
    if (!this.#strangePorts.has(port))
      this.#options.onNotice(`the network sends what is for port ${port}: refused`)
    this.#strangePorts.add(port)
  }

  #release(outputs: readonly MachineOutput[]): void {
    this.measurements.onReleased(outputs)
    for (const output of outputs) {
      if (output.port === PORT.net) this.#options.network.put(output)
      else {
        this.console.put(output)
        this.#inputs.push({ kind: 'left', port: output.port, ordinal: output.ordinal })
      }
    }
  }

  /** What the thread of the heartbeats has heard counts as if it had come over the channel to that host. */
  #giveHeartbeats(): void {
    for (const [number, channel] of this.#channels) {
      const heard = this.#options.heardFrom(channel.host)
      if (!channel.isGreeted || heard === undefined || heard.beats === channel.beats) continue
      channel.beats = heard.beats
      const { state, position } = heard
      this.#give({ kind: 'message', channel: number, message: { kind: 'heartbeat', state, position } })
    }
  }

  #tick(): void {
    this.replica.tick()
    const { progress } = this.replica
    if (progress !== undefined) this.#give({ kind: 'progress', ...progress })
    this.#giveHeartbeats()
    this.#give({ kind: 'tick', nowMs: Math.floor(performance.now()) })
  }
}

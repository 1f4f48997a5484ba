/**
 * A process of the machine at a host: a member with its replica, its channels and its link to the gateway.
 *
 *     alive --member halts, or a fault ends it--> ended
 *     alive <--> paused: everything that happens meanwhile happens when it goes on
 *
 * Inputs are taken one by one; the effects of one are carried out before the next is taken. A fault may end the process
 * between two effects.
 */
import { assert } from '../src/base/assert.ts'
import { FormatError } from '../src/base/errors.ts'
import type { Random } from '../src/base/prng.ts'
import { Member } from '../src/replication/member.ts'
import type { Message } from '../src/replication/message.ts'
import { encodeMessage, MessageDecoder } from '../src/replication/message_codec.ts'
import type { Bug } from '../src/replication/planted.ts'
import type { Effect, Input, MachineOutput, OperatorCommand } from '../src/replication/ports.ts'
import { Primary } from '../src/replication/primary.ts'
import type { Channel, EndHandler } from './channel.ts'
import { describeEffect, describeInput } from './describe.ts'
import type { GatewayLink } from './gateway.ts'
import type { ProcessId } from './observation.ts'
import { Replica } from './replica.ts'
import type { ReplicaPorts } from './replica_ports.ts'
import type { Surroundings } from './surroundings.ts'

/** What a process needs of its host. */
export interface ProcessHost {
  readonly name: string
  readonly disk: ReplicaPorts['disk']
  monotonicUs(): number
  calendarUs(): number
  /** The process has ended by itself. */
  onHalted(reason: string): void
}

export interface ProcessStart {
  readonly incarnation: string
  readonly joinGeneration: string
  readonly mayCreate: boolean
  readonly isForced: boolean
}

interface OpenChannel {
  readonly channel: Channel
  readonly side: 0 | 1
}

const RECONNECT_MS = 150

export class MachineProcess {
  readonly id: ProcessId
  readonly member: Member
  readonly replica: Replica
  readonly #surroundings: Surroundings
  readonly #host: ProcessHost
  readonly #random: Random
  readonly #channels = new Map<number, OpenChannel>()
  /** Dials that have no outcome so far, and that nobody has closed. */
  readonly #dialing = new Set<number>()
  #accepted = 0
  #inputs: Input[] = []
  #isDraining = false
  #isAlive = true
  #isPaused = false
  /** Actions that are being done, one within the other. */
  #actions = 0
  #isForced: boolean
  #backlog: { readonly action: () => void; readonly isTimer: boolean }[] = []
  #link: GatewayLink | undefined
  #attachment: { readonly epoch: number; readonly life: number } | undefined
  /** What was observed of it last. */
  #toldState = ''
  #shown = { role: '', state: '', reason: '' }
  #hasTakenOver = false
  /** How much longer a backup's machine takes: a fault. */
  slowness = 1
  /** Effects until a fault ends it; negative if none is to. */
  crashAfter = -1
  onCrash: () => void = () => {}

  constructor(surroundings: Surroundings, host: ProcessHost, start: ProcessStart, random: Random) {
    const { incarnation, joinGeneration, mayCreate, isForced } = start
    this.id = { host: host.name, incarnation }
    this.#surroundings = surroundings
    this.#host = host
    this.#random = random
    this.#isForced = isForced
    const { shape, planted } = surroundings
    this.replica = new Replica(this.#replicaPorts(), { joinGeneration, isForced: () => this.#isForced })
    this.member = new Member({
      machine: 'toy',
      host: host.name,
      incarnation,
      diskGeneration: host.disk.generation,
      joinGeneration,
      mayCreate,
      mayRestart: true,
      force: isForced,
      settings: shape.settings,
      planted,
    })
    this.#world.observe({ kind: 'started', process: this.id })
    this.#later(0, () => this.#tick())
  }

  get #world() {
    return this.#surroundings.world
  }

  get isPaused(): boolean {
    return this.#isPaused
  }

  /** What it is at the moment, in words, for traces and for the coverage of faults. */
  get state(): string {
    const { role } = this.member
    const protection = this.member.protection()
    const reason = 'reason' in protection ? protection.reason : protection.state
    const detail = protection.state === 'halted' ? protection.state : reason
    // How far the copy that joins has come, as the primary sees it.
    const stage = role instanceof Primary && !role.follower?.isBackup ? role.follower?.state : undefined
    return `${role.name}/${stage ?? detail}${this.member.isProposing ? ', undecided' : ''}`
  }

  pause(): void {
    this.#isPaused = true
  }

  resume(): void {
    this.#isPaused = false
    const backlog = this.#backlog
    this.#backlog = []
    // Whether it looks at its sockets first or at its clock is chance.
    const isTimeFirst = this.#random.chance(0.5)
    for (const { action, isTimer } of backlog) if (isTimer === isTimeFirst) this.#post(action, isTimer)
    for (const { action, isTimer } of backlog) if (isTimer !== isTimeFirst) this.#post(action, isTimer)
  }

  operate(command: OperatorCommand): void {
    if (command === 'force') this.#isForced = true
    this.#post(() => this.#give({ kind: 'operator', command }))
  }

  /** The machine's power button. Like all that comes from outside, a process that is paused notices it when it goes on. */
  pressPowerButton(): void {
    this.#post(() => this.replica.powerButton())
  }

  /** It ends at once, with all its memory. */
  kill(hasPower: boolean): void {
    if (!this.#isAlive) return
    this.#isAlive = false
    this.#link?.abandon()
    this.#surroundings.network.onProcessEnd(this, hasPower)
  }

  // Channels

  onAccept(channel: Channel): EndHandler {
    this.#accepted += 2
    const number = this.#accepted
    this.#post(() => {
      this.#channels.set(number, { channel, side: 1 })
      this.#give({ kind: 'opened', channel: number, host: undefined })
    })
    return this.#endHandler(number)
  }

  #dial(number: number, host: string): void {
    this.#dialing.add(number)
    this.#surroundings.network.dial(this, host, {
      ...this.#endHandler(number),
      onConnected: (channel) =>
        this.#post(() => {
          if (!this.#dialing.delete(number)) return channel.close(0)
          this.#channels.set(number, { channel, side: 0 })
          this.#give({ kind: 'opened', channel: number, host })
        }),
      onFailed: (isRefused) =>
        this.#post(() => {
          if (this.#dialing.delete(number)) this.#give({ kind: 'closed', channel: number, isRefused })
        }),
    })
  }

  #endHandler(number: number): EndHandler {
    const decoder = new MessageDecoder(`channel ${number}`)
    return {
      site: this.#host.name,
      onBytes: (bytes) => this.#post(() => this.#onBytes(number, decoder, bytes)),
      onEnd: () =>
        this.#post(() => {
          if (this.#channels.delete(number)) this.#give({ kind: 'closed', channel: number, isRefused: false })
        }),
    }
  }

  #onBytes(number: number, decoder: MessageDecoder, bytes: Uint8Array): void {
    if (!this.#channels.has(number)) return
    try {
      decoder.push(bytes)
      for (;;) {
        const message = decoder.next()
        if (message === undefined || !this.#channels.has(number)) return
        this.#give({ kind: 'message', channel: number, message })
      }
    } catch (error) {
      if (!(error instanceof FormatError)) throw error
      this.#close(number)
      this.#give({ kind: 'closed', channel: number, isRefused: false })
    }
  }

  #close(number: number): void {
    this.#dialing.delete(number)
    const open = this.#channels.get(number)
    this.#channels.delete(number)
    open?.channel.close(open.side)
  }

  #send(number: number, message: Message, isUrgent: boolean): void {
    const open = this.#channels.get(number)
    if (open === undefined) return
    if (message.kind === 'ack') {
      const { epoch, received } = message
      this.#world.observe({ kind: 'acknowledged', process: this.id, epoch, received })
    }
    open.channel.send(open.side, encodeMessage(message), isUrgent)
  }

  // Inputs and effects

  #give(input: Input): void {
    if (!this.#isAlive) return
    this.#inputs.push(input)
    if (this.#isDraining) return
    this.#isDraining = true
    for (let next = this.#inputs.shift(); next !== undefined; next = this.#inputs.shift()) this.#step(next)
    this.#isDraining = false
  }

  #step(input: Input): void {
    if (!this.#isAlive) return
    const world = this.#world
    if (world.isTraced && input.kind !== 'tick')
      world.say(this.id.incarnation, () => `< ${describeInput(input)}`)
    for (const effect of this.#stepMember(input)) {
      if (this.crashAfter === 0) {
        this.crashAfter = -1
        this.onCrash()
      }
      if (!this.#isAlive) return
      if (this.crashAfter > 0) this.crashAfter--
      if (world.isTraced) world.say(this.id.incarnation, () => `  > ${describeEffect(effect)}`)
      this.#perform(effect)
    }
    this.#showState()
  }

  #stepMember(input: Input): Effect[] {
    try {
      return this.member.step(input)
    } catch (error) {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
      this.#world.fail(`${this.id.incarnation} breaks its own rules: ${text}`)
      return []
    }
  }

  #perform(effect: Effect): void {
    switch (effect.kind) {
      case 'dial':
        return this.#dial(effect.channel, effect.host)
      case 'send':
        return this.#send(effect.channel, effect.message, effect.urgent)
      case 'close':
        return this.#close(effect.channel)
      case 'read':
        return this.#ask(effect.request, undefined)
      case 'propose':
        return this.#ask(effect.request, effect)
      case 'attach':
        this.#attachment = { epoch: effect.epoch, life: effect.life }
        return this.#connect()
      case 'release':
        return this.#release(effect.outputs)
      case 'tell':
        return
      case 'halt':
        return this.#halt(effect.reason)
      case 'takeOver':
        this.#hasTakenOver = true
        return this.replica.perform(effect)
      default:
        return this.replica.perform(effect)
    }
  }

  #ask(request: number, proposal: (Effect & { kind: 'propose' }) | undefined): void {
    this.#surroundings.arbiter.ask(this.#host.name, proposal, (answer) =>
      this.#post(() => this.#give({ kind: 'answer', request, answer })),
    )
  }

  #halt(reason: string): void {
    this.#isAlive = false
    this.#world.say(this.id.incarnation, () => `halts: ${reason}`)
    this.#world.observe({ kind: 'halted', process: this.id, reason })
    this.#link?.abandon()
    for (const { channel, side } of this.#channels.values()) channel.close(side)
    this.#surroundings.network.onProcessEnd(this, true)
    this.#host.onHalted(reason)
  }

  // The link to the gateway

  #connect(): void {
    const { epoch, life } = this.#attachment!
    const link: GatewayLink = this.#surroundings.gateway.connect({
      process: this.id,
      epoch,
      life,
      onUp: (left) =>
        this.#post(() => {
          this.#link = link
          this.#give({ kind: 'linkUp', left })
        }),
      onLeft: (port, ordinal) => this.#post(() => this.#give({ kind: 'left', port, ordinal })),
      onInput: (port, bytes) => this.#post(() => this.replica.input(port, bytes)),
      onDown: () => {
        if (this.#link === link) this.#link = undefined
        this.#later(RECONNECT_MS, () => this.#connect())
      },
    })
  }

  #release(outputs: readonly MachineOutput[]): void {
    const { epoch, life } = this.#attachment!
    for (const output of outputs) {
      if (this.#link === undefined) return
      const { port, ordinal, index } = output
      const bytes = this.#hasOtherBytes() ? Uint8Array.of(...output.bytes, 0) : output.bytes
      this.#link.put({ ...output, bytes })
      this.#world.observe({ kind: 'released', process: this.id, epoch, life, port, ordinal, index, bytes })
    }
  }

  /** A planted bug: what a copy that has gone live emits first is not what it was. */
  #hasOtherBytes(): boolean {
    if (!this.#hasTakenOver || !this.#surroundings.planted.has('re-emission with other bytes')) return false
    this.#hasTakenOver = false
    return true
  }

  // Time

  /**
   * Does it now, when the process goes on, or never. A pause that comes in the middle of an action takes effect behind
   * it: what the machine reports keeps its order.
   */
  #post(action: () => void, isTimer = false): void {
    if (!this.#isAlive) return
    if (this.#isPaused && this.#actions === 0) {
      this.#backlog.push({ action, isTimer })
      return
    }
    this.#actions++
    action()
    this.#actions--
  }

  #later(delayMs: number, action: () => void): void {
    this.#world.after(delayMs, () => this.#post(action, true))
  }

  #tick(): void {
    const { progress } = this.replica
    if (progress !== undefined) this.#give({ kind: 'progress', ...progress })
    this.#give({ kind: 'tick', nowMs: Math.floor(this.#host.monotonicUs() / 1000) })
    this.#later(this.#surroundings.shape.tickMs, () => this.#tick())
  }

  #showState(): void {
    this.#tellState()
    const protection = this.member.protection()
    const role = this.member.role.name
    const reason = 'reason' in protection ? protection.reason : ''
    const shown = this.#shown
    if (role === shown.role && protection.state === shown.state && reason === shown.reason) return
    this.#shown = { role, state: protection.state, reason }
    this.#world.say(this.id.incarnation, () => `is ${role} ${protection.state} ${reason}`)
    this.#world.observe({ kind: 'changed', process: this.id, role, protection })
  }

  #tellState(): void {
    const { onState } = this.#surroundings.stateWatch
    if (onState === undefined) return
    const { state } = this
    if (state === this.#toldState) return
    this.#toldState = state
    onState(this.#host.name, state)
  }

  #replicaPorts(): ReplicaPorts {
    const { shape, planted, isStateWatched } = this.#surroundings
    assert(shape.settings.flushMs > 0, 'records wait for no time')
    return {
      disk: this.#host.disk,
      random: this.#random,
      stepsPerMs: shape.stepsPerMs,
      backupSpeed: () => shape.backupSpeed / this.slowness,
      flushMs: shape.settings.flushMs,
      chunkBytes: shape.chunkBytes,
      isStateWatched,
      give: (input) => this.#post(() => this.#give(input)),
      after: (delayMs, action) => this.#later(delayMs, action),
      submit: (request, onDone) =>
        this.#host.disk.submit(request, (result) => this.#post(() => onDone(result))),
      monotonicUs: () => this.#host.monotonicUs(),
      calendarUs: () => this.#host.calendarUs(),
      observe: (observation) => this.#world.observe(Object.assign(observation, { process: this.id })),
      say: (text) => this.#world.say(this.id.incarnation, text),
      has: (bug: Bug) => planted.has(bug),
    }
  }
}

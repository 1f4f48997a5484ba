/**
 * The backup: follows the primary's log, and takes the primary's place when it is gone.
 *
 *     following --suspicion--> sealed --all executed--> claiming --won--> (primary)
 *         |                                               '--lost--> halted
 *         |--the arbiter names this copy as primary--> sealed, then (primary) without a claim
 *         |--diverged at a digest--> disputing --the primary is convicted--> sealed
 *         |                              '--channel closed, primary silent--> halted
 *         '--diverged otherwise, convicted, disk failed--> leaving --channel closed--> halted
 *
 * Invariants: once sealed, or while disputing, nothing is acknowledged and nothing more is read of this configuration; a
 * claim is made only when every record received has been executed and verified; a copy whose verification failed never
 * claims, unless the primary is convicted and nothing but digests failed (P30 to P35, P76).
 *
 * Sealing and catching up come before the claim, so that a copy that cannot catch up never takes the machine away from
 * one that runs.
 */
import { assert } from '../base/assert.ts'
import { FormatError } from '../base/errors.ts'
import type { Outcome } from './arbiter_dialog.ts'
import { type Configuration, follow } from './configuration.ts'
import { partOf } from './context.ts'
import type { Message } from './message.ts'
import type { PeerLink } from './peer_link.ts'
import { PauseWatch, PeerWatch } from './peer_watch.ts'
import type { Input, OperatorCommand } from './ports.ts'
import { Primary } from './primary.ts'
import type { Protection } from './protection.ts'
import type { ReceivedLog } from './received_log.ts'
import type { Role, RoleParts } from './role.ts'

type State = 'following' | 'disputing' | 'sealed' | 'claiming' | 'leaving'

export class Backup implements Role {
  readonly name = 'backup'
  readonly #parts: RoleParts
  readonly #configuration: Configuration
  readonly #log: ReceivedLog
  readonly #link: PeerLink
  readonly #watch: PeerWatch
  readonly #pause: PauseWatch
  #state: State = 'following'
  /** The configuration that already names this copy as the primary. */
  #appointed: Configuration | undefined
  #leavingMs = 0
  /** The primary has yielded. */
  #hasYielded = false
  /** What the primary refused this copy for last. */
  #refusal = ''
  #beatMs = 0

  /** `link` may be up already, with the stream running: then it is the one over which this copy joined. */
  constructor(parts: RoleParts, configuration: Configuration, log: ReceivedLog, link: PeerLink) {
    this.#parts = parts
    this.#configuration = configuration
    this.#log = log
    this.#link = link
    this.#watch = new PeerWatch(parts.context)
    this.#pause = new PauseWatch(parts.context)
    if (link.isUp) this.#acknowledge()
  }

  get state(): State {
    return this.#state
  }

  protection(): Protection {
    if (this.#state === 'following') return { state: 'protected' }
    if (this.#state === 'disputing') return { state: 'not protected', reason: 'backup diverged' }
    if (!this.#parts.dialog.isReachable) return { state: 'not protected', reason: 'arbiter unreachable' }
    return { state: 'not protected', reason: 'failing over' }
  }

  onTick(): void {
    if (this.#pause.onTick()) this.#watch.onPause()
    if (this.#state === 'leaving') return this.#leaveInTime()
    if (this.#state === 'disputing') return this.#awaitVerdict()
    // It may never catch up, and the primary may have gone on without it.
    if (this.#state === 'sealed' && this.#appointed === undefined) this.#parts.dialog.poll()
    if (this.#state !== 'following') return
    this.#link.onTick()
    const suspicion = this.#watch.suspicion()
    if (suspicion !== undefined) return this.#seal(suspicion)
    this.#beat()
  }

  onOpened(channel: number): void {
    if (this.#link.owns(channel)) this.#link.onOpened()
  }

  onClosed(channel: number, isRefused: boolean): void {
    if (!this.#link.owns(channel)) return
    if (this.#state === 'disputing' && this.#parts.context.has('live after a divergence')) {
      return this.#onYield('planted')
    }
    if (this.#state === 'leaving' || this.#state === 'disputing') {
      return this.#parts.context.halt('this copy has left')
    }
    this.#link.onClosed()
    // No process listens there: it is not slow, it is gone.
    if (isRefused && this.#state === 'following') this.#seal('its process is gone')
  }

  onMessage(channel: number, message: Message): void {
    if (!this.#link.owns(channel)) return
    if (message.kind === 'hello') return this.#onHello(message)
    if (this.#state === 'disputing') return this.#onVerdict(message)
    if (this.#state !== 'following' && !this.#parts.context.has('acknowledgement after the seal')) return
    switch (message.kind) {
      case 'batch':
        this.#watch.onHeard()
        return this.#onBatch(message.bytes)
      case 'heartbeat':
        this.#watch.onHeard()
        return this.#watch.onHeartbeat(message)
      case 'configured':
        if (message.epoch > this.#configuration.epoch) return this.#parts.dialog.read()
        // The primary knows it only now, and has ignored what was acknowledged in it before.
        return this.#acknowledge()
      case 'yield':
        return this.#onYield(message.reason)
      // No sign of life for this copy: whoever only refuses may be unable to drop it.
      case 'refused':
        // It is asked many times a second.
        if (message.reason !== this.#refusal)
          this.#parts.context.tell(`the primary refuses this copy: ${message.reason}`)
        this.#refusal = message.reason
        this.#parts.dialog.poll()
        return this.#link.close()
    }
  }

  onOutcome(outcome: Outcome): void {
    const { current } = outcome
    if (outcome.kind === 'won') return this.#goLive(outcome.current)
    if (current === undefined || current.epoch <= this.#configuration.epoch) {
      // Only a planted bug can lose without a successor.
      if (outcome.kind === 'lost') this.#parts.context.halt('the claim was lost')
      return
    }
    // The machine has ended in order, with this copy: nothing is left to start again.
    if (current.phase === 'stopped') return this.#parts.context.halt('stopped')
    if (partOf(this.#parts.context, current) !== 'primary') {
      return this.#parts.context.halt(`replaced: configuration ${current.epoch} (${current.change})`)
    }
    this.#appointed = current
    if (this.#state === 'claiming') this.#goLive(current)
    else if (this.#state === 'following') this.#seal('it has handed over')
  }

  onMachine(input: Input): void {
    switch (input.kind) {
      case 'executed':
        this.#log.onExecuted(input.frontier, input.outputs)
        if (this.#state === 'following') this.#acknowledge()
        return this.#claimIfCaughtUp()
      case 'diverged':
        // It was said before the machine heard that digests are to be disregarded, and has gone on since.
        if (this.#hasYielded && input.evidence) return
        this.#parts.context.tell(`this copy diverged: ${input.report}`)
        return this.#leave(input, input.evidence ? 'disputing' : 'leaving')
      case 'convicted':
        this.#parts.context.tell(`this copy is convicted: ${input.report}`)
        return this.#leave({ kind: 'yield', reason: `memory changed by itself: ${input.report}` })
      case 'diskFailed':
        // Whoever has sealed is the only one left: it waits for its disk, and claims nothing before it has caught up.
        if (this.#state !== 'following') return
        return this.#leave({ kind: 'yield', reason: `disk failed: ${input.reason}` })
    }
  }

  onOperator(command: OperatorCommand): void {
    this.#parts.context.tell(`${command}: ask the primary, ${this.#configuration.primary.host}`)
  }

  checkInvariants(): void {
    this.#log.checkInvariants()
    if (this.#state === 'claiming') assert(this.#log.isCaughtUp, 'a claim before the last record')
  }

  #onHello(message: Message & { kind: 'hello' }): void {
    if (!this.#link.onHello(message)) return
    // A new process at the primary's host: the old one is gone, with the memory that mattered.
    if (message.incarnation !== this.#configuration.primary.incarnation) {
      if (this.#state === 'following') this.#seal('its process has been replaced')
      return
    }
    const { epoch } = this.#configuration
    this.#parts.context.send(this.#link.channel, {
      kind: 'follow',
      epoch,
      nextIndex: this.#log.received.nextIndex,
    })
    // Behind the message that makes it count, which an urgent one could overtake.
    this.#acknowledge(false)
  }

  #onBatch(bytes: Uint8Array): void {
    try {
      this.#log.onBatch(bytes)
    } catch (error) {
      if (!(error instanceof FormatError)) throw error
      this.#parts.context.tell(error.message)
      return this.#link.close()
    }
    this.#acknowledge()
  }

  #acknowledge(isUrgent = true): void {
    if (!this.#link.isUp) return
    const { context } = this.#parts
    const ack = {
      kind: 'ack',
      epoch: this.#configuration.epoch,
      incarnation: context.options.incarnation,
      received: this.#log.received.nextIndex,
      executed: this.#log.executed.nextIndex,
    } as const
    context.send(this.#link.channel, ack, isUrgent)
  }

  #beat(): void {
    const { context } = this.#parts
    if (!this.#link.isUp || context.nowMs - this.#beatMs < context.settings.heartbeatMs) return
    this.#beatMs = context.nowMs
    const { position } = this.#log.executed
    const heartbeat = {
      kind: 'heartbeat',
      state: this.#log.isCaughtUp ? 'idle' : 'running',
      position,
    } as const
    context.send(this.#link.channel, heartbeat, true)
  }

  /** Either copy may be to blame: the primary reads its memory again, and yields or closes the channel. */
  #awaitVerdict(): void {
    const suspicion = this.#watch.suspicion()
    if (suspicion === undefined) return this.#beat()
    this.#parts.context.halt(`this copy diverged, and the primary is ${suspicion}`)
  }

  #onVerdict(message: Message): void {
    if (message.kind === 'yield') return this.#onYield(message.reason)
    if (message.kind === 'configured' && message.epoch > this.#configuration.epoch) {
      return this.#parts.dialog.read()
    }
    this.#watch.onHeard()
    if (message.kind === 'heartbeat') this.#watch.onHeartbeat(message)
  }

  /** The primary is convicted: what its digests say is worth nothing, whether this copy has got to them or not. */
  #onYield(reason: string): void {
    this.#hasYielded = true
    this.#parts.context.emit({ kind: 'disregardDigests' })
    this.#seal(`it yields: ${reason}`)
  }

  #seal(reason: string): void {
    this.#parts.context.tell(
      `the primary at ${this.#configuration.primary.host} is taken for dead: ${reason}`,
    )
    this.#state = 'sealed'
    if (!this.#parts.context.has('acknowledgement after the seal')) this.#link.close()
    this.#claimIfCaughtUp()
  }

  #claimIfCaughtUp(): void {
    const { context, dialog } = this.#parts
    if (this.#state !== 'sealed') return
    if (!this.#log.isCaughtUp && !context.has('live before the last record')) return
    if (this.#appointed !== undefined) return this.#goLive(this.#appointed)
    const next = follow(this.#configuration, 'go live', {
      primary: this.#configuration.backup!,
      backup: undefined,
    })
    if (context.has('backup goes live without a change')) return this.#goLive(next)
    this.#state = 'claiming'
    dialog.propose(this.#configuration, next)
  }

  #goLive(configuration: Configuration): void {
    const { context } = this.#parts
    const { life } = this.#log
    const frontier = this.#log.executed
    if (context.has('re-emission with other bytes')) this.#log.gate.corrupt()
    context.emit({ kind: 'takeOver', life, frontier })
    this.#parts.become(new Primary(this.#parts, configuration, frontier, this.#log.gate))
  }

  /** Tells the primary why this copy goes, and waits until it has heard, or has found itself to blame. */
  #leave(message: Message, state: 'leaving' | 'disputing' = 'leaving'): void {
    const { context } = this.#parts
    if (this.#state === 'leaving') return
    if (!this.#link.isUp) return context.halt('this copy cannot go on, and the primary is not there')
    context.send(this.#link.channel, message, true)
    this.#state = state
    this.#leavingMs = context.nowMs
  }

  #leaveInTime(): void {
    const { context } = this.#parts
    if (context.nowMs - this.#leavingMs >= context.settings.suspicionMs) context.halt('this copy has left')
  }
}

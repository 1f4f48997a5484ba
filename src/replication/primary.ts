/**
 * The primary: its machine runs, every event is logged, and outputs leave by the output rule.
 *
 *     alone --a copy joins (follower.ts)--> adding --won--> protected
 *     protected --backup lost, too slow, diverged--> dropping --won--> alone
 *     protected --operator--> handing over: machine stopped --executed there--> change --won--> halted
 *     any --operator, guest off--> stopping: machine stopped --outputs gone--> change --won--> halted
 *     any change lost, or another configuration found --> halted
 *
 * The gate is *shut* while a change is undecided, and after a pause until the arbiter has been read.
 *
 * Invariants: an output leaves only if its record is before the follower's limit, where there is one; while the
 * configuration names a backup there is a follower or a change under way; at most one change is undecided
 * (P10, P21 to P23, P37).
 */
import { assert } from '../base/assert.ts'
import type { Outcome } from './arbiter_dialog.ts'
import { type ChangeKind, type Configuration, follow, isSameConfiguration } from './configuration.ts'
import { Ending, type EndingKind } from './ending.ts'
import { Follower } from './follower.ts'
import { JoinPacing } from './join_pacing.ts'
import { Lag } from './lag.ts'
import { LogUpkeep } from './log_upkeep.ts'
import type { Ack, Follow, Join, Message } from './message.ts'
import type { OutputGate } from './output_gate.ts'
import { OutputLink } from './output_link.ts'
import { PauseWatch } from './peer_watch.ts'
import type { Frontier, Input, OperatorCommand } from './ports.ts'
import type { Protection, ProtectionReason } from './protection.ts'
import type { Peer, Role, RoleParts } from './role.ts'

export class Primary implements Role {
  readonly name = 'primary'
  readonly #parts: RoleParts
  readonly #out: OutputLink
  readonly #pause: PauseWatch
  readonly #lag: Lag
  readonly #upkeep: LogUpkeep
  readonly #ending: Ending
  #configuration: Configuration
  #frontier: Frontier
  #follower: Follower | undefined
  /** After a pause, until the arbiter has said that nothing has changed. */
  #isChecking = false
  /** The change that is undecided. */
  #change: ChangeKind | undefined
  /** The machine holds requests that its disk has failed. */
  #isDiskFailing = false
  #reason: ProtectionReason = 'need backup'
  /** The copy that was lost last differed, and nobody has been convicted. */
  #isUnexplained = false
  #joins = 0
  readonly #pacing: JoinPacing
  #state: 'running' | 'idle' | 'stopped' = 'running'
  #position: bigint
  #beatMs = 0

  /** Takes over, alone, at `frontier`; `gate` holds what has been put out and is not known to have left. */
  constructor(parts: RoleParts, configuration: Configuration, frontier: Frontier, gate: OutputGate) {
    this.#parts = parts
    this.#configuration = configuration
    this.#frontier = frontier
    this.#position = frontier.position
    this.#out = new OutputLink(parts.context, gate)
    this.#pause = new PauseWatch(parts.context)
    this.#lag = new Lag(parts.context)
    this.#pacing = new JoinPacing(parts.context)
    this.#upkeep = new LogUpkeep(parts.context)
    this.#ending = new Ending(parts.context)
    const { epoch, life } = configuration
    parts.context.emit({ kind: 'attach', epoch, life })
  }

  get configuration(): Configuration {
    return this.#configuration
  }

  get follower(): Follower | undefined {
    return this.#follower
  }

  protection(): Protection {
    const ending = this.#ending.kind
    if (ending !== undefined) {
      return { state: 'not protected', reason: ending === 'stop' ? 'stopping' : 'handing over' }
    }
    const isAsking = this.#change !== undefined || this.#isChecking
    if (isAsking && !this.#parts.dialog.isReachable) {
      return { state: 'not protected', reason: 'arbiter unreachable' }
    }
    if (this.#isChecking) return { state: 'not protected', reason: 'paused' }
    if (this.#follower?.isDisputing) return { state: 'not protected', reason: 'backup diverged' }
    if (this.#follower?.isBackup && this.#change === undefined) return { state: 'protected' }
    if (this.#follower !== undefined) return { state: 'not protected', reason: 'backup joining' }
    return this.#pacing.protection(this.#reason)
  }

  onTick(): void {
    const { context, dialog } = this.#parts
    if (this.#pause.onTick()) {
      this.#follower?.watch.onPause()
      if (this.#configuration.backup !== undefined && !dialog.isProposing) {
        this.#isChecking = true
        dialog.read()
      }
    }
    const complaint = this.#follower?.complaint()
    if (complaint !== undefined) this.#loseFollower(complaint, 'backup lost')
    if (context.halted !== undefined) return
    this.#advanceJoin()
    this.#beat()
    const isEnding = this.#ending.kind !== undefined
    if (this.#follower !== undefined && !isEnding) this.#upkeep.onTick(this.#out.gate.left)
    this.#advanceEnding()
    this.#lag.adjust(this.#follower, this.#out.gate.bytes, isEnding)
  }

  onOpened(): void {
    // It dials nobody; what an earlier role dialled has been closed, maybe while it was opening.
  }

  onClosed(channel: number): void {
    // The copy will dial again, unless it is gone: silence decides.
    if (this.#follower?.channel === channel) this.#follower.channel = undefined
  }

  onMessage(channel: number, message: Message, peer: Peer | undefined): void {
    const follower = this.#follower
    if (message.kind === 'join' && peer !== undefined) return this.#onJoin(channel, message, peer)
    if (message.kind === 'follow' && peer !== undefined) return this.#onFollow(channel, message, peer)
    if (follower === undefined || follower.channel !== channel) return
    follower.watch.onHeard()
    switch (message.kind) {
      case 'ack':
        return this.#onAck(follower, message)
      case 'heartbeat':
        return follower.watch.onHeartbeat(message)
      case 'chunkAck':
        if (message.join === follower.join) follower.onChunkAck(message.next)
        return
      case 'installed':
        if (message.join === follower.join) follower.onInstalled()
        return
      case 'diverged':
        return follower.onDiverged(message)
      case 'yield':
        follower.onYield()
        return this.#loseFollower(`it yields: ${message.reason}`, 'backup lost')
    }
  }

  onOutcome(outcome: Outcome): void {
    const { context } = this.#parts
    const change = this.#change
    this.#isChecking = false
    if (outcome.kind === 'won') {
      this.#change = undefined
      return this.#onWon(change!, outcome.current)
    }
    const { current } = outcome
    if (context.has('release after a lost change') && outcome.kind === 'lost') {
      this.#change = undefined
      return this.#flushGate()
    }
    if (current === undefined || !isSameConfiguration(current, this.#configuration)) {
      return context.halt(`deposed: configuration ${current?.epoch ?? 0} (${current?.change ?? 'none'})`)
    }
    if (outcome.kind === 'lost') this.#change = undefined
    this.#follower?.onArbiter()
    this.#flushGate()
    this.#advanceJoin()
  }

  onMachine(input: Input): void {
    switch (input.kind) {
      case 'appended':
        return this.#onAppended(input)
      case 'progress':
        this.#state = input.state
        this.#position = input.position
        if (input.state !== 'stopped') this.#follower?.onMachineRuns()
        return
      case 'snapshotTaken':
        return this.#onSnapshot(input.join, input.frontier)
      case 'chunkRead':
        if (input.join === this.#follower?.join) {
          this.#follower.onChunkRead(input.number, input.isLast, input.bytes)
        }
        return
      case 'linkUp':
        this.#out.onUp(input.left)
        return this.#flushGate()
      case 'left':
        return this.#out.onLeft([input])
      case 'stopped':
        this.#ending.onStopped()
        return this.#advanceEnding()
      case 'poweredOff':
        this.#ending.onPoweredOff()
        this.#loseJoiner('the guest has powered off')
        return this.#advanceEnding()
      case 'diskFailed':
        return this.#onDiskFailed(input.reason)
      case 'sound':
        // Its memory has been read again: nobody is convicted.
        if (this.#follower?.isDisputing) this.#loseFollower('it diverged', 'backup diverged')
        return
      case 'convicted':
        return this.#onConvicted(input.report)
    }
  }

  onOperator(command: OperatorCommand): void {
    const { context } = this.#parts
    if (command === 'force') return
    if (this.#ending.kind !== undefined || this.#change !== undefined)
      return context.tell('a change is under way')
    if (command === 'failOver' && !this.#follower?.isBackup) {
      return context.tell('there is no backup to hand over to')
    }
    this.#end(command)
  }

  checkInvariants(): void {
    this.#out.gate.checkInvariants()
    this.#follower?.checkInvariants()
    const isNamed = this.#configuration.backup !== undefined
    assert(
      !isNamed || this.#follower?.isBackup || this.#change !== undefined,
      'a backup that nobody looks after',
    )
    assert(isNamed || !this.#follower?.isBackup, 'a follower passes for the backup')
  }

  #onAppended(input: Input & { kind: 'appended' }): void {
    const { firstIndex, frontier, outputs, bytes, digestIndex } = input
    assert(
      firstIndex === this.#frontier.nextIndex,
      `appended ${firstIndex} after ${this.#frontier.nextIndex}`,
    )
    this.#frontier = frontier
    for (const output of outputs) this.#out.gate.add(output)
    this.#follower?.onAppended(bytes, firstIndex, frontier.nextIndex, digestIndex)
    this.#flushGate()
  }

  #onAck(follower: Follower, ack: Ack): void {
    if (ack.epoch !== this.#configuration.epoch || ack.incarnation !== follower.member.incarnation) return
    if (!follower.onAck(ack)) {
      return this.#loseFollower(`it acknowledges ${ack.received}, which it cannot have`, 'backup lost')
    }
    this.#flushGate()
    this.#advanceJoin()
    this.#advanceEnding()
  }

  /** Releases what may leave. */
  #flushGate(): void {
    const { context } = this.#parts
    const isOpen = this.#change === 'add' && context.has('gate opened before the change')
    if ((this.#change !== undefined && !isOpen) || this.#isChecking) return
    const everything = this.#frontier.nextIndex
    const isGated = this.#follower?.gateFrom !== undefined && !isOpen && !context.has('early release')
    this.#out.release(isGated ? this.#follower!.limit! : everything)
  }

  // Joining

  #onJoin(channel: number, join: Join, peer: Peer): void {
    const { context } = this.#parts
    if (join.member.host !== peer.host || join.member.incarnation !== peer.incarnation) {
      return this.#refuse(channel, 'you said hello under another name')
    }
    const follower = this.#follower
    if (follower?.member.incarnation === peer.incarnation) return this.#resumeJoin(channel, follower, join)
    // A new process at the backup's host: the old one is gone, and this one waits until that is settled.
    if (follower !== undefined && follower.member.host === peer.host) {
      this.#loseFollower('its process has been replaced', 'backup lost')
    }
    const isFree = this.#configuration.backup === undefined && this.#follower === undefined
    const isSettled = this.#change === undefined && this.#ending.kind === undefined
    if (!isFree || !isSettled || !this.#pacing.mayJoin) {
      return this.#refuse(channel, 'there is a backup, a change is under way, or a copy was just lost')
    }
    // What it has stored is of a join that was given up, and its acknowledgements are of that one's log. Told of another
    // join it ends, and a new process asks; to take its state first would stop the machine for nothing.
    if (join.resume !== undefined) return this.#sendStart(channel, ++this.#joins, this.#frontier, false)
    this.#follower = new Follower(context, join.member, ++this.#joins, channel)
    context.emit({ kind: 'snapshot', join: this.#joins, baseGeneration: join.baseGeneration })
  }

  /** A copy whose channel broke while it joined, or before it knew that it had become the backup. */
  #resumeJoin(channel: number, follower: Follower, { resume }: Join): void {
    const { start } = follower
    if (resume === undefined || resume.join !== follower.join || start === undefined) {
      this.#refuse(channel, 'this join is not known')
      return this.#loseFollower('its join broke off', 'backup lost')
    }
    this.#sendStart(channel, follower.join, start, false)
    this.#resume(channel, follower, resume.nextIndex, resume)
  }

  #onFollow(channel: number, { epoch, nextIndex }: Follow, peer: Peer): void {
    const follower = this.#follower
    const isBackup = follower?.isBackup && follower.member.incarnation === peer.incarnation
    if (isBackup && epoch === this.#configuration.epoch)
      return this.#resume(channel, follower, nextIndex, undefined)
    this.#refuse(channel, `not the backup of configuration ${this.#configuration.epoch}`)
  }

  #resume(channel: number, follower: Follower, nextIndex: bigint, join: Join['resume']): void {
    const { context } = this.#parts
    if (follower.channel !== undefined && follower.channel !== channel) {
      context.emit({ kind: 'close', channel: follower.channel })
    }
    if (!follower.resume(channel, nextIndex, join)) {
      this.#refuse(channel, `neither log nor state reach back to record ${nextIndex}`)
      return this.#loseFollower('it asks for what is gone', 'backup lost')
    }
    if (follower.isBackup) follower.sayConfigured(this.#configuration.epoch)
  }

  #refuse(channel: number, reason: string): void {
    this.#parts.context.send(channel, { kind: 'refused', reason })
    this.#parts.context.emit({ kind: 'close', channel })
    if (this.#follower?.channel === channel) this.#follower.channel = undefined
  }

  #onSnapshot(join: number, frontier: Frontier): void {
    const follower = this.#follower
    if (follower?.join !== join) return
    assert(frontier.nextIndex === this.#frontier.nextIndex, 'the snapshot is not at the end of the log')
    follower.onSnapshot(frontier)
    if (follower.channel === undefined) return this.#loseFollower('its channel broke', 'need backup')
    this.#sendStart(follower.channel, join, follower.start!, true)
  }

  #sendStart(channel: number, join: number, start: Frontier, isFirst: boolean): void {
    const { context } = this.#parts
    const { epoch, life } = this.#configuration
    const pending = isFirst ? this.#out.gate.pending : []
    for (const output of pending) context.send(channel, { kind: 'pendingOutput', join, ...output })
    context.send(channel, { kind: 'joinStart', join, epoch, life, ...start, released: this.#out.gate.left })
  }

  #advanceJoin(): void {
    const follower = this.#follower
    if (follower === undefined || follower.isBackup || follower.isDisputing) return
    if (this.#change !== undefined) return
    follower.advance(this.#frontier)
    if (follower.state !== 'ready') return
    const { context, dialog } = this.#parts
    // A proposal shuts the gate: none is made to an arbiter that is away.
    if (follower.arbiter !== 'answered') {
      if (follower.arbiter === 'not asked') dialog.read()
      follower.arbiter = 'asked'
      return
    }
    const next = follow(this.#configuration, 'add', {
      primary: this.#configuration.primary,
      backup: follower.member,
    })
    if (context.has('replacement without a change')) return this.#onWon('add', next)
    follower.state = 'adding'
    this.#propose(next)
  }

  // Losing the backup, and other changes

  /** The follower is taken for dead: a joining one is forgotten, a backup is dropped by a change. */
  #loseFollower(why: string, reason: ProtectionReason): void {
    const { context } = this.#parts
    const follower = this.#follower
    if (follower === undefined) return
    context.tell(`the copy at ${follower.member.host} is given up: ${why}`)
    if (follower.channel !== undefined) context.emit({ kind: 'close', channel: follower.channel })
    this.#follower = undefined
    this.#reason = follower.isDisputing ? 'backup diverged' : reason
    this.#isUnexplained = follower.isDisputing
    this.#pacing.onLost(follower, why)
    if (follower.state === 'snapshot' || follower.state === 'transfer') {
      context.emit({ kind: 'dropSnapshot', join: follower.join })
    }
    if (this.#change !== undefined && context.has('abandoned change')) {
      this.#parts.dialog.abandon()
      this.#change = undefined
    }
    if (this.#change === undefined) this.#settleLoss()
  }

  /** A copy that is not the backup yet is given up; a backup stays. */
  #loseJoiner(why: string): void {
    if (this.#follower !== undefined && !this.#follower.isBackup) this.#loseFollower(why, 'need backup')
  }

  /** Makes the configuration say what is so: that there is no backup any more. */
  #settleLoss(): void {
    if (this.#configuration.backup === undefined) return this.#flushGate()
    this.#resumeMachine()
    const { primary } = this.#configuration
    const isEnd = this.#isUnexplained && this.#parts.context.settings.onDivergence === 'stop'
    const next = follow(this.#configuration, isEnd ? 'stop' : 'drop', { primary, backup: undefined })
    if (this.#parts.context.has('primary drops the backup without a change')) return this.#onWon('drop', next)
    this.#propose(next)
  }

  #propose(next: Configuration): void {
    this.#change = next.change
    this.#parts.dialog.propose(this.#configuration, next)
  }

  #onWon(change: ChangeKind, configuration: Configuration): void {
    const { context } = this.#parts
    const follower = this.#follower
    this.#configuration = configuration
    if (change === 'hand over' || change === 'stop') {
      follower?.sayConfigured(configuration.epoch)
      return context.halt(change === 'stop' ? 'stopped' : 'handed over')
    }
    if (change === 'add' && follower !== undefined) {
      follower.onBackup()
      follower.sayConfigured(configuration.epoch)
    }
    // What was lost while the change was undecided is settled now.
    if (change === 'add' && follower === undefined) return this.#settleLoss()
    this.#flushGate()
    this.#settleDisk()
    this.#advanceEnding()
  }

  // Ends in order

  #end(ending: EndingKind): void {
    this.#ending.begin(ending)
    this.#loseJoiner('the end')
  }

  /** A hand-over whose backup is lost does not take place: the machine goes on here. */
  #resumeMachine(): void {
    if (this.#ending.cancelFailOver()) this.#lag.resume()
  }

  #advanceEnding(): void {
    if (!this.#ending.isMachineStopped || this.#change !== undefined || this.#isChecking) return
    const { primary, backup } = this.#configuration
    const isFollowed = this.#follower?.isBackup ?? false
    const isExecuted = !isFollowed || this.#follower!.executed === this.#frontier.nextIndex
    if (!isExecuted || (backup !== undefined && !isFollowed)) return
    if (this.#ending.kind === 'failOver') {
      if (isFollowed)
        this.#propose(follow(this.#configuration, 'hand over', { primary: backup!, backup: undefined }))
      return
    }
    if (!this.#out.gate.isEmpty && !this.#ending.isOverdue) return
    // The backup's disk is as good as the primary's: the machine may start from either.
    this.#propose(follow(this.#configuration, 'stop', { primary, backup }))
  }

  #onDiskFailed(reason: string): void {
    this.#parts.context.tell(`the disk failed: ${reason}`)
    this.#isDiskFailing = true
    this.#settleDisk()
  }

  /** A request that failed waits while the machine is handed over; where nobody can take it, the guest hears of it. */
  #settleDisk(): void {
    if (!this.#isDiskFailing || this.#change !== undefined) return
    this.#loseJoiner('the disk it is copied from failed')
    if (this.#follower?.isBackup && this.#ending.kind === undefined) this.#end('failOver')
    if (this.#configuration.backup !== undefined) return
    this.#isDiskFailing = false
    this.#parts.context.emit({ kind: 'failRequests' })
  }

  #onConvicted(report: string): void {
    const { context } = this.#parts
    const { channel, state } = this.#follower ?? {}
    // A copy that is being added may know already that it has been.
    if (channel !== undefined && (state === 'backup' || state === 'adding'))
      context.send(channel, { kind: 'yield', reason: report }, true)
    context.halt(`memory changed by itself: ${report}`)
  }

  // What time brings

  #beat(): void {
    const { context } = this.#parts
    const channel = this.#follower?.channel
    if (channel === undefined || context.nowMs - this.#beatMs < context.settings.heartbeatMs) return
    this.#beatMs = context.nowMs
    // What is held back from here is not stuck: nobody else would get it any further.
    const state = this.#lag.isStandingStill ? 'stopped' : this.#state
    context.send(channel, { kind: 'heartbeat', state, position: this.#position }, true)
  }
}

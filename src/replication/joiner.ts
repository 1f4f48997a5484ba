/**
 * A new copy on its way to becoming the backup: state transfer, with the log running beside it.
 *
 *     asking --joinStart--> receiving --last chunk--> installing --installed--> catching up --the arbiter names
 *       ^                       |                                                 it as the backup--> (backup)
 *       '--channel broke: ask again, from the chunk and the record that are next--'
 *
 * Invariants: it never proposes anything; chunks are stored in order, each once; records go to the machine only after
 * it has been installed. It learns that it is the backup from the arbiter alone, which it asks when the primary says so
 * and whenever the primary cannot be reached (P46, P47).
 */
import { assert } from '../base/assert.ts'
import { FormatError } from '../base/errors.ts'
import type { Outcome } from './arbiter_dialog.ts'
import { Backup } from './backup.ts'
import type { Configuration } from './configuration.ts'
import { partOf } from './context.ts'
import type { ChunkMessage, JoinStart, Message, PendingOutputMessage } from './message.ts'
import { PeerLink } from './peer_link.ts'
import { PauseWatch, PeerWatch } from './peer_watch.ts'
import type { Input, OperatorCommand } from './ports.ts'
import type { Protection } from './protection.ts'
import { ReceivedLog } from './received_log.ts'
import type { Role, RoleParts } from './role.ts'
import { Starting } from './starting.ts'

interface Transfer {
  readonly start: JoinStart
  readonly log: ReceivedLog
  nextChunk: number
  state: 'receiving' | 'installing' | 'installed'
}

export class Joiner implements Role {
  readonly name = 'joining'
  readonly #parts: RoleParts
  readonly #configuration: Configuration
  readonly #link: PeerLink
  readonly #watch: PeerWatch
  readonly #pause: PauseWatch
  #transfer: Transfer | undefined
  /** Outputs that came before their `joinStart`, over the present channel. */
  #pending: PendingOutputMessage[] = []
  #beatMs = 0

  constructor(parts: RoleParts, configuration: Configuration) {
    this.#parts = parts
    this.#configuration = configuration
    this.#link = new PeerLink(parts.context, configuration.primary.host)
    this.#watch = new PeerWatch(parts.context)
    this.#pause = new PauseWatch(parts.context)
  }

  protection(): Protection {
    return { state: 'not protected', reason: 'backup joining' }
  }

  onTick(): void {
    if (this.#pause.onTick()) this.#watch.onPause()
    if (this.#isWanted) this.#link.onTick()
    if (this.#link.isUp && this.#watch.suspicion() !== undefined) this.#link.close()
    if (!this.#link.isUp) this.#parts.dialog.poll()
    else this.#beat()
  }

  onOpened(channel: number): void {
    if (!this.#link.owns(channel)) return
    this.#watch.reset()
    this.#link.onOpened()
  }

  onClosed(channel: number): void {
    if (this.#link.owns(channel)) this.#link.onClosed()
  }

  onMessage(channel: number, message: Message): void {
    if (!this.#link.owns(channel)) return
    this.#watch.onHeard()
    switch (message.kind) {
      case 'hello':
        return this.#ask(message)
      case 'joinStart':
        return this.#onStart(message)
      case 'pendingOutput':
        this.#pending.push(message)
        return
      case 'chunk':
        return this.#onChunk(message)
      case 'batch':
        return this.#onBatch(message.bytes)
      case 'heartbeat':
        return this.#watch.onHeartbeat(message)
      case 'configured':
        return this.#parts.dialog.read()
      case 'refused':
      case 'yield':
        return this.#link.close()
    }
  }

  onOutcome({ current }: Outcome): void {
    const { context } = this.#parts
    if (current === undefined || current.epoch <= this.#epoch) return
    const transfer = this.#transfer
    if (transfer?.state === 'installed' && partOf(context, current) === 'backup') {
      transfer.log.gate.checkInvariants()
      return this.#parts.become(new Backup(this.#parts, current, transfer.log, this.#link))
    }
    if (transfer !== undefined && current.phase === 'stopped') return context.halt('stopped')
    // The disk is half written by now: only a new process with a new generation may try again.
    if (transfer !== undefined) {
      return context.halt(
        `configuration ${current.epoch} (${current.change}) came before this copy was complete`,
      )
    }
    this.#link.close()
    const starting = new Starting(this.#parts)
    this.#parts.become(starting)
    starting.onOutcome({ kind: 'current', current })
  }

  onMachine(input: Input): void {
    const { context } = this.#parts
    const transfer = this.#transfer
    switch (input.kind) {
      case 'installed':
        return this.#onInstalled(input.join)
      case 'executed':
        assert(transfer?.state === 'installed', 'executed before the machine was installed')
        transfer.log.onExecuted(input.frontier, input.outputs)
        return this.#acknowledge()
      case 'diverged':
        if (this.#link.isUp) context.send(this.#link.channel, input, true)
        return context.halt(`this copy diverged: ${input.report}`)
      case 'convicted':
        return context.halt(`memory changed by itself: ${input.report}`)
      case 'diskFailed':
        return this.#giveUp(`the disk failed while joining: ${input.reason}`)
    }
  }

  onOperator(command: OperatorCommand): void {
    if (command !== 'force' || this.#transfer !== undefined) {
      return this.#parts.context.tell('this copy is still joining')
    }
    // Both copies may be lost, with nobody there to join: then the disk may be the recorded backup's.
    this.#link.close()
    this.#parts.become(new Starting(this.#parts, true))
  }

  checkInvariants(): void {
    this.#transfer?.log.checkInvariants()
  }

  /**
   * While another host's copy is the backup there is no place: then only the arbiter is asked, now and then. A backup
   * of this host's is an earlier process, and the primary has to hear that it is gone.
   */
  get #isWanted(): boolean {
    const { backup } = this.#configuration
    return backup === undefined || backup.host === this.#parts.context.options.host
  }

  /** The configuration in which it joins: the primary may be further than what the arbiter said when it was asked. */
  get #epoch(): number {
    return Math.max(this.#configuration.epoch, this.#transfer?.start.epoch ?? 0)
  }

  #ask(hello: Message & { kind: 'hello' }): void {
    if (!this.#link.onHello(hello)) return
    const { context } = this.#parts
    // Whoever has taken the primary's place there numbers its joins anew, and what has been stored is not of its state.
    if (hello.incarnation !== this.#configuration.primary.incarnation) return this.#link.close()
    this.#pending = []
    const transfer = this.#transfer
    context.send(this.#link.channel, {
      kind: 'join',
      member: context.identity('joined'),
      baseGeneration: context.options.diskGeneration,
      resume: transfer && {
        join: transfer.start.join,
        nextChunk: transfer.nextChunk,
        nextIndex: transfer.log.received.nextIndex,
      },
    })
  }

  #onStart(start: JoinStart): void {
    const { context } = this.#parts
    if (this.#transfer !== undefined) {
      if (start.join === this.#transfer.start.join) return this.#sayInstalled()
      // The primary does not know this join any more: what has been stored is of no use, and the disk is not whole.
      return context.halt('the primary has begun another join')
    }
    const { life, nextIndex, position } = start
    const log = new ReceivedLog(context, life, { nextIndex, position }, false)
    for (const { port, ordinal } of start.released) log.gate.onLeft(port, ordinal)
    for (const output of this.#pending) {
      if (output.join !== start.join || output.index >= nextIndex || !log.gate.accepts(output)) {
        context.tell('the primary sends outputs that do not belong to its state')
        return this.#link.close()
      }
      log.gate.add(output)
    }
    this.#pending = []
    this.#transfer = { start, log, nextChunk: 0, state: 'receiving' }
  }

  #onChunk({ join, number, isLast, bytes }: ChunkMessage): void {
    const transfer = this.#transfer
    const { context } = this.#parts
    if (join !== transfer?.start.join || transfer.state !== 'receiving' || number !== transfer.nextChunk)
      return
    context.emit({ kind: 'storeChunk', join, number, isLast, bytes })
    transfer.nextChunk++
    context.send(this.#link.channel, { kind: 'chunkAck', join, next: transfer.nextChunk })
    if (!isLast) return
    transfer.state = 'installing'
    const { life, nextIndex, position } = transfer.start
    context.emit({ kind: 'install', join, life, frontier: { nextIndex, position } })
  }

  #onInstalled(join: number): void {
    const transfer = this.#transfer
    assert(transfer?.state === 'installing' && transfer.start.join === join, 'installed, but not asked for')
    transfer.state = 'installed'
    transfer.log.onMachine()
    this.#sayInstalled()
  }

  #sayInstalled(): void {
    const transfer = this.#transfer
    if (transfer?.state !== 'installed' || !this.#link.isUp) return
    this.#parts.context.send(this.#link.channel, { kind: 'installed', join: transfer.start.join })
    this.#acknowledge()
  }

  #onBatch(bytes: Uint8Array): void {
    if (this.#transfer === undefined) return
    try {
      this.#transfer.log.onBatch(bytes)
    } catch (error) {
      if (!(error instanceof FormatError)) throw error
      this.#parts.context.tell(error.message)
      return this.#link.close()
    }
    this.#acknowledge()
  }

  /** Ends, and has the primary know why: it tells people, and waits before it stops its machine for another copy. */
  #giveUp(reason: string): void {
    const { context } = this.#parts
    if (this.#link.isUp) context.send(this.#link.channel, { kind: 'yield', reason }, true)
    context.halt(reason)
  }

  #acknowledge(): void {
    const transfer = this.#transfer
    if (transfer === undefined || !this.#link.isUp) return
    // Unacknowledged, the log soon outruns this copy, and the primary gives it up before it fills its memory.
    if (transfer.log.waitingBytes > this.#parts.context.settings.boundBytes) return
    const ack = {
      kind: 'ack',
      epoch: this.#epoch,
      incarnation: this.#parts.context.options.incarnation,
      received: transfer.log.received.nextIndex,
      executed: transfer.log.executed.nextIndex,
    } as const
    this.#parts.context.send(this.#link.channel, ack, true)
  }

  #beat(): void {
    const { context } = this.#parts
    if (context.nowMs - this.#beatMs < context.settings.heartbeatMs) return
    this.#beatMs = context.nowMs
    const position = this.#transfer?.log.executed.position ?? 0n
    // Until there is a machine it does nothing, and that is no stall.
    const state = this.#transfer?.state === 'installed' && !this.#transfer.log.isCaughtUp ? 'running' : 'idle'
    context.send(this.#link.channel, { kind: 'heartbeat', state, position }, true)
  }
}

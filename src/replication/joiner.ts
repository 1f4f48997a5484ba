/**
 * A new copy on its way to becoming the backup: state transfer, with the log running beside it.
 *
 *     asking --joinStart--> receiving --last chunk--> installing --installed--> catching up --the arbiter names
 *       ^                       |                                                 it as the backup--> (backup)
 *       '--channel broke: ask again, from the chunk and the record that are next--'
 *
 * Invariants: it never proposes anything; chunks are stored in order, each once; records go to the machine only after
 * it has been installed. It learns that it is the backup from the arbiter alone, which it asks when the primary says so
 * and whenever the primary cannot be reached.
 */
import { assert } from '../base/assert.ts'
import { FormatError } from '../base/errors.ts'
import type { Outcome } from './arbiter_dialog.ts'
import { Backup } from './backup.ts'
import type { Configuration } from './configuration.ts'
import { partOf } from './context.ts'
import type { ChunkMessage, JoinStart, Message } from './message.ts'
import { PeerLink } from './peer_link.ts'
import { PauseWatch, PeerWatch } from './peer_watch.ts'
import type { Input } from './ports.ts'
import type { Protection } from './protection.ts'
import { ReceivedLog } from './received_log.ts'
import type { Role, RoleParts } from './role.ts'
import { Starting } from './starting.ts'

interface Transfer {
  readonly start: JoinStart
  /** Incarnation of the process that it comes from: only that one knows this join. */
  readonly source: string
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
  #readMs: number
  #beatMs = 0

  constructor(parts: RoleParts, configuration: Configuration) {
    this.#parts = parts
    this.#configuration = configuration
    this.#link = new PeerLink(parts.context, configuration.primary.host)
    this.#watch = new PeerWatch(parts.context)
    this.#pause = new PauseWatch(parts.context)
    this.#readMs = parts.context.nowMs
  }

  protection(): Protection {
    return { state: 'not protected', reason: 'backup joining' }
  }

  onTick(): void {
    if (this.#pause.onTick()) this.#watch.reset()
    this.#link.onTick()
    if (this.#link.isUp && this.#watch.suspicion() !== undefined) this.#link.close()
    if (!this.#link.isUp) this.#readNowAndThen()
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
        if (message.join === this.#transfer?.start.join) this.#transfer.log.addPending(message)
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
    // The disk is half written by now: only a new process with a new generation may try again.
    if (transfer !== undefined) {
      return context.halt(
        `configuration ${current.epoch} (${current.change}) came before this copy was complete`,
      )
    }
    this.#link.close()
    this.#parts.become(new Starting(this.#parts, current))
  }

  /** The configuration in which it joins: the primary may have known a later one than this copy when it began. */
  get #epoch(): number {
    return this.#transfer?.start.epoch ?? this.#configuration.epoch
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
        if (this.#link.isUp)
          context.send(this.#link.channel, { kind: 'diverged', report: input.report }, true)
        return context.halt(`this copy diverged: ${input.report}`)
      case 'convicted':
        return context.halt(`memory changed by itself: ${input.report}`)
      case 'diskFailed':
        return context.halt(`the disk failed while joining: ${input.reason}`)
    }
  }

  onOperator(): void {
    this.#parts.context.tell('this copy is still joining')
  }

  checkInvariants(): void {
    this.#transfer?.log.checkInvariants()
  }

  #ask(hello: Message & { kind: 'hello' }): void {
    if (!this.#link.onHello(hello)) return
    const { context } = this.#parts
    const transfer = this.#transfer
    // Another process has taken the place of the one this copy joined. Only the arbiter knows what this copy is now.
    if (transfer !== undefined && hello.incarnation !== transfer.source) return this.#link.close()
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
    this.#transfer = { start, source: this.#link.peer!, log, nextChunk: 0, state: 'receiving' }
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

  #acknowledge(): void {
    const transfer = this.#transfer
    if (transfer === undefined || !this.#link.isUp) return
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
    context.send(this.#link.channel, { kind: 'heartbeat', epoch: this.#epoch, state, position }, true)
  }

  #readNowAndThen(): void {
    const { context, dialog } = this.#parts
    if (context.nowMs - this.#readMs < context.settings.arbiterRetryMs) return
    this.#readMs = context.nowMs
    dialog.read()
  }
}

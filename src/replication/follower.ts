/**
 * The copy that follows a primary, as the primary sees it: first a joining one, then the backup.
 *
 *     snapshot --taken--> transfer --last chunk acknowledged, installed--> catching up --lag below target--> gating
 *     gating --executed through a digest--> ready --the arbiter answers--> adding --(the primary's change)--> backup
 *
 * From *gating* on, outputs wait for this copy's acknowledgements, though the configuration does not name it yet: so
 * when the change that adds it lands, at whatever moment, it already knows all that has left since `gateFrom`; and it
 * has acknowledged what came before (P44, P45).
 *
 * Invariants: a join's chunks are sent in order, at most `chunkWindow` of them unacknowledged; the log goes to the
 * follower from the snapshot's record on, without a gap.
 */
import { assert } from '../base/assert.ts'
import type { MemberIdentity } from './configuration.ts'
import type { Context } from './context.ts'
import type { Ack, DivergedMessage, JoinResume } from './message.ts'
import { PeerWatch } from './peer_watch.ts'
import type { Frontier } from './ports.ts'
import { SentLog } from './sent_log.ts'

export type FollowerState = 'snapshot' | 'transfer' | 'catching up' | 'gating' | 'ready' | 'adding' | 'backup'

/** A copy that catches up has got nearer when what it has left is at most this part of what it was. */
const NEARER = 31 / 32

export class Follower {
  readonly member: MemberIdentity
  readonly join: number
  readonly watch: PeerWatch
  readonly #context: Context
  /** The channel to it, or undefined while it is broken. */
  channel: number | undefined
  state: FollowerState
  /** Whether the arbiter has been heard since this copy was ready. */
  arbiter: 'not asked' | 'asked' | 'answered' = 'not asked'
  #isDisputing = false
  #log: SentLog | undefined
  /** Outputs of records from here on wait for its acknowledgement. */
  gateFrom: bigint | undefined
  /** The first digest that was logged while gating. */
  #digestIndex: bigint | undefined
  /** Since when outputs have been waiting for a copy that does not follow as the backup yet. */
  #gatingMs = 0
  /** Since when the machine has been standing still for its state. */
  #snapshotMs: number
  /** Since when it has been catching up. */
  #installedMs = 0
  /** The least that it had left to execute since, and when it got there. */
  #leastBytes = 0
  #nearerMs = 0
  /** Whether it has acknowledged as the backup. */
  #isSettled = false
  #slowSinceMs: number | undefined
  #start: Frontier | undefined
  /** Chunks: read from the machine up to, sent up to, acknowledged up to (exclusive); the last one's number. */
  #chunkAsked = 0
  #chunkAcked = 0
  #chunkLast: number | undefined

  /** A copy that joins over `channel`. */
  constructor(context: Context, member: MemberIdentity, join: number, channel: number) {
    this.#context = context
    this.member = member
    this.join = join
    this.channel = channel
    this.state = 'snapshot'
    this.#snapshotMs = context.nowMs
    this.watch = new PeerWatch(context)
  }

  /** Where its state was taken; undefined until it has been. */
  get start(): Frontier | undefined {
    return this.#start
  }

  /** It has diverged, and this copy's memory is being read again, to see whose fault that is. */
  get isDisputing(): boolean {
    return this.#isDisputing
  }

  get isBackup(): boolean {
    return this.state === 'backup'
  }

  /** Whether outputs wait for it although the configuration does not name it. */
  get isGating(): boolean {
    return this.state === 'gating' || this.state === 'ready'
  }

  /** For how long it has been the backup. */
  get backupMs(): number {
    return this.isBackup ? this.#context.nowMs - this.#gatingMs : 0
  }

  get unacknowledgedBytes(): number {
    return this.#log?.unacknowledgedBytes ?? 0
  }

  get unexecutedBytes(): number {
    return this.#log?.unexecutedBytes ?? 0
  }

  get executed(): bigint {
    return this.#log?.executed ?? 0n
  }

  get acked(): bigint {
    return this.#log?.acked ?? 0n
  }

  /** For how long it has been making up for what happened during its transfer. */
  get catchingUpMs(): number {
    return this.#context.nowMs - this.#installedMs
  }

  get lagMs(): number {
    return this.#log?.lagMs(this.#context.nowMs) ?? 0
  }

  /** The record from which on outputs have to wait; undefined if none has to. */
  get limit(): bigint | undefined {
    if (this.gateFrom === undefined) return undefined
    const known = this.#context.settings.ack === 'executed' ? this.executed : this.acked
    return known > this.gateFrom ? known : this.gateFrom
  }

  /** The state was taken; from here on it gets the log. */
  onSnapshot(frontier: Frontier): void {
    assert(this.state === 'snapshot', 'a second snapshot')
    const shift = this.#context.has('snapshot at the wrong position') ? 1n : 0n
    this.#start = { nextIndex: frontier.nextIndex, position: frontier.position + shift }
    this.#log = new SentLog(frontier.nextIndex)
    this.state = 'transfer'
    this.#askForChunks()
  }

  /** The machine runs: its state is not waited for so far, but for somebody else's who has the disk held. */
  onMachineRuns(): void {
    this.#snapshotMs = this.#context.nowMs
  }

  onChunkRead(number: number, isLast: boolean, bytes: Uint8Array): void {
    if (isLast) this.#chunkLast = number
    if (this.channel === undefined) return
    this.#context.send(this.channel, { kind: 'chunk', join: this.join, number, isLast, bytes })
  }

  onChunkAck(next: number): void {
    if (next > this.#chunkAsked || this.state !== 'transfer') return
    this.#chunkAcked = Math.max(this.#chunkAcked, next)
    this.#askForChunks()
  }

  /** The state is complete there. */
  onInstalled(): void {
    if (this.state !== 'transfer') return
    this.state = 'catching up'
    this.#installedMs = this.#context.nowMs
    this.#nearerMs = this.#installedMs
    this.#leastBytes = this.unexecutedBytes
    this.#context.emit({ kind: 'dropSnapshot', join: this.join })
  }

  /** It has come back after its channel broke, and goes on with `nextIndex`; false if it cannot have what it asks for. */
  resume(channel: number, nextIndex: bigint, join: JoinResume | undefined): boolean {
    const isChunkKnown = (next: number) => this.#chunkAcked <= next && next <= this.#chunkAsked
    if (join !== undefined && this.state === 'transfer' && !isChunkKnown(join.nextChunk)) return false
    const batches = this.#log?.from(nextIndex)
    if (batches === undefined || !this.#log!.onAck(nextIndex, this.executed)) return false
    this.channel = channel
    this.watch.reset()
    if (join !== undefined && this.state === 'transfer') {
      this.#chunkAsked = join.nextChunk
      this.#chunkAcked = join.nextChunk
      this.#askForChunks()
    }
    for (const bytes of batches) this.#context.send(channel, { kind: 'batch', bytes })
    return true
  }

  /** The primary has logged a batch. */
  onAppended(
    bytes: Uint8Array,
    firstIndex: bigint,
    nextIndex: bigint,
    digestIndex: bigint | undefined,
  ): void {
    if (this.#log === undefined) return
    this.#log.push(bytes, firstIndex, nextIndex, this.#context.nowMs)
    if (this.state === 'gating') this.#digestIndex ??= digestIndex
    if (this.channel !== undefined) this.#context.send(this.channel, { kind: 'batch', bytes })
  }

  /** False if it acknowledges what it cannot have. */
  onAck({ received, executed }: Ack): boolean {
    if (this.isBackup) this.#isSettled = true
    const isPossible = this.#log?.onAck(received, executed) ?? false
    if (this.unexecutedBytes < this.#leastBytes * NEARER) {
      this.#leastBytes = this.unexecutedBytes
      this.#nearerMs = this.#context.nowMs
    }
    return isPossible
  }

  /** It has something else than the log says: either copy may be to blame. */
  onDiverged({ index, report, evidence }: DivergedMessage): void {
    this.#context.tell(`the copy at ${this.member.host} diverged: ${report}`)
    this.#context.emit({ kind: 'explain', index, evidence })
    this.#isDisputing = true
  }

  /** It has convicted itself: that explains what it had. */
  onYield(): void {
    this.#isDisputing = false
  }

  /** What time and acknowledgements bring a joining copy to. */
  advance(frontier: Frontier): void {
    const { settings, nowMs } = this.#context
    if (this.state === 'catching up' && this.lagMs <= settings.lagTargetMs) {
      this.state = 'gating'
      this.#gatingMs = nowMs
      if (!this.#context.has('joiner eligible early')) this.gateFrom = frontier.nextIndex
      this.#context.emit({ kind: 'append', record: { kind: 'digest', isUrgent: true } })
      if (this.#context.has('joiner eligible early')) this.state = 'ready'
    }
    const isVerified = this.#digestIndex !== undefined && this.executed > this.#digestIndex
    if (this.state === 'gating' && isVerified && this.lagMs <= settings.lagTargetMs) this.state = 'ready'
  }

  /** The arbiter has answered. */
  onArbiter(): void {
    if (this.arbiter === 'asked') this.arbiter = 'answered'
  }

  /** The configuration names it now. */
  onBackup(): void {
    this.state = 'backup'
    this.gateFrom = 0n
    this.#gatingMs = this.#context.nowMs
  }

  /** Tells it that there is a configuration that it may not know of. */
  sayConfigured(epoch: number): void {
    if (this.channel !== undefined) this.#context.send(this.channel, { kind: 'configured', epoch }, true)
  }

  /** Why it has to go, or undefined: silent, stuck, too slow, or too long in joining with outputs waiting. */
  complaint(): string | undefined {
    const { nowMs, settings } = this.#context
    const suspicion = this.watch.suspicion()
    if (suspicion !== undefined) return suspicion
    // The machine stands still until no request runs.
    const isStuck = this.state === 'snapshot' && nowMs - this.#snapshotMs >= settings.stallMs
    if (isStuck) return 'its state could not be taken: requests to the disk of the primary do not end'
    if (!this.isBackup && this.unacknowledgedBytes > settings.boundBytes) return 'the log outruns it'
    // What happened during a long transfer takes as long to make up for: it may, as long as it gets nearer.
    const isBehind = this.state === 'catching up' && nowMs - this.#nearerMs >= settings.slowBackupMs
    if (isBehind) return 'it does not catch up'
    const isUnsettled = this.isGating || (this.isBackup && !this.#isSettled)
    if (isUnsettled && nowMs - this.#gatingMs >= settings.joinGateMs) return 'joining takes too long'
    if (!this.isBackup || this.lagMs <= settings.lagLimitMs) {
      this.#slowSinceMs = undefined
      return undefined
    }
    this.#slowSinceMs ??= nowMs
    return nowMs - this.#slowSinceMs >= settings.slowBackupMs ? `it lags by ${this.lagMs} ms` : undefined
  }

  checkInvariants(): void {
    assert(
      this.#chunkAsked - this.#chunkAcked <= this.#context.settings.chunkWindow,
      'too many chunks under way',
    )
    assert(!this.isBackup || this.gateFrom === 0n, 'outputs do not wait for the backup')
  }

  #askForChunks(): void {
    const end = Math.min(
      this.#chunkAcked + this.#context.settings.chunkWindow,
      (this.#chunkLast ?? Infinity) + 1,
    )
    while (this.#chunkAsked < end) {
      this.#context.emit({ kind: 'readChunk', join: this.join, number: this.#chunkAsked++ })
    }
  }
}

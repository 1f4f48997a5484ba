/**
 * What members say to each other over the logging channel. A channel is a stream between two processes, ordered and
 * reliable while it lasts; it may break at any byte. `message_codec.ts` has the bytes.
 *
 *     follower dials                  primary
 *       hello            ->
 *                        <-           hello
 *       join | follow    ->           (a new copy, or a copy that goes on where its channel broke)
 *                        <-           pendingOutput..., joinStart, chunk... | batch... | refused
 *       chunkAck, installed ->
 *       ack, heartbeat   ->
 *                        <-           batch, heartbeat, configured
 *
 *     cold starter dials              whoever runs at the host that the configuration names as the backup's
 *       hello, confirm   ->
 *                        <-           hello, confirmed
 */
import type { MemberIdentity } from './configuration.ts'

/** The first message of both sides. A process that is not what the other expects is refused by it. */
export interface Hello {
  readonly kind: 'hello'
  readonly machine: string
  readonly host: string
  readonly incarnation: string
}

/** A place in a join that a broken channel interrupted. */
export interface JoinResume {
  /** Which join. */
  readonly join: number
  /** The first chunk that has not arrived. */
  readonly nextChunk: number
  /** The first record that has not arrived. */
  readonly nextIndex: bigint
}

/** Asks for the machine's state. `baseGeneration` names the disk that a difference may be made against. */
export interface Join {
  readonly kind: 'join'
  readonly member: MemberIdentity
  readonly baseGeneration: string | undefined
  readonly resume: JoinResume | undefined
}

/**
 * The state that follows is that at `position`, with all records before `nextIndex` applied. All outputs that belong to
 * it have come before, so that a join that has begun lacks none, wherever its channel breaks.
 */
export interface JoinStart {
  readonly kind: 'joinStart'
  readonly join: number
  readonly epoch: number
  readonly life: number
  readonly nextIndex: bigint
  readonly position: bigint
  /** For each port the highest ordinal known to have left. */
  readonly released: readonly PortOrdinal[]
}

export interface PortOrdinal {
  readonly port: number
  readonly ordinal: bigint
}

/** An output from before the join's state that is not known to have left. */
export interface PendingOutputMessage {
  readonly kind: 'pendingOutput'
  readonly join: number
  readonly port: number
  readonly ordinal: bigint
  readonly index: bigint
  readonly bytes: Uint8Array
}

export interface ChunkMessage {
  readonly kind: 'chunk'
  readonly join: number
  readonly number: number
  readonly isLast: boolean
  readonly bytes: Uint8Array
}

/** All chunks before `next` have arrived. */
export interface ChunkAck {
  readonly kind: 'chunkAck'
  readonly join: number
  readonly next: number
}

/** Image, overlay and log are complete at the joining copy, and its disk is synced as its new generation. */
export interface InstalledMessage {
  readonly kind: 'installed'
  readonly join: number
}

/** A backup whose channel broke goes on: send from this record on. */
export interface Follow {
  readonly kind: 'follow'
  readonly epoch: number
  readonly nextIndex: bigint
}

/** Not now, or never; the sender closes the channel. */
export interface Refused {
  readonly kind: 'refused'
  readonly reason: string
}

/** A batch of log records (src/log/batch.ts). */
export interface BatchMessage {
  readonly kind: 'batch'
  readonly bytes: Uint8Array
}

/**
 * All records before `received` are in memory here, all before `executed` have been executed and verified. It counts
 * only in the configuration it names, and only from the member it names.
 */
export interface Ack {
  readonly kind: 'ack'
  readonly epoch: number
  readonly incarnation: string
  readonly received: bigint
  readonly executed: bigint
}

export const EXECUTION_STATES = ['running', 'idle', 'stopped'] as const
export type ExecutionState = (typeof EXECUTION_STATES)[number]

/** A sign of life, with what the machine is doing and how far it has come. */
export interface Heartbeat {
  readonly kind: 'heartbeat'
  readonly state: ExecutionState
  readonly position: bigint
}

/** The arbiter holds this configuration now. The receiver asks the arbiter before it believes it. */
export interface Configured {
  readonly kind: 'configured'
  readonly epoch: number
}

/**
 * The sender's machine differs from what the log says; found at record `index`. If that is a digest, `evidence` is all
 * that it had there, and the sender waits for the receiver's verdict.
 */
export interface DivergedMessage {
  readonly kind: 'diverged'
  readonly index: bigint
  readonly report: string
  readonly evidence: Uint8Array | undefined
}

/** The sender gives up its part at once: its memory or its disk is not to be trusted. */
export interface Yield {
  readonly kind: 'yield'
  readonly reason: string
}

/** Is this incarnation, which ran at your host, dead? */
export interface Confirm {
  readonly kind: 'confirm'
  readonly incarnation: string
}

export interface Confirmed {
  readonly kind: 'confirmed'
  readonly incarnation: string
  readonly isDead: boolean
}

export type Message =
  | Hello
  | Join
  | JoinStart
  | PendingOutputMessage
  | ChunkMessage
  | ChunkAck
  | InstalledMessage
  | Follow
  | Refused
  | BatchMessage
  | Ack
  | Heartbeat
  | Configured
  | DivergedMessage
  | Yield
  | Confirm
  | Confirmed

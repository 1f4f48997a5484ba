/**
 * What the replication core is told, and what it wants done. `Member.step(input)` returns effects; the core does
 * nothing else, and nothing happens to it in any other way.
 *
 * Duties of the caller (a host process, or the simulator):
 *
 *  1. Effects are carried out in the order given, those of one step before those of the next. Each may be begun before
 *     the one before it has finished, except as said here.
 *  2. `release` and `attach` go to one queue, in order: an output leaves only by the link that was attached before it.
 *  3. `boot`, `feed`, `disregardDigests`, `install`, `takeOver`, `append`, `snapshot`, `dropSnapshot`, `execution`,
 *     `stopExecution` and `explain` go to the machine through one queue, in order.
 *  4. What `append` appended comes back with `appended`, in the order of the records and before anything that came later.
 *  5. `halt` is the last effect of a member: the process of the machine ends. Outputs that are queued do not leave any
 *     more; messages that are queued may. A new process has a new incarnation.
 *  6. A `send` on a channel that has closed is dropped. Messages marked `urgent` (acknowledgements, heartbeats) must
 *     not wait behind others.
 *  7. `tick` comes at least every heartbeat, with a monotonic clock.
 *  8. There is one process of a machine on a host at a time: a member is made only while its process holds the host's
 *     lock of that machine, and the process ends before the lock does. So a new member may call all before it dead.
 *  9. The host that a hello names is the one that the channel's certificate was made out to.
 * 10. What the machine has put out at its last position, without a record that announces it, is logged as the first
 *     thing after `takeOver`.
 * 11. Before `boot` starts the machine, its disk is synced: what a crash has left unsynced is read by the guest, and must
 *     not be lost any more.
 * 12. A machine that is off when `takeOver` comes says `poweredOff`, as it would have where it was switched off.
 * 13. What convicts a disk takes its generation away before the process ends: otherwise the next process of this host
 *     would start cold from it.
 */
import type { LogBatch } from '../log/batch.ts'
import type { ArbiterAnswer, Decision } from './arbiter.ts'
import type { ExecutionState, Message, PortOrdinal } from './message.ts'
import type { Bug } from './planted.ts'
import type { Settings } from './settings.ts'

/** Who this process is, and with what it starts. */
export interface MemberOptions {
  /** The machine's name. */
  readonly machine: string
  readonly host: string
  readonly incarnation: string
  /**
   * The generation of the disk that this host has locked: undefined if it has none, or one that is not whole (a join
   * into it never finished). It starts cold only from a disk whose generation is the recorded one.
   */
  readonly diskGeneration: string | undefined
  /** The generation that this process's disk gets if it has to join. Random, never used before. */
  readonly joinGeneration: string
  /** Whether this host may create the machine, from its disk, if the arbiter has never heard of it. */
  readonly mayCreate: boolean
  /** Whether this host starts the machine again if its last configuration says that it was stopped. */
  readonly mayRestart: boolean
  /** The operator's word that the recorded backup is dead, or that its data may be lost: see starting.ts. */
  readonly force: boolean
  readonly settings: Settings
  /** Bugs planted by tests. */
  readonly planted?: ReadonlySet<Bug>
}

/** An output with the record that announced it. Ordinals rise by port within a life. */
export interface MachineOutput {
  /** Index of its output record. */
  readonly index: bigint
  readonly port: number
  readonly ordinal: bigint
  readonly bytes: Uint8Array
}

/** Where the log goes on. */
export interface Frontier {
  readonly nextIndex: bigint
  readonly position: bigint
}

export type Input =
  | { readonly kind: 'tick'; readonly nowMs: number }
  /** A channel is open: `host` is who was dialled, undefined if the other side did. */
  | { readonly kind: 'opened'; readonly channel: number; readonly host: string | undefined }
  /** Closed by the other side or broken; also the end of a dial that failed. `isRefused`: no process listens there. */
  | { readonly kind: 'closed'; readonly channel: number; readonly isRefused: boolean }
  | { readonly kind: 'message'; readonly channel: number; readonly message: Message }
  | { readonly kind: 'answer'; readonly request: number; readonly answer: ArbiterAnswer }
  /** The primary's machine has logged something. `outputs` are those whose records are in the batch. */
  | {
      readonly kind: 'appended'
      readonly bytes: Uint8Array
      readonly firstIndex: bigint
      readonly frontier: Frontier
      readonly outputs: readonly MachineOutput[]
      /** Index of the batch's last digest record. */
      readonly digestIndex: bigint | undefined
    }
  /** The backup's machine has executed and verified all records before `frontier.nextIndex`. */
  | {
      readonly kind: 'executed'
      readonly frontier: Frontier
      /** What it put out on the way and found equal to the output records. */
      readonly outputs: readonly MachineOutput[]
    }
  /** What the machine is doing, at least every heartbeat. */
  | { readonly kind: 'progress'; readonly state: ExecutionState; readonly position: bigint }
  /** This copy's machine does not do what record `index` says; `report` says what it has instead. */
  | {
      readonly kind: 'diverged'
      readonly index: bigint
      readonly report: string
      /**
       * Of a digest that differs, while what this copy has put out is as the log says: all that it had there, for the
       * other one to compare.
       */
      readonly evidence: Uint8Array | undefined
    }
  /** The answer to `explain`: all memory has been read again, and none has changed by itself. */
  | { readonly kind: 'sound' }
  /** This copy's own memory or disk has changed without being written: it is convicted. */
  | { readonly kind: 'convicted'; readonly report: string }
  /** This copy's disk does not work (the machine holds the request that failed, until `failRequests`). */
  | { readonly kind: 'diskFailed'; readonly reason: string }
  /**
   * The answer to `snapshot`; everything logged before has been `appended` before this, and the last of it is at the
   * frontier's position, so that the log that follows goes on from there.
   */
  | { readonly kind: 'snapshotTaken'; readonly join: number; readonly frontier: Frontier }
  | {
      readonly kind: 'chunkRead'
      readonly join: number
      readonly number: number
      readonly isLast: boolean
      readonly bytes: Uint8Array
    }
  /** The answer to `install`: the state is there, and the disk is synced as the generation of this process. */
  | { readonly kind: 'installed'; readonly join: number }
  /** The answer to each `stopExecution`: all is logged and has been `appended`; nothing runs. */
  | { readonly kind: 'stopped' }
  /** The guest has powered off; all that it did is logged and has been `appended`. Told again after `takeOver`. */
  | { readonly kind: 'poweredOff' }
  /**
   * The attached link is up, or up again; `left` is what the other end has had in this life, port by port. It may be said
   * as soon as a part of what is attached is up, as a console while the network is not: what is released for the rest is
   * dropped there, and released again with the next one.
   */
  | { readonly kind: 'linkUp'; readonly left: readonly PortOrdinal[] }
  /** All outputs of the port up to and including `ordinal` have left. */
  | { readonly kind: 'left'; readonly port: number; readonly ordinal: bigint }
  | { readonly kind: 'operator'; readonly command: OperatorCommand }

/** `failOver` hands over in order; `stop` ends the machine; `force` is MemberOptions.force, given later. */
export type OperatorCommand = 'failOver' | 'stop' | 'force'

export type Effect =
  /** Open a channel to the host. `channel` is its number from now on: odd; those that others open get even ones. */
  | { readonly kind: 'dial'; readonly channel: number; readonly host: string }
  | { readonly kind: 'send'; readonly channel: number; readonly message: Message; readonly urgent: boolean }
  /** Close the channel once what was sent has gone out; nothing that arrives any more is reported. */
  | { readonly kind: 'close'; readonly channel: number }
  | { readonly kind: 'read'; readonly request: number }
  | {
      readonly kind: 'propose'
      readonly request: number
      readonly expected: Decision | undefined
      readonly proposed: Decision
    }
  /** Start the machine from this host's disk as the primary of a new life; its records count from index 0. */
  | { readonly kind: 'boot'; readonly life: number }
  /** Log a record at the present position. */
  | { readonly kind: 'append'; readonly record: AppendRequest }
  /** How the primary's machine may run: pace 1 is full speed, 0 stands still; input waits outside while held. */
  | { readonly kind: 'execution'; readonly pace: number; readonly inputs: 'taken' | 'held' }
  /** Stop the primary's machine where it is and log that it got there; answered by `stopped`. */
  | { readonly kind: 'stopExecution' }
  /** The requests that the machine holds since the disk failed end with an error: nobody else can carry them out. */
  | { readonly kind: 'failRequests' }
  /** Keep the state of now, without requests in flight, for `readChunk`; answered by `snapshotTaken`. */
  | { readonly kind: 'snapshot'; readonly join: number; readonly baseGeneration: string | undefined }
  | { readonly kind: 'readChunk'; readonly join: number; readonly number: number }
  /** The kept state is not needed any more. */
  | { readonly kind: 'dropSnapshot'; readonly join: number }
  /** Keep a chunk of the state that arrives; chunk 0 forgets whatever there was. */
  | {
      readonly kind: 'storeChunk'
      readonly join: number
      readonly number: number
      readonly isLast: boolean
      readonly bytes: Uint8Array
    }
  /** Make the machine and the disk from the stored chunks. The disk's old generation is void from now on. */
  | { readonly kind: 'install'; readonly join: number; readonly life: number; readonly frontier: Frontier }
  /** Execute these records, verify, and stop exactly at the last one's position. */
  | { readonly kind: 'feed'; readonly batch: LogBatch }
  /**
   * The primary that wrote the log is convicted. Goes on, also where a digest differs or has differed, but reads all of this
   * copy's memory again before the first of those: if that has changed by itself, this copy is `convicted` as well.
   */
  | { readonly kind: 'disregardDigests' }
  /** From here on this machine is the primary: it takes inputs, logs, and its clock is corrected. */
  | { readonly kind: 'takeOver'; readonly life: number; readonly frontier: Frontier }
  /** Connect to the gateway or network as the primary of this configuration. */
  | { readonly kind: 'attach'; readonly epoch: number; readonly life: number }
  | { readonly kind: 'release'; readonly outputs: readonly MachineOutput[] }
  /**
   * Tell what this copy had at the digest of record `index` that is not so in the other one's evidence, if there is some;
   * and read all memory again: this copy is `convicted` if its own is to blame, and else `sound`.
   */
  | { readonly kind: 'explain'; readonly index: bigint; readonly evidence: Uint8Array | undefined }
  /** Something that people should know. */
  | { readonly kind: 'tell'; readonly text: string }
  | { readonly kind: 'halt'; readonly reason: string }

export type AppendRequest =
  | { readonly kind: 'released'; readonly port: number; readonly ordinal: bigint }
  /** One that is urgent is waited for; others may be made less often where they cost much. */
  | { readonly kind: 'digest'; readonly isUrgent: boolean }

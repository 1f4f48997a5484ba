/**
 * What the simulator's all-seeing eye notes down, and the checkers read. It sees more than any process in the cluster
 * can: what the arbiter has really decided, what has really left, which state every copy is really in.
 *
 * Observations are in the order in which things happened; `atMs` is simulated time.
 */
import type { Configuration } from '../src/replication/configuration.ts'
import type { Protection } from '../src/replication/protection.ts'

/** One process of the machine; a restarted one has another incarnation. */
export interface ProcessId {
  readonly host: string
  readonly incarnation: string
}

export type Observation =
  /** A process starts at a host. */
  | { readonly kind: 'started'; readonly atMs: number; readonly process: ProcessId }
  /** A fault ended it: its memory is gone. */
  | { readonly kind: 'crashed'; readonly atMs: number; readonly process: ProcessId }
  /** It ended by itself. */
  | { readonly kind: 'halted'; readonly atMs: number; readonly process: ProcessId; readonly reason: string }
  /** Its role or its protection is another one than before. */
  | {
      readonly kind: 'changed'
      readonly atMs: number
      readonly process: ProcessId
      readonly role: string
      readonly protection: Protection
    }
  /** The arbiter has taken a decision (whether or not anybody gets to know). */
  | { readonly kind: 'decided'; readonly atMs: number; readonly configuration: Configuration }
  /** The arbiter has forgotten its latest decisions, down to this epoch: a planted fault. */
  | { readonly kind: 'rolledBack'; readonly atMs: number; readonly epoch: number }
  /**
   * A copy starts to execute a life at `position`, with all records before `nextIndex` in its past: by booting from its
   * disk (both zero; `diskDigest` is of what is on the disk), from a joined state, or by going live as a backup does.
   */
  | {
      readonly kind: 'booted' | 'installed' | 'wentLive'
      readonly atMs: number
      readonly process: ProcessId
      readonly life: number
      readonly nextIndex: bigint
      readonly position: bigint
      readonly isForced: boolean
    }
  /**
   * A copy has applied a record: `record` is a digest of the record's content, `state` of the machine's whole state
   * (RAM, devices, disk as the guest sees it) afterwards. The primary applies what it logs, the backup what it is fed.
   */
  | {
      readonly kind: 'applied'
      readonly atMs: number
      readonly process: ProcessId
      readonly life: number
      readonly index: bigint
      readonly position: bigint
      readonly record: bigint
      readonly state: bigint
    }
  /** A follower has said that it has all records before `received`. */
  | {
      readonly kind: 'acknowledged'
      readonly atMs: number
      readonly process: ProcessId
      readonly epoch: number
      readonly received: bigint
    }
  /** The guest was told at record `index` that what it wrote up to there is durable: `diskDigest` of what that is. */
  | {
      readonly kind: 'flushed'
      readonly atMs: number
      readonly process: ProcessId
      readonly life: number
      readonly index: bigint
      /** How many flushes this machine's disk has had, over all lives that lead here. */
      readonly flushes: bigint
    }
  /** At boot the guest finds on its disk the effects of this many flushes. */
  | {
      readonly kind: 'recovered'
      readonly atMs: number
      readonly process: ProcessId
      readonly life: number
      readonly flushes: bigint
      readonly isForced: boolean
    }
  /** An output has left a process that had attached with `epoch`: nothing can call it back. */
  | {
      readonly kind: 'released'
      readonly atMs: number
      readonly process: ProcessId
      readonly epoch: number
      readonly life: number
      readonly port: number
      readonly ordinal: bigint
      /** Index of its output record. */
      readonly index: bigint
      readonly bytes: Uint8Array
    }
  /** The gateway has let a process attach: from now on its outputs pass, and those of whoever was attached do not. */
  | {
      readonly kind: 'attached'
      readonly atMs: number
      readonly process: ProcessId
      readonly epoch: number
      readonly life: number
    }
  /** An output has passed the gateway's fence and reached the clients. */
  | {
      readonly kind: 'delivered'
      readonly atMs: number
      readonly process: ProcessId
      readonly epoch: number
      readonly life: number
      readonly port: number
      readonly ordinal: bigint
      readonly bytes: Uint8Array
    }
  /** A copy has said that it, or the other one, differs from the log. */
  | { readonly kind: 'diverged'; readonly atMs: number; readonly process: ProcessId; readonly report: string }
  /** A fault has been put in; `name` is one of `FAULTS`, `what` says where. */
  | {
      readonly kind: 'fault'
      readonly atMs: number
      readonly name: string
      readonly what: string
      readonly states: readonly string[]
    }
  /** From here on nothing is broken any more, and nothing will be. */
  | { readonly kind: 'healed'; readonly atMs: number }
  | { readonly kind: 'ended'; readonly atMs: number }

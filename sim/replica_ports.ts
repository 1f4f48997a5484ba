/** What a process gives its replica of the machine: its member to report to, its host, and who watches. */

import type { Random } from '../src/base/prng.ts'
import type { Bug } from '../src/replication/planted.ts'
import type { Input } from '../src/replication/ports.ts'
import type { Disk, DiskResult } from './disk.ts'
import type { DiskRequest } from './machine_ports.ts'
import type { NewObservation } from './world.ts'

type WithoutProcess<O> = O extends { readonly process: unknown } ? Omit<O, 'process'> : never
export type ReplicaObservation = WithoutProcess<NewObservation>

export interface ReplicaPorts {
  readonly disk: Disk
  readonly random: Random
  /** Steps that the machine takes in a millisecond at full speed. */
  readonly stepsPerMs: number
  readonly flushMs: number
  readonly chunkBytes: number
  /** Whether anybody looks at the states that records lead to. */
  readonly isStateWatched: boolean
  /** How much faster a backup executes than a primary. */
  backupSpeed(): number
  give(input: Input): void
  /** Later, if the process still lives then. */
  after(delayMs: number, action: () => void): void
  /** A request to the host's disk. */
  submit(request: DiskRequest, onDone: (result: DiskResult) => void): void
  /** The host's monotonic clock. */
  monotonicUs(): number
  /** The host's calendar. */
  calendarUs(): number
  observe(observation: ReplicaObservation): void
  say(text: () => string): void
  has(bug: Bug): boolean
}

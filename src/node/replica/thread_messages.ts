/**
 * What the I/O thread of a host process and the thread of its machine say to each other.
 *
 *     I/O thread                                machine's thread
 *       MachineCommand   -- MessagePort, doorbell -->
 *                        <-- MessagePort --          MachineReport
 *                        <-- shared memory --        progress (position, state)
 *
 * The machine's thread never returns to its event loop: it looks for commands between pieces of execution, and sleeps
 * on the doorbell when it has nothing to do.
 */
import type { MessagePort } from 'node:worker_threads'
import type { ComputerSpecification } from '../../board/computer.ts'
import type { DiskRequest } from '../../devices/virtio_block.ts'
import { MachineProgress } from '../../host/heartbeat_memory.ts'
import type { Translation } from '../../machine/machine_options.ts'
import type { Effect, Frontier, Input } from '../../replication/ports.ts'
import type { ImageFiles } from '../boot_files.ts'

/** Effects of the member that the machine's thread carries out as they are. */
export type ThreadEffect = Extract<
  Effect,
  {
    kind:
      | 'append'
      | 'execution'
      | 'stopExecution'
      | 'snapshot'
      | 'dropSnapshot'
      | 'feed'
      | 'disregardDigests'
      | 'explain'
      | 'takeOver'
      | 'boot'
  }
>

/** To the machine's thread. */
export type MachineCommand =
  | ThreadEffect
  /** Bytes that arrive at a port of the primary's machine: a frame, or keys, which wait until the guest takes them. */
  | { readonly kind: 'input'; readonly port: number; readonly bytes: Uint8Array }
  /** The disk has done a request. */
  | {
      readonly kind: 'diskDone'
      readonly request: number
      readonly status: 'ok' | 'error'
      readonly data: Uint8Array | undefined
    }
  /** Nothing is executed while the disk is full. */
  | { readonly kind: 'pause'; readonly isPaused: boolean }
  /** A state arrives: whatever there was is forgotten. */
  | { readonly kind: 'beginInstall' }
  /** Pages of RAM of that state, as `packPages` has packed them. */
  | { readonly kind: 'installPages'; readonly pages: Uint8Array }
  | {
      readonly kind: 'finishInstall'
      readonly join: number
      readonly state: Uint8Array
      readonly life: number
      readonly frontier: Frontier
    }
  /** The machine starts as the primary of a life from the state whose pages have arrived. */
  | { readonly kind: 'bootFrom'; readonly life: number; readonly state: Uint8Array }
  /** Makes the state of now known (`digest`), for tests and for people. */
  | { readonly kind: 'inspect'; readonly request: number }
  /** A fault that tests inject: flips a bit of RAM behind the machine's back, in a page that was written lately or not. */
  /** In a page that has been written since the last digest, or has not; one with these bytes in it, at them. */
  | { readonly kind: 'flipBit'; readonly isWritten: boolean; readonly holding: string }
  | { readonly kind: 'end' }

/** From the machine's thread. */
export type MachineReport =
  | Extract<
      Input,
      {
        kind:
          | 'appended'
          | 'executed'
          | 'diverged'
          | 'sound'
          | 'convicted'
          | 'stopped'
          | 'poweredOff'
          | 'installed'
      }
    >
  | { readonly kind: 'disk'; readonly requests: readonly DiskRequest[] }
  /** The state that `snapshot` asked for: everything but the disk. */
  | {
      readonly kind: 'stateTaken'
      readonly join: number
      readonly frontier: Frontier
      readonly state: Uint8Array
      readonly pages: readonly Uint8Array[]
      /** For how long nothing was executed. */
      readonly stopMs: number
    }
  | { readonly kind: 'explained'; readonly text: string }
  | { readonly kind: 'flipped'; readonly page: number | undefined }
  | { readonly kind: 'restarted' }
  /** `found` is undefined where there is no machine yet. */
  | { readonly kind: 'inspected'; readonly request: number; readonly found: Inspection | undefined }
  /** An error of the outside (a file that cannot be read, say): the process cannot go on. */
  | { readonly kind: 'failed'; readonly message: string }

/** A machine at one moment. */
export interface Inspection {
  readonly position: bigint
  readonly digest: bigint
}

/** What a machine's thread starts with. */
export interface MachineThreadData {
  readonly port: MessagePort
  readonly shared: SharedMemory
  readonly specification: ComputerSpecification
  readonly image: ImageFiles
  /** Of the image's files: another kernel than this would be a hidden input. */
  readonly kernelDigest: string
  readonly initramfsDigest: string
  readonly flushMs: number
  readonly translation: Translation
}

/** The memory that both threads see: a counter of commands, and the machine's progress. */
export class SharedProgress {
  readonly memory: SharedMemory
  readonly #bell: Int32Array
  readonly #progress: MachineProgress

  constructor(memory: SharedMemory) {
    this.#progress = new MachineProgress(memory.progress)
    this.memory = memory
    this.#bell = new Int32Array(memory.bell)
  }

  /** How many commands have been sent, modulo 2^32. */
  get rung(): number {
    return Atomics.load(this.#bell, 0)
  }

  ring(): void {
    Atomics.add(this.#bell, 0, 1)
    // Whoever falls asleep after this sees that the counter has changed.
    if (Atomics.load(this.#bell, 1) === 1) Atomics.notify(this.#bell, 0)
  }

  /** Sleeps until more commands have been sent than when `rung` was read, at most `ms`. */
  sleep(rung: number, ms: number): void {
    Atomics.store(this.#bell, 1, 1)
    Atomics.wait(this.#bell, 0, rung, ms)
    Atomics.store(this.#bell, 1, 0)
  }

  /** What the machine is doing; also the thread of the heartbeats reads it. */
  get progress(): MachineProgress {
    return this.#progress
  }
}

export interface SharedMemory {
  /** The counter, and whether the machine's thread sleeps: two times i32. */
  readonly bell: SharedArrayBuffer
  readonly progress: SharedArrayBuffer
}

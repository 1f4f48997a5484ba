/** The I/O thread's side of a machine's thread. */
import { MessageChannel, Worker } from 'node:worker_threads'
import type { MachineProgress } from '../../host/heartbeat_memory.ts'
import {
  type MachineCommand,
  type MachineReport,
  type MachineThreadData,
  SharedProgress,
} from './thread_messages.ts'

export interface MachineThreadOptions extends Omit<MachineThreadData, 'port' | 'shared'> {
  /** Where the thread tells what the machine does. */
  readonly progress: MachineProgress
}

export class MachineHandle {
  readonly #worker: Worker
  readonly #shared: SharedProgress
  readonly #port: MessageChannel['port1']
  #willRing = false

  /** `onReport` hears of everything in order; an assertion that fails in the thread ends the process. */
  constructor({ progress, ...options }: MachineThreadOptions, onReport: (report: MachineReport) => void) {
    // Before there is a machine nothing runs, and that is no stall.
    progress.write('idle', 0n)
    this.#shared = new SharedProgress({ bell: new SharedArrayBuffer(8), progress: progress.memory })
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    port1.on('message', onReport)
    const workerData: MachineThreadData = { ...options, port: port2, shared: this.#shared.memory }
    this.#worker = new Worker(new URL('./machine_thread.ts', import.meta.url), {
      ...{ workerData, transferList: [port2] },
      // Guest RAM is outside of the heap.
      resourceLimits: { maxYoungGenerationSizeMb: 8 },
    })
    this.#worker.on('error', (error) => {
      throw error
    })
  }

  /** What the machine does and where it is, at the moment. */
  get progress(): MachineProgress {
    return this.#shared.progress
  }

  /** The thread is woken at the end of the turn: on a busy computer it would take the place of what woke it. */
  send(command: MachineCommand): void {
    this.#port.postMessage(command)
    if (this.#willRing) return
    this.#willRing = true
    setImmediate(() => {
      this.#willRing = false
      this.#shared.ring()
    })
  }

  /** Ends the thread. */
  async end(): Promise<void> {
    this.#port.postMessage({ kind: 'end' })
    this.#shared.ring()
    this.#port.close()
    await this.#worker.terminate()
  }
}

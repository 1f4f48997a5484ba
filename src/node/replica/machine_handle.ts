/** The I/O thread's side of a machine's thread. */
import { MessageChannel, Worker } from 'node:worker_threads'
import type { ExecutionState } from '../../replication/message.ts'
import {
  type MachineCommand,
  type MachineReport,
  type MachineThreadData,
  SharedProgress,
} from './thread_messages.ts'

export type MachineThreadOptions = Omit<MachineThreadData, 'port' | 'shared'>

export class MachineHandle {
  readonly #worker: Worker
  readonly #shared = new SharedProgress()
  readonly #port: MessageChannel['port1']

  /** `onReport` hears of everything in order; an assertion that fails in the thread ends the process. */
  constructor(options: MachineThreadOptions, onReport: (report: MachineReport) => void) {
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    port1.on('message', onReport)
    const workerData: MachineThreadData = { ...options, port: port2, shared: this.#shared.buffer }
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
  get progress(): { readonly state: ExecutionState; readonly position: bigint } {
    return { state: this.#shared.state, position: this.#shared.position }
  }

  /** Memory with the progress, for the thread of the heartbeats. */
  get shared(): SharedArrayBuffer {
    return this.#shared.buffer
  }

  send(command: MachineCommand): void {
    this.#port.postMessage(command)
    this.#shared.ring()
  }

  /** Ends the thread. */
  async end(): Promise<void> {
    this.send({ kind: 'end' })
    this.#port.close()
    await this.#worker.terminate()
  }
}

/** Heartbeats as the main thread sees them; heartbeat_thread.ts sends and hears them. */
import { Worker } from 'node:worker_threads'
import { UserError } from '../base/errors.ts'
import { type MachineProgress, type PeerHeartbeat, PeerTable } from './heartbeat_memory.ts'
import type { HeartbeatOrder, HeartbeatPeer, HeartbeatReport, HeartbeatSetting } from './heartbeat_thread.ts'
import type { CredentialsOptions } from './secure_credentials.ts'
import type { Terms } from './secure_handshake.ts'

export interface HeartbeatOptions {
  /** The files are opened once more, by the thread. */
  readonly credentials: CredentialsOptions
  /** This process's own name. */
  readonly name: string
  readonly host: string
  /** Of the thread's own listener; 0 takes any that is free. Peers have to be told. */
  readonly port: number
  /** What a peer must have equal. */
  readonly terms: Terms
  readonly heartbeatMs: number
  /** If given, a main thread that has not ticked (MachineProgress.tick) for so long is not vouched for any more. */
  readonly stallMs?: number
  /** What the machine is doing. */
  readonly progress: MachineProgress
  readonly onNotice: (line: string) => void
}

export interface Heartbeat {
  /** Where peers reach the thread. */
  readonly port: number
  /** What has been heard of a peer, by any channel; undefined before its first beat. */
  peer(name: string): PeerHeartbeat | undefined
  /** Keeps a channel open to a peer from now on. Whom a channel was kept open to by this name is let go. */
  connect(peer: HeartbeatPeer): void
  /** Closes the channel that was kept open to a peer. Those that the peer has opened stay. */
  disconnect(name: string): void
  close(): Promise<void>
}

/** Starts the thread. Rejects with a UserError if the credentials cannot be used or the address cannot be had. */
export async function startHeartbeat(options: HeartbeatOptions): Promise<Heartbeat> {
  const { onNotice, progress, ...rest } = options
  const table = new PeerTable()
  const setting: HeartbeatSetting = { ...rest, progress: progress.memory, peers: table.memory }
  const worker = new Worker(new URL('./heartbeat_thread.ts', import.meta.url), { workerData: setting })
  // A mistake of ours in the thread is one of the process.
  worker.on('error', (error) => {
    throw error
  })
  const port = await new Promise<number>((resolve, reject) => {
    worker.on('message', (report: HeartbeatReport) => {
      if (report.kind === 'notice') onNotice(report.line)
      else if (report.kind === 'listening') resolve(report.port)
      else worker.terminate().then(() => reject(new UserError(report.reason)), reject)
    })
  })
  const order = (one: HeartbeatOrder): void => worker.postMessage(one)
  return {
    port,
    peer: (name) => table.peer(name),
    connect: (peer) => order({ kind: 'connect', peer }),
    disconnect: (name) => order({ kind: 'disconnect', name }),
    async close() {
      await worker.terminate()
    },
  }
}

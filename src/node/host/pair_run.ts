/** Runs the processes of a pair under a supervisor, and stops the machine in order. */
import { writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { UserError } from '../../base/errors.ts'
import { InUseError, LockFile } from '../../host/lock_file.ts'
import { GATEWAY_NAME, type Pair } from './pair.ts'
import { PairControl } from './pair_control.ts'
import { notedProcess, processPath, supervisorLockPath } from './pair_processes.ts'
import { signalProcess } from './process_signal.ts'
import { RemoteHosts } from './remote_hosts.ts'
import { Supervisor, type SupervisorEvents } from './supervisor.ts'

/** How this program is started: what comes before a command's name. */
export interface ProgramStart {
  readonly command: string
  readonly parameters: readonly string[]
}

/** A stop in order takes the outputs' time, and that of the arbiter. */
const STOP_MS = 20_000
const LOOK_MS = 100
const LEFT_OVER_MS = 5000

export class PairRun {
  readonly pair: Pair
  readonly control: PairControl
  readonly supervisor: Supervisor
  readonly #lock: LockFile
  #remote: RemoteHosts | undefined

  private constructor(pair: Pair, control: PairControl, supervisor: Supervisor, lock: LockFile) {
    this.pair = pair
    this.control = control
    this.supervisor = supervisor
    this.#lock = lock
  }

  /**
   * Starts everything. Throws a UserError if the pair is running already. `onNotice` is told why hosts that are other
   * computers cannot be asked.
   */
  static async start(
    pair: Pair,
    program: ProgramStart,
    events: SupervisorEvents & { readonly onNotice?: (text: string) => void } = {},
  ): Promise<PairRun> {
    // Before anything is locked or started: the secret of the hosts may be missing.
    const remote = await RemoteHosts.open(pair, events.onNotice ?? (() => {}))
    const lock = await lockPair(pair)
    const control = await PairControl.open(pair)
    const { command } = program
    const processes = pair.processes.map((name) => ({
      ...{ name, command, logFile: pair.logPath(name), noteFile: processPath(pair, name) },
      parameters: (isFirst: boolean): string[] => {
        const kind = name === GATEWAY_NAME ? 'gateway' : 'host'
        const restart = kind === 'host' && isFirst ? ['--restart'] : []
        return [...program.parameters, kind, '--config', pair.configPath(name), ...restart]
      },
    }))
    const run = new PairRun(pair, control, new Supervisor(processes, events), lock)
    run.supervisor.start()
    run.#remote = remote
    remote?.start()
    writeFileSync(pidPath(pair), `${process.pid}\n`, { mode: 0o600 })
    return run
  }

  /** Whether the machine has ended in order. */
  get isOver(): boolean {
    if (this.#remote !== undefined) return this.#remote.isOver
    return this.pair.hostNames.every((name) => this.supervisor.isDone(name))
  }

  /** Stops the machine in order, then all processes. */
  async stop(): Promise<void> {
    const client = await this.control.connectToPrimary().catch(() => undefined)
    if (client !== undefined) {
      await client.request('stop').catch(() => undefined)
      client.close()
      const end = performance.now() + STOP_MS
      while (!this.isOver && performance.now() < end) await sleep(LOOK_MS)
    }
    await this.end()
  }

  /** Whether the machine goes on without this computer, at hosts that are others. */
  get isElsewhere(): boolean {
    return this.#remote !== undefined
  }

  /** Ends what runs on this computer; the machine goes on at its hosts. */
  async leave(): Promise<void> {
    this.#remote?.leave()
    await this.#endHere()
  }

  /** Ends all processes as they are. */
  async end(): Promise<void> {
    await this.#remote?.end()
    await this.#endHere()
  }

  async #endHere(): Promise<void> {
    await this.supervisor.stop()
    await endLeftOver(this.pair, this.control)
    await rm(pidPath(this.pair), { force: true })
    await this.#lock.release()
  }
}

/** A supervisor that was killed has left processes to nobody: ends those of a pair that no other one has adopted. */
export async function endLeftOver(pair: Pair, control: PairControl): Promise<void> {
  const end = performance.now() + LEFT_OVER_MS
  // One that answers nobody is known by its note.
  const pidOf = async (name: string): Promise<number | undefined> =>
    (await control.pid(name)) ?? notedProcess(processPath(pair, name))?.pid
  for (const name of pair.processes) {
    let pid = await pidOf(name)
    if (pid !== undefined) signalProcess(pid, 'SIGTERM')
    while (pid !== undefined && performance.now() < end) {
      await sleep(LOOK_MS)
      pid = await pidOf(name)
    }
    if (pid !== undefined) signalProcess(pid, 'SIGKILL')
  }
}

/** The process that supervises a pair, for whoever has to signal it. */
export const pidPath = (pair: Pair): string => join(pair.directory, 'supervisor.pid')

async function lockPair(pair: Pair): Promise<LockFile> {
  try {
    return await LockFile.acquire(supervisorLockPath(pair), `machine ${pair.name}`)
  } catch (error) {
    if (!(error instanceof InUseError)) throw error
    throw new UserError(`machine ${pair.name} runs already: see understudy status ${pair.name}`)
  }
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/**
 * Keeps processes running: one that ends is started again, after a pause that grows while it ends soon.
 *
 *     stopped --start--> running --ends with another status than 0--> waiting --pause over--> running
 *                           '----------ends with 0--------------> done
 *
 * What a process writes goes to a log file of its own. Processes outlive the supervisor: a machine does not stop because
 * whoever watches over it has been killed. The next supervisor *adopts* what it finds running: a second process of that
 * kind could do nothing but fail. Of one that is not its child it sees only that it has ended, and starts its own then,
 * which finds out whether there is anything left to do. One that cannot be started for now, as on a disk that is full,
 * is tried again like one that has ended: whoever supervises has other processes to watch over.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { UserError } from '../../base/errors.ts'
import { fileError, systemErrorCode } from '../../host/file_error.ts'
import { isRunning, type ProcessIdentity } from '../../host/process_identity.ts'
import { forgetProcess, notedProcess, noteProcess } from './pair_processes.ts'

const PAUSE_MIN_MS = 100
const PAUSE_MAX_MS = 5000
/** A process that lived for so long has started well. */
const SETTLED_MS = 10_000
/** How long a process may take to end when it is asked to. */
const TERM_MS = 5000
/** How often it is looked whether an adopted process still runs. */
const LOOK_MS = 200

export interface SupervisedProcess {
  readonly name: string
  readonly command: string
  /** `isFirst` is false when it is started again. */
  parameters(isFirst: boolean): readonly string[]
  readonly logFile: string
  /** Where the process is noted, so that the next supervisor finds it. */
  readonly noteFile: string
}

export interface SupervisorEvents {
  readonly onStarted?: (name: string, pid: number) => void
  /** A process was found running, and is watched over from now on. */
  readonly onAdopted?: (name: string, pid: number) => void
  readonly onEnded?: (name: string, how: string, isDone: boolean) => void
}

interface Entry {
  readonly spec: SupervisedProcess
  child: ChildProcess | undefined
  /** One that another supervisor has started. */
  adopted: ProcessIdentity | undefined
  timer: NodeJS.Timeout | undefined
  startedMs: number
  pauseMs: number
  isFirst: boolean
  isDone: boolean
}

export class Supervisor {
  readonly #entries: readonly Entry[]
  readonly #events: SupervisorEvents
  #isStopping = false
  #onAllEnded: (() => void) | undefined

  constructor(processes: readonly SupervisedProcess[], events: SupervisorEvents = {}) {
    this.#events = events
    this.#entries = processes.map((spec) => ({
      ...{ spec, child: undefined, adopted: undefined, timer: undefined, startedMs: 0 },
      ...{ pauseMs: PAUSE_MIN_MS, isFirst: true, isDone: false },
    }))
  }

  start(): void {
    for (const entry of this.#entries) {
      const running = notedProcess(entry.spec.noteFile)
      if (running === undefined) this.#spawn(entry)
      else this.#adopt(entry, running)
    }
  }

  pid(name: string): number | undefined {
    const { child, adopted } = this.#entry(name)
    return child?.pid ?? adopted?.pid
  }

  /** Whether a process has ended as it should, and is not started again. */
  isDone(name: string): boolean {
    return this.#entry(name).isDone
  }

  /** Ends a process with this signal; it is started again like any other that ends. */
  kill(name: string, signal: NodeJS.Signals): void {
    signalTo(this.#entry(name), signal)
  }

  /** Ends everything: asks first, and kills what does not listen. */
  async stop(): Promise<void> {
    this.#isStopping = true
    for (const entry of this.#entries) {
      if (entry.adopted === undefined) clearTimeout(entry.timer)
      signalTo(entry, 'SIGTERM')
    }
    const hardly = setTimeout(() => {
      for (const entry of this.#entries) signalTo(entry, 'SIGKILL')
    }, TERM_MS)
    await this.#allEnded()
    clearTimeout(hardly)
  }

  #allEnded(): Promise<void> {
    return new Promise((resolve) => {
      this.#onAllEnded = resolve
      this.#checkAllEnded()
    })
  }

  #checkAllEnded(): void {
    const isOver = this.#entries.every(({ child, adopted }) => child === undefined && adopted === undefined)
    if (isOver) this.#onAllEnded?.()
  }

  #entry(name: string): Entry {
    return this.#entries.find(({ spec }) => spec.name === name)!
  }

  #adopt(entry: Entry, running: ProcessIdentity): void {
    entry.adopted = running
    // Its machine runs: one that is stopped from now on is not to be started again.
    entry.isFirst = false
    this.#events.onAdopted?.(entry.spec.name, running.pid)
    this.#watchAdopted(entry, running)
  }

  #watchAdopted(entry: Entry, running: ProcessIdentity): void {
    entry.timer = setTimeout(() => {
      if (isRunning(running)) return this.#watchAdopted(entry, running)
      entry.adopted = undefined
      if (this.#isStopping) return this.#checkAllEnded()
      this.#events.onEnded?.(entry.spec.name, 'how is not known', false)
      this.#spawn(entry)
    }, LOOK_MS)
  }

  #spawn(entry: Entry): void {
    const { spec } = entry
    entry.startedMs = performance.now()
    let child: ChildProcess
    try {
      child = spawnWithLog(spec, entry.isFirst)
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      return this.#startLater(entry, error.message)
    }
    entry.child = child
    entry.isFirst = false
    const onEnd = (how: string, isDone: boolean): void => this.#onEnd(entry, child, how, isDone)
    child.once('error', (error) => onEnd(error.message, false))
    child.once('exit', (code, signal) => onEnd(signal ?? `status ${code}`, code === 0))
    if (child.pid === undefined) return
    noteProcess(spec.noteFile, child.pid)
    this.#events.onStarted?.(spec.name, child.pid)
  }

  #onEnd(entry: Entry, child: ChildProcess, how: string, isDone: boolean): void {
    if (entry.child !== child) return
    entry.child = undefined
    entry.isDone = isDone
    forgetProcess(entry.spec.noteFile)
    if (this.#isStopping) return this.#checkAllEnded()
    if (isDone) this.#events.onEnded?.(entry.spec.name, how, true)
    else this.#startLater(entry, how)
  }

  #startLater(entry: Entry, how: string): void {
    this.#events.onEnded?.(entry.spec.name, how, false)
    const hasSettled = performance.now() - entry.startedMs >= SETTLED_MS
    entry.pauseMs = hasSettled ? PAUSE_MIN_MS : Math.min(PAUSE_MAX_MS, entry.pauseMs * 2)
    entry.timer = setTimeout(() => this.#spawn(entry), entry.pauseMs)
  }
}

/** Throws a UserError if the system does not let it be started. */
function spawnWithLog(spec: SupervisedProcess, isFirst: boolean): ChildProcess {
  const log = openLog(spec.logFile)
  try {
    return spawn(spec.command, spec.parameters(isFirst), {
      // A process group of its own: Ctrl-C at the terminal is for whoever decides what it means.
      ...{ detached: true, stdio: ['ignore', log, log] },
    })
  } catch (error) {
    throw fileError(error, 'start', spec.command)
  } finally {
    closeSync(log)
  }
}

function signalTo({ child, adopted }: Entry, signal: NodeJS.Signals): void {
  child?.kill(signal)
  if (adopted === undefined || !isRunning(adopted)) return
  try {
    process.kill(adopted.pid, signal)
  } catch (error) {
    // It has ended meanwhile.
    if (systemErrorCode(error) !== 'ESRCH') throw error
  }
}

function openLog(path: string): number {
  try {
    return openSync(path, 'a', 0o600)
  } catch (error) {
    throw fileError(error, 'write', path)
  }
}

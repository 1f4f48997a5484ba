/**
 * Keeps processes running: one that ends is started again, after a pause that grows while it ends soon.
 *
 *     stopped --start--> running --ends with another status than 0--> waiting --pause over--> running
 *                           '----------ends with 0--------------> done
 *
 * What a process writes goes to a log file of its own. Processes outlive the supervisor: a machine does not stop because
 * whoever watches over it has been killed.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { fileError } from '../../host/file_error.ts'

const PAUSE_MIN_MS = 100
const PAUSE_MAX_MS = 5000
/** A process that lived for so long has started well. */
const SETTLED_MS = 10_000
/** How long a process may take to end when it is asked to. */
const TERM_MS = 5000

export interface SupervisedProcess {
  readonly name: string
  readonly command: string
  /** `isFirst` is false when it is started again. */
  parameters(isFirst: boolean): readonly string[]
  readonly logFile: string
}

export interface SupervisorEvents {
  readonly onStarted?: (name: string, pid: number) => void
  readonly onEnded?: (name: string, how: string, isDone: boolean) => void
}

interface Entry {
  readonly spec: SupervisedProcess
  child: ChildProcess | undefined
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
      ...{ spec, child: undefined, timer: undefined, startedMs: 0 },
      ...{ pauseMs: PAUSE_MIN_MS, isFirst: true, isDone: false },
    }))
  }

  start(): void {
    for (const entry of this.#entries) this.#spawn(entry)
  }

  pid(name: string): number | undefined {
    return this.#entry(name).child?.pid
  }

  /** Whether a process has ended as it should, and is not started again. */
  isDone(name: string): boolean {
    return this.#entry(name).isDone
  }

  /** Ends a process with this signal; it is started again like any other that ends. */
  kill(name: string, signal: NodeJS.Signals): void {
    this.#entry(name).child?.kill(signal)
  }

  /** Ends everything: asks first, and kills what does not listen. */
  async stop(): Promise<void> {
    this.#isStopping = true
    for (const entry of this.#entries) {
      clearTimeout(entry.timer)
      entry.child?.kill('SIGTERM')
    }
    const hardly = setTimeout(() => {
      for (const { child } of this.#entries) child?.kill('SIGKILL')
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
    if (this.#entries.every(({ child }) => child === undefined)) this.#onAllEnded?.()
  }

  #entry(name: string): Entry {
    return this.#entries.find(({ spec }) => spec.name === name)!
  }

  #spawn(entry: Entry): void {
    const { spec } = entry
    const log = openLog(spec.logFile)
    const child = spawn(spec.command, spec.parameters(entry.isFirst), {
      // A process group of its own: Ctrl-C at the terminal is for whoever decides what it means.
      ...{ detached: true, stdio: ['ignore', log, log] },
    })
    closeSync(log)
    entry.child = child
    entry.isFirst = false
    entry.startedMs = performance.now()
    const onEnd = (how: string, isDone: boolean): void => this.#onEnd(entry, child, how, isDone)
    child.once('error', (error) => onEnd(error.message, false))
    child.once('exit', (code, signal) => onEnd(signal ?? `status ${code}`, code === 0))
    if (child.pid !== undefined) this.#events.onStarted?.(spec.name, child.pid)
  }

  #onEnd(entry: Entry, child: ChildProcess, how: string, isDone: boolean): void {
    if (entry.child !== child) return
    entry.child = undefined
    entry.isDone = isDone
    if (this.#isStopping) return this.#checkAllEnded()
    this.#events.onEnded?.(entry.spec.name, how, isDone)
    if (isDone) return
    const hasSettled = performance.now() - entry.startedMs >= SETTLED_MS
    entry.pauseMs = hasSettled ? PAUSE_MIN_MS : Math.min(PAUSE_MAX_MS, entry.pauseMs * 2)
    entry.timer = setTimeout(() => this.#spawn(entry), entry.pauseMs)
  }
}

function openLog(path: string): number {
  try {
    return openSync(path, 'a', 0o600)
  } catch (error) {
    throw fileError(error, 'write', path)
  }
}

/** What the demo does with its machine: looks at it, kills its primary, hands over, and says what has come of it. */
import { UserError } from '../../base/errors.ts'
import type { PairStatus } from '../host/pair_control.ts'
import type { PairRun } from '../host/pair_run.ts'
import type { AppendLoad } from './append_load.ts'

const LOOK_MS = 250
/** Booting, joining and failing over take seconds; a busy computer may take longer. */
const PATIENCE_MS = 240_000
const STEP_MS = 50
const SAVE_MS = 60_000

export interface DemoEvents {
  /** Something worth a line has happened. */
  readonly onEvent: (text: string) => void
  /** The status is new. */
  readonly onLooked: () => void
}

export class DemoRun {
  readonly load: AppendLoad
  readonly #run: PairRun
  readonly #events: DemoEvents
  readonly #aborted: AbortSignal
  #status: PairStatus | undefined
  #kills = 0
  #wasServing = false
  /** The primary that was killed, or asked to hand over, until the client has an answer from the next one. */
  #leaving: { readonly pid: number; acknowledged: number | undefined } | undefined
  /** Whether a copy joins after that, for which the machine stands still for a moment. */
  #isJoining = false

  /** `aborted` ends every waiting. */
  constructor(run: PairRun, load: AppendLoad, events: DemoEvents, aborted: AbortSignal) {
    this.#run = run
    this.load = load
    this.#events = events
    this.#aborted = aborted
  }

  get status(): PairStatus | undefined {
    return this.#status
  }

  get kills(): number {
    return this.#kills
  }

  /** Whether the machine has ended by itself, as by `poweroff` in the guest. */
  get isOver(): boolean {
    return this.#run.isOver
  }

  get isReady(): boolean {
    return this.#status?.protection === 'protected' && this.load.counts().isServing
  }

  /** Looks at the machine until the demo ends. */
  async watch(): Promise<void> {
    while (!this.#aborted.aborted && !this.isOver) {
      const status = await this.#run.control.status()
      this.#say(this.#status, status)
      this.#status = status
      this.#events.onLooked()
      await pause(LOOK_MS, this.#aborted)
    }
  }

  /** Kills the primary's process, without a word to it. False if there is none. */
  killPrimary(): boolean {
    const primary = this.#status?.primary
    if (primary === undefined || primary === null) return false
    this.load.mark()
    this.#run.supervisor.kill(primary.host, 'SIGKILL')
    this.#kills++
    this.#leaving = { pid: primary.pid, acknowledged: undefined }
    this.#events.onEvent(`the primary, ${primary.host} (pid ${primary.pid}), is killed`)
    return true
  }

  /** Has the backup take over in order. */
  async handOver(): Promise<void> {
    if (this.#status?.protection !== 'protected') {
      this.#events.onEvent('there is no backup to hand over to so far')
      return
    }
    this.load.mark()
    const { primary } = this.#status
    if (primary !== null) this.#leaving = { pid: primary.pid, acknowledged: undefined }
    try {
      const client = await this.#run.control.connectToPrimary()
      this.#events.onEvent('the primary is asked to hand over')
      await client.request('failover').finally(() => client.close())
    } catch (error) {
      this.#events.onEvent(`no hand-over: ${(error as Error).message}`)
    }
  }

  /** Saves the machine when it serves, for later demos to start from. */
  async save(path: string): Promise<void> {
    try {
      await this.until(() => this.load.counts().isServing, 'serving')
      if (this.#aborted.aborted) return
      const client = await this.#run.control.connectToPrimary()
      await client.request('snapshot', { path }, { timeoutMs: SAVE_MS }).finally(() => client.close())
      this.#events.onEvent('saved: the next demo starts from here')
    } catch (error) {
      this.#events.onEvent(`not saved, so the next demo boots again: ${(error as Error).message}`)
    }
  }

  /** Kills the primary `rounds` times, each time `afterMs` after all is well. Throws a UserError if it never is. */
  async killRounds(rounds: number, afterMs: number): Promise<void> {
    for (let round = 1; round <= rounds; round++) {
      await this.until(() => this.isReady, 'protected and serving')
      await pause(afterMs, this.#aborted)
      const before = this.#status?.primary?.pid
      if (this.#aborted.aborted) return
      if (!this.killPrimary()) throw new UserError('there is no primary to kill')
      await this.until(
        () => this.isReady && this.#status?.primary?.pid !== before,
        `protected again after kill ${round}`,
      )
    }
  }

  /** Waits for something; returns at once if the demo ends. Throws a UserError if it takes too long. */
  async until(condition: () => boolean, what: string): Promise<void> {
    const end = performance.now() + PATIENCE_MS
    while (!condition() && !this.#aborted.aborted) {
      if (this.isOver) throw new UserError('the machine has ended')
      if (performance.now() > end) {
        throw new UserError(
          `the machine is not ${what} after ${PATIENCE_MS / 1000} s: see the logs in ${this.#run.pair.directory}`,
        )
      }
      await pause(STEP_MS, this.#aborted)
    }
  }

  #say(before: PairStatus | undefined, now: PairStatus): void {
    const { onEvent } = this.#events
    const counts = this.load.counts()
    if (counts.isServing && !this.#wasServing) onEvent('Redis answers: appending begins')
    this.#wasServing = counts.isServing
    if (now.primary !== null && now.primary.pid !== before?.primary?.pid)
      onEvent(`the primary is ${now.primary.host} (pid ${now.primary.pid}), epoch ${now.epoch}`)
    this.#sayOutage(now)
    if (now.protection !== 'protected' || now.backup === null) return
    if (before?.protection === 'protected' && before.backup?.pid === now.backup.pid) return
    const joinText = `: the client waited ${Math.round(counts.pauseSinceMarkMs)} ms at most while it joined`
    onEvent(
      `protected: the backup is ${now.backup.host} (pid ${now.backup.pid})${this.#isJoining ? joinText : ''}`,
    )
    this.#isJoining = false
  }

  /** What the loss of the primary has cost the client is known when two answers have come since there is another one. */
  #sayOutage({ primary }: PairStatus): void {
    const leaving = this.#leaving
    if (leaving === undefined || primary === null || primary.pid === leaving.pid) return
    const { acknowledged, pauseSinceMarkMs } = this.load.counts()
    leaving.acknowledged ??= acknowledged
    if (acknowledged < leaving.acknowledged + 2) return
    this.#leaving = undefined
    this.#isJoining = true
    this.#events.onEvent(`the client waited ${Math.round(pauseSinceMarkMs)} ms at most`)
    this.load.mark()
  }
}

/** Waits, or until the signal. */
export function pause(ms: number, aborted: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer)
      aborted.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    aborted.addEventListener('abort', done)
    if (aborted.aborted) done()
  })
}

/**
 * The parent's side of a file arbiter's process.
 *
 *     none ──request──> starting ──first message──> ready ──nothing for timeoutMs──> abandoned ──> (exits, some day)
 *                                                     └──exits──> none
 *
 * A request that is not answered in time is answered 'unreachable' here. If its process has said nothing at all
 * for as long, it hangs in the storage: it is killed, which takes effect when the storage lets go of it, and the next
 * request starts another. What it was doing may still be done; that is what 'unreachable' means.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { assert } from '../base/assert.ts'
import type { NumberedReply, NumberedRequest, StorageReply, StorageRequest } from './file_arbiter_child.ts'

export type OnReply = (reply: StorageReply) => void

/** A process that has not even started by then never will. */
const START_MS_MAX = 15_000
/** Processes that hang at the same time; more would help nobody and fill the host. */
const ABANDONED_MAX = 4

interface Waiting {
  readonly onReply: OnReply
  readonly timer: NodeJS.Timeout
}

interface Running {
  readonly child: ChildProcess
  readonly startedMs: number
  isReady: boolean
  /** When it last said something. */
  heardMs: number
  readonly waiting: Map<number, Waiting>
}

export class FileArbiterProcess {
  readonly #parameters: readonly [path: string, machine: string]
  readonly #timeoutMs: number
  #running: Running | undefined
  #abandoned = 0
  #lastId = 0
  #isClosed = false

  /** Starts the process at once, so that the first request need not wait for it. */
  constructor(parameters: readonly [path: string, machine: string], timeoutMs: number) {
    this.#parameters = parameters
    this.#timeoutMs = timeoutMs
    this.#running = this.#start()
  }

  /** The process that works now, if there is one. */
  get pid(): number | undefined {
    return this.#running?.child.pid
  }

  /** Sends a request. Its reply comes later, within the timeout (or the time that a process takes to start, once). */
  request(request: StorageRequest, onReply: OnReply): void {
    assert(!this.#isClosed, 'a request to a closed arbiter')
    if (this.#running === undefined && this.#abandoned < ABANDONED_MAX) this.#running = this.#start()
    const running = this.#running
    if (running === undefined) {
      const reason = `${this.#abandoned} processes hang in ${this.#parameters[0]}: the storage does not answer`
      setImmediate(() => this.#deliver({ kind: 'unreachable', reason }, onReply))
      return
    }
    const id = ++this.#lastId
    const timer = setTimeout(() => this.#onTimeout(running, id), this.#timeoutMs)
    running.waiting.set(id, { onReply, timer })
    holdParent(running)
    running.child.send({ id, request } satisfies NumberedRequest, () => {})
  }

  /** Gives everything up without replies. */
  close(): void {
    this.#isClosed = true
    const running = this.#running
    if (running === undefined) return
    for (const { timer } of running.waiting.values()) clearTimeout(timer)
    running.waiting.clear()
    this.#abandon(running, '')
  }

  #start(): Running {
    // Node's own options, such as those of a test runner, are not for this process; its heap is small.
    const child = fork(fileURLToPath(new URL('./file_arbiter_child.ts', import.meta.url)), this.#parameters, {
      execArgv: ['--max-semi-space-size=1'],
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    })
    const nowMs = performance.now()
    const running = { child, startedMs: nowMs, isReady: false, heardMs: nowMs, waiting: new Map() }
    child.on('message', (message: NumberedReply) => this.#onMessage(running, message))
    child.on('exit', (status, signal) =>
      this.#onEnd(running, `its process ended (${signal ?? `status ${status}`})`),
    )
    child.on('error', (error) => this.#onEnd(running, `its process cannot be started: ${error.message}`))
    holdParent(running)
    return running
  }

  #onMessage(running: Running, { id, reply }: NumberedReply): void {
    running.isReady = true
    running.heardMs = performance.now()
    // Number 0, or a request that was given up.
    const waiting = running.waiting.get(id)
    if (waiting === undefined || reply === undefined) return
    this.#settle(running, id, reply)
  }

  #onTimeout(running: Running, id: number): void {
    const reason = `${this.#parameters[0]}: no answer within ${this.#timeoutMs} ms`
    this.#settle(running, id, { kind: 'unreachable', reason })
    const nowMs = performance.now()
    const sinceMs = running.isReady ? running.heardMs : running.startedMs
    // Timers may be early by a fraction of a millisecond.
    const limitMs = running.isReady ? this.#timeoutMs - 1 : START_MS_MAX
    if (nowMs - sinceMs >= limitMs && this.#running === running) this.#abandon(running, reason)
  }

  #abandon(running: Running, reason: string): void {
    this.#running = undefined
    this.#abandoned++
    running.child.on('exit', () => this.#abandoned--)
    running.child.kill('SIGKILL')
    if (running.child.connected) running.child.disconnect()
    this.#failAll(running, reason)
  }

  #onEnd(running: Running, reason: string): void {
    if (this.#running === running) this.#running = undefined
    this.#failAll(running, `${this.#parameters[0]}: ${reason}`)
  }

  #failAll(running: Running, reason: string): void {
    for (const id of [...running.waiting.keys()]) this.#settle(running, id, { kind: 'unreachable', reason })
  }

  #settle(running: Running, id: number, reply: StorageReply): void {
    const { onReply, timer } = running.waiting.get(id)!
    clearTimeout(timer)
    running.waiting.delete(id)
    holdParent(running)
    this.#deliver(reply, onReply)
  }

  #deliver(reply: StorageReply, onReply: OnReply): void {
    assert(reply.kind !== 'fault', reply.kind === 'fault' ? reply.stack : '')
    if (!this.#isClosed) onReply(reply)
  }
}

/** An idle arbiter does not keep its process from ending; one that owes an answer does, until that has come. */
function holdParent({ child, waiting }: Running): void {
  const hold = waiting.size > 0 ? 'ref' : 'unref'
  child[hold]()
  child.channel?.[hold]()
}

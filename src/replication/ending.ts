/**
 * The primary's end in order, which the operator, the guest or a failed disk brings: first its machine stops.
 *
 *     none --begin--> stopping --all stops answered--> machine stopped
 *       ^---cancel (a hand-over only)--'------------------------'
 *
 * A stop that was cancelled is answered all the same, maybe after the machine was told to go on: so the answers are
 * counted, and one that nobody waits for any more stops nothing.
 */
import type { Context } from './context.ts'

export type EndingKind = 'failOver' | 'stop'

export class Ending {
  readonly #context: Context
  #kind: EndingKind | undefined
  #stopsUnanswered = 0
  #isPoweredOff = false
  #sinceMs = 0

  constructor(context: Context) {
    this.#context = context
  }

  /** What it ends in; undefined while the machine is to go on. */
  get kind(): EndingKind | undefined {
    return this.#kind
  }

  /** Whether nothing runs any more, and all that ran is logged. */
  get isMachineStopped(): boolean {
    return this.#kind !== undefined && (this.#isPoweredOff || this.#stopsUnanswered === 0)
  }

  /** Whether outputs have been waiting to leave for longer than the end can wait for them. */
  get isOverdue(): boolean {
    return this.#context.nowMs - this.#sinceMs >= this.#context.settings.stopMs
  }

  begin(kind: EndingKind): void {
    this.#kind = kind
    this.#sinceMs = this.#context.nowMs
    this.#stopsUnanswered++
    this.#context.emit({ kind: 'stopExecution' })
  }

  /** The machine has answered a stop. */
  onStopped(): void {
    if (this.#stopsUnanswered > 0) this.#stopsUnanswered--
  }

  /** The guest has ended by itself, whatever was meant to happen. */
  onPoweredOff(): void {
    if (this.#isPoweredOff) return
    this.#kind = 'stop'
    this.#sinceMs = this.#context.nowMs
    this.#isPoweredOff = true
  }

  /** Gives up a hand-over; false if there is none. The caller lets the machine go on. */
  cancelFailOver(): boolean {
    if (this.#kind !== 'failOver') return false
    this.#kind = undefined
    return true
  }
}

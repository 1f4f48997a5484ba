/**
 * Whether the other copy seems to be alive: heard from lately, and getting anywhere. Being wrong is safe, since a
 * suspicion only leads to a proposal; being hasty costs a backup.
 */
import type { Context } from './context.ts'
import type { Heartbeat } from './message.ts'

export class PeerWatch {
  readonly #context: Context
  #heardMs: number
  #progressMs: number
  #position = 0n
  /** Whether a pause has been pardoned since anything arrived. */
  #isPardoned = false

  constructor(context: Context) {
    this.#context = context
    this.#heardMs = context.nowMs
    this.#progressMs = context.nowMs
  }

  /** Anything has arrived. */
  onHeard(): void {
    this.#heardMs = this.#context.nowMs
    this.#isPardoned = false
  }

  onHeartbeat({ state, position }: Heartbeat): void {
    if (position !== this.#position || state !== 'running') this.#progressMs = this.#context.nowMs
    this.#position = position
  }

  /**
   * This process has paused, so the silence may be its own. One pause is pardoned until something arrives: a process
   * that pauses all the time, on a host that is too busy, must not wait for ever for a peer that is gone.
   */
  onPause(): void {
    if (!this.#isPardoned) this.reset()
    this.#isPardoned = true
  }

  /** Starts anew, with a new channel. */
  reset(): void {
    this.#heardMs = this.#context.nowMs
    this.#progressMs = this.#context.nowMs
  }

  /** Why the other copy is taken for dead, or undefined. */
  suspicion(): string | undefined {
    const { nowMs, settings } = this.#context
    if (nowMs - this.#heardMs >= settings.suspicionMs) return `silent for ${nowMs - this.#heardMs} ms`
    if (nowMs - this.#progressMs >= settings.stallMs) return `no progress for ${nowMs - this.#progressMs} ms`
    return undefined
  }
}

/** Notices that this process itself has stood still, so that its view of others is old. */
export class PauseWatch {
  readonly #context: Context
  #lastMs: number

  constructor(context: Context) {
    this.#context = context
    this.#lastMs = context.nowMs
  }

  /** Whether more than half of the suspicion time has gone by since the last tick. */
  onTick(): boolean {
    const { nowMs, settings } = this.#context
    const gapMs = nowMs - this.#lastMs
    this.#lastMs = nowMs
    return gapMs > settings.suspicionMs / 2
  }
}

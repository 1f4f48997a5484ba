/** What a primary has its machine log for the copy that follows: digests, and which outputs have left. */
import type { Context } from './context.ts'
import type { PortOrdinal } from './message.ts'

export class LogUpkeep {
  readonly #context: Context
  #digestMs = 0
  #releasedMs = 0
  readonly #releasedLogged = new Map<number, bigint>()

  constructor(context: Context) {
    this.#context = context
  }

  /** Logs what is due; `left` is what has left, port by port. */
  onTick(left: readonly PortOrdinal[]): void {
    const { nowMs, settings } = this.#context
    if (nowMs - this.#digestMs >= settings.digestMs) {
      this.#digestMs = nowMs
      this.#context.emit({ kind: 'append', record: { kind: 'digest', isUrgent: false } })
    }
    if (nowMs - this.#releasedMs < settings.releasedMs) return
    this.#releasedMs = nowMs
    for (const { port, ordinal } of left) {
      if (ordinal <= (this.#releasedLogged.get(port) ?? 0n)) continue
      this.#releasedLogged.set(port, ordinal)
      this.#context.emit({ kind: 'append', record: { kind: 'released', port, ordinal } })
    }
  }
}

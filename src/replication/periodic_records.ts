/** What a primary logs by time, for whoever follows: the machine's digest, and what has left. */
import type { Context } from './context.ts'
import type { OutputGate } from './output_gate.ts'

export class PeriodicRecords {
  readonly #context: Context
  #digestMs = 0
  #releasedMs = 0
  readonly #released = new Map<number, bigint>()

  constructor(context: Context) {
    this.#context = context
  }

  onTick(gate: OutputGate): void {
    const { nowMs, settings } = this.#context
    if (nowMs - this.#digestMs >= settings.digestMs) {
      this.#digestMs = nowMs
      this.#context.emit({ kind: 'append', record: { kind: 'digest' } })
    }
    if (nowMs - this.#releasedMs < settings.releasedMs) return
    this.#releasedMs = nowMs
    for (const { port, ordinal } of gate.left) {
      if (ordinal <= (this.#released.get(port) ?? 0n)) continue
      this.#released.set(port, ordinal)
      this.#context.emit({ kind: 'append', record: { kind: 'released', port, ordinal } })
    }
  }
}

/** What a process measures of its part: how long outputs wait, how much is logged. */
import type { MachineOutput } from '../../replication/ports.ts'

/** The latest so many delays are kept. */
const DELAYS_KEPT = 1024
const WINDOW_MS = 5000
const WINDOWS = 5

export class Measurements {
  readonly #producedMs = new Map<bigint, number>()
  readonly #delays: number[] = []
  #nextDelay = 0
  #logBytes = 0
  #released = 0
  #delaySumMs = 0
  /** Totals of `#logBytes` in the past, oldest first. */
  readonly #samples: { readonly ms: number; readonly bytes: number }[] = []

  onProduced(outputs: readonly MachineOutput[]): void {
    const now = performance.now()
    for (const { index } of outputs) this.#producedMs.set(index, now)
  }

  onReleased(outputs: readonly MachineOutput[]): void {
    const now = performance.now()
    for (const { index } of outputs) {
      const since = this.#producedMs.get(index)
      if (since === undefined) continue
      this.#producedMs.delete(index)
      this.#delays[this.#nextDelay] = now - since
      this.#released++
      this.#delaySumMs += now - since
      this.#nextDelay = (this.#nextDelay + 1) % DELAYS_KEPT
    }
  }

  onLogged(bytes: number): void {
    this.#logBytes += bytes
  }

  /** Outputs that have left so far, and for how long they have waited together. */
  get released(): { readonly outputs: number; readonly delaySumMs: number } {
    return { outputs: this.#released, delaySumMs: this.#delaySumMs }
  }

  get logBytes(): number {
    return this.#logBytes
  }

  /** Bytes of log a second, over the time since it was asked for some five seconds ago. */
  logBytesPerSecond(): number {
    const ms = performance.now()
    const newest = this.#samples.at(-1)
    if (newest === undefined || ms - newest.ms >= WINDOW_MS / WINDOWS) {
      this.#samples.push({ ms, bytes: this.#logBytes })
      if (this.#samples.length > WINDOWS) this.#samples.shift()
    }
    const oldest = this.#samples[0]!
    return ms === oldest.ms ? 0 : Math.round(((this.#logBytes - oldest.bytes) * 1000) / (ms - oldest.ms))
  }

  /** For how long the latest outputs waited, in milliseconds. */
  outputDelayMs(): { readonly p50: number; readonly p99: number } {
    const sorted = [...this.#delays].sort((a, b) => a - b)
    const at = (share: number): number =>
      Math.round((sorted[Math.floor((sorted.length - 1) * share)] ?? 0) * 1000) / 1000
    return { p50: at(0.5), p99: at(0.99) }
  }
}

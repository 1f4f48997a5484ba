/** How long to wait for an acknowledgement (RFC 6298), in milliseconds. */

const INITIAL_MS = 1000
/** As Linux has it; RFC 6298 would have a second, which is far above any round trip to a guest. */
const MIN_MS = 200
const MAX_MS = 60_000

export class RetransmissionTimeout {
  #smoothed: number | undefined
  #variation = 0
  #timeoutMs = INITIAL_MS
  #backoff = 0

  get currentMs(): number {
    return Math.min(MAX_MS, this.#timeoutMs * 2 ** this.#backoff)
  }

  /** Takes the measured time of a round trip. */
  sample(roundTripMs: number): void {
    if (this.#smoothed === undefined) {
      this.#smoothed = roundTripMs
      this.#variation = roundTripMs / 2
    } else {
      this.#variation = 0.75 * this.#variation + 0.25 * Math.abs(this.#smoothed - roundTripMs)
      this.#smoothed = 0.875 * this.#smoothed + 0.125 * roundTripMs
    }
    this.#timeoutMs = Math.max(MIN_MS, this.#smoothed + 4 * this.#variation)
  }

  /** Doubles the timeout: it has passed without an answer. */
  backOff(): void {
    if (this.currentMs < MAX_MS) this.#backoff++
  }

  /** The other side has answered, or is there again. */
  reset(): void {
    this.#backoff = 0
  }
}

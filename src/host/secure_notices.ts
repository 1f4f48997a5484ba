/** Lines for the log about what strangers do: so many in a while and no more, for strangers can do it often. */

const LINES_MAX = 10
const WINDOW_MS = 10_000
const LINE_CHARACTERS_MAX = 300

/** One line of what may be anything: no control characters, and not too long. */
export function printable(text: string): string {
  return text.slice(0, LINE_CHARACTERS_MAX).replace(/[^ -~]/g, '?')
}

export class NoticeLimit {
  readonly #onNotice: (line: string) => void
  readonly #nowMs: () => number
  #startMs = Number.NEGATIVE_INFINITY
  #said = 0
  #unsaid = 0

  constructor(onNotice: (line: string) => void, nowMs = () => performance.now()) {
    this.#onNotice = onNotice
    this.#nowMs = nowMs
  }

  /** Passes the line on, or counts it for the next one that is passed on. */
  say(line: string): void {
    const nowMs = this.#nowMs()
    if (nowMs - this.#startMs >= WINDOW_MS) {
      this.#startMs = nowMs
      this.#said = 0
    }
    if (this.#said >= LINES_MAX) {
      this.#unsaid++
      return
    }
    this.#said++
    const before = this.#unsaid === 0 ? '' : ` (and ${this.#unsaid} notices before this, left out)`
    this.#unsaid = 0
    this.#onNotice(`${printable(line)}${before}`)
  }
}

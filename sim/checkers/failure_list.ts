/** The failures that one checker has found. The first ones explain a run; the rest are only counted. */

const LINES_MAX = 10

export class FailureList {
  readonly #lines: string[] = []
  #left = 0

  get lines(): readonly string[] {
    if (this.#left === 0) return this.#lines
    return [...this.#lines, `and ${this.#left} more`]
  }

  /** `atMs` is when it was noticed, which is not always when it happened. */
  add(atMs: number, what: string): void {
    if (this.#lines.length < LINES_MAX) this.#lines.push(`at ${atMs} ms: ${what}`)
    else this.#left++
  }
}

/** A line at the bottom of the terminal that shows how far something is. Nothing is shown where there is no terminal. */

/** The part of a terminal's stream that is needed, such as process.stderr. */
export interface Terminal {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

const COLUMNS_DEFAULT = 80
const BAR_COLUMNS = 24
const ERASE_TO_END_OF_LINE = '\x1b[K'

export class ProgressBar {
  readonly #terminal: Terminal
  #label: string | undefined
  #shown = ''

  constructor(terminal: Terminal) {
    this.#terminal = terminal
  }

  /** Shows that `done` of `total` is reached. Another label than before begins a new line. */
  update(label: string, done: number, total: number): void {
    if (!this.#terminal.isTTY) return
    if (this.#label !== undefined && this.#label !== label) this.finish()
    this.#label = label
    const line = this.#line(label, total > 0 ? Math.min(1, done / total) : 1)
    if (line === this.#shown) return
    this.#shown = line
    this.#terminal.write(`\r${line}${ERASE_TO_END_OF_LINE}`)
  }

  /** Leaves the line as it is, and the cursor below it. */
  finish(): void {
    if (this.#label !== undefined) this.#terminal.write('\n')
    this.#label = undefined
    this.#shown = ''
  }

  #line(label: string, share: number): string {
    const filled = Math.round(share * BAR_COLUMNS)
    const bar = `[${'#'.repeat(filled)}${'.'.repeat(BAR_COLUMNS - filled)}]`
    const line = `${bar} ${`${Math.floor(share * 100)}`.padStart(3)}%  ${label}`
    // A line that fills the last column would wrap, and \r would no longer return to its start.
    // Some terminals say that they have no columns at all.
    return line.slice(0, (this.#terminal.columns || COLUMNS_DEFAULT) - 1)
  }
}

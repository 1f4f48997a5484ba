/** Finds marks, lines `@name`, in what a guest's console says. */
export class MarkReader {
  readonly #onMark: (name: string) => void
  #line = ''

  constructor(onMark: (name: string) => void) {
    this.#onMark = onMark
  }

  push(bytes: Uint8Array): void {
    const lines = (this.#line + Buffer.from(bytes).toString('latin1')).split('\n')
    this.#line = lines.pop()!
    for (const line of lines) if (line.startsWith('@')) this.#onMark(line.slice(1).trimEnd())
  }
}

/** A mark as the host saw it. */
export interface Mark {
  readonly mark: string
  /** Milliseconds since 1970. */
  readonly ms: number
}

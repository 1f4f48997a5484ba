/** Why something that arrived was not taken: a few words from a fixed set, so that they can be counted. */
export interface Refusal {
  readonly refused: string
}

export function refuse(refused: string): Refusal {
  return { refused }
}

export function isRefusal(value: object): value is Refusal {
  return 'refused' in value
}

/** Counts refusals, and says when one should be told: at the first, tenth, hundredth, so that no flood fills a log. */
export class RefusalCounter {
  readonly #counts = new Map<string, number>()
  readonly #onNotice: (text: string) => void

  constructor(onNotice: (text: string) => void) {
    this.#onNotice = onNotice
  }

  get total(): number {
    let total = 0
    for (const count of this.#counts.values()) total += count
    return total
  }

  count(reason: string): void {
    const count = (this.#counts.get(reason) ?? 0) + 1
    this.#counts.set(reason, count)
    if (!Number.isInteger(Math.log10(count))) return
    this.#onNotice(count === 1 ? `dropped ${reason}` : `dropped ${reason}, ${count} times so far`)
  }
}

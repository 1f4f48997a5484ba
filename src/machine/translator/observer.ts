/** Who hears of what is translated, for profiles: nothing of what it does has a way into the machine. */

export interface TranslatedRegion {
  /** That of its WebAssembly function, which no other region of the machine has. */
  readonly name: string
  /** Where it begins: a page of RAM, and the byte in it. */
  readonly page: number
  readonly inPage: number
  /** Where that was in the hart's address space when the region was asked for; in RAM, if it was kept and the hart has not been there lately. */
  readonly address: bigint
  readonly instructions: number
}

export interface TranslationObserver {
  /** Has to do `work`, which emits and compiles regions behind a slice. */
  onWork(work: () => void): void
  /** A region has been compiled. */
  onRegion(region: TranslatedRegion): void
  /** A slice of `steps` has ended for want of more, outside of any region: the hart was at `address`. */
  onInterpreted(address: bigint, steps: number): void
}

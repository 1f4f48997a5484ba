/** Where a test's random decisions come from: a seed, or numbers that a property-based test made up and can shrink. */
export interface Choices {
  /** 0 to `bound` - 1. */
  below(bound: number): number
}

/** By seed (xorshift32). */
export function seededChoices(seed: number): Choices {
  let state = Math.imul(seed + 1, 0x9e37_79b1) >>> 0 || 1
  return {
    below(bound) {
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
      return Math.floor(((state >>> 0) / 2 ** 32) * bound)
    },
  }
}

/** Given numbers, one for each choice; 0, the simplest choice, when they are used up. */
export function listedChoices(numbers: readonly number[]): Choices {
  let next = 0
  return { below: (bound) => (numbers[next++] ?? 0) % bound }
}

export function pick<T>(choices: Choices, from: readonly T[]): T {
  return from[choices.below(from.length)]!
}

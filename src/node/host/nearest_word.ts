/** What somebody has meant who mistyped. */

/** Longer words are not compared: nobody mistypes one of ours into them. */
const LENGTH_MAX = 64

/** The word that is most like `typed`; undefined if none is like it. */
export function nearestWord(typed: string, words: readonly string[]): string | undefined {
  if (typed.length > LENGTH_MAX) return undefined
  const plain = (word: string): string => word.toLowerCase().replaceAll(/[-_]/g, '')
  const distances = words.map((word) => ({ word, distance: editDistance(plain(typed), plain(word)) }))
  const [best] = distances.sort((one, other) => one.distance - other.distance)
  return best !== undefined && best.distance <= Math.max(1, Math.floor(best.word.length / 3))
    ? best.word
    : undefined
}

/** How many letters must be put in, taken out or changed to make one of the other (Levenshtein). */
function editDistance(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, i) => i)
  for (let i = 1; i <= one.length; i++) {
    const next = [i]
    for (let j = 1; j <= other.length; j++) {
      const change = row[j - 1]! + (one[i - 1] === other[j - 1] ? 0 : 1)
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1))
    }
    row = next
  }
  return row[other.length]!
}

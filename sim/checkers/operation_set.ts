/**
 * A set of operations, by number, that is nearly all of 0 to n - 1: answered operations are numbered by their answers,
 * and are put in order with few exceptions in that order. So its key is short however long the history: the first number
 * that is missing, and the members beyond it.
 */
export class OperationSet {
  readonly #members: Uint8Array
  #size = 0
  #missing = 0

  constructor(operations: number) {
    this.#members = new Uint8Array(operations)
  }

  /** The smallest number that is not in the set. */
  get missing(): number {
    return this.#missing
  }

  has(operation: number): boolean {
    return this.#members[operation] === 1
  }

  add(operation: number): void {
    this.#members[operation] = 1
    this.#size++
    while (this.has(this.#missing)) this.#missing++
  }

  delete(operation: number): void {
    this.#members[operation] = 0
    this.#size--
    if (operation < this.#missing) this.#missing = operation
  }

  /** Equal exactly for equal sets. */
  key(): string {
    let key = `${this.#missing}`
    let member = this.#missing
    for (let left = this.#size - this.#missing; left > 0; left--) {
      member = this.#members.indexOf(1, member + 1)
      key += `,${member}`
    }
    return key
  }
}

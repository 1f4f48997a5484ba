/**
 * Input for a guest's console that its machine has not taken yet. A guest takes it when something in it listens, and at
 * its own speed: until then it waits here, and whoever brings it waits as well.
 */

interface Piece {
  readonly bytes: Uint8Array
  readonly onTaken: () => void
}

export class ConsoleInput {
  readonly #pieces: Piece[] = []
  /** Bytes of the first piece that have been taken. */
  #taken = 0

  get isEmpty(): boolean {
    return this.#pieces.length === 0
  }

  /** Resolves when all of these bytes have been taken. */
  push(bytes: Uint8Array): Promise<void> {
    if (bytes.length === 0) return Promise.resolve()
    return new Promise((onTaken) => this.#pieces.push({ bytes, onTaken }))
  }

  /** The next bytes, at most `room` of them; undefined if there are none. */
  take(room: number): Uint8Array | undefined {
    const piece = this.#pieces[0]
    if (piece === undefined || room === 0) return undefined
    const bytes = piece.bytes.subarray(this.#taken, this.#taken + room)
    this.#taken += bytes.length
    if (this.#taken < piece.bytes.length) return bytes
    this.#pieces.shift()
    this.#taken = 0
    piece.onTaken()
    return bytes
  }
}

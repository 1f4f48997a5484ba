/**
 * The machine's consoles as people see them: what has left lately, and who listens.
 *
 * A console outlives the primary: whoever listens comes back to the next one, and says which byte of which life it has
 * seen last. Ordinals count bytes, so nothing is shown twice (P61, P62).
 */
import type { MachineOutput } from '../../replication/ports.ts'

/** What is kept for whoever comes later. */
const KEPT_BYTES = 64 * 1024

export interface ConsolePiece {
  readonly life: number
  readonly port: number
  /** Ordinal of the last byte. */
  readonly ordinal: bigint
  readonly bytes: Uint8Array
}

export type ConsoleListener = (piece: ConsolePiece) => void

export class ConsoleHub {
  #life = 0
  #kept: ConsolePiece[] = []
  #keptBytes = 0
  readonly #left = new Map<number, bigint>()
  readonly #listeners = new Set<ConsoleListener>()

  /** The primary of a life puts out from now on. */
  attach(life: number): void {
    if (life !== this.#life) this.#left.clear()
    this.#life = life
  }

  put({ port, ordinal, bytes }: MachineOutput): void {
    if (ordinal <= (this.#left.get(port) ?? 0n)) return
    this.#left.set(port, ordinal)
    const piece = { life: this.#life, port, ordinal, bytes }
    this.#kept.push(piece)
    this.#keptBytes += bytes.length
    while (this.#keptBytes > KEPT_BYTES && this.#kept.length > 1)
      this.#keptBytes -= this.#kept.shift()!.bytes.length
    for (const listener of this.#listeners) listener(piece)
  }

  /** Hears what is kept, and everything from now on, until the returned function is called. */
  listen(listener: ConsoleListener): () => void {
    for (const piece of this.#kept) listener(piece)
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}

/**
 * The primary's outputs, from their production until they have left: the output rule's place.
 *
 *     held --released: acknowledged, or no one has to--> unconfirmed --left--> gone
 *       ^------------------- the link broke -----------------'
 *
 * Outputs leave in the order of their records. A released output is kept until the other end has said that it has it,
 * since the link may break or this copy may have to hand it to another.
 *
 * Invariants: indexes never fall and ordinals of a port rise, over held and unconfirmed; what is unconfirmed stands
 * before what is held.
 */
import { assert } from '../base/assert.ts'
import type { PortOrdinal } from './message.ts'
import type { MachineOutput } from './ports.ts'

export class OutputGate {
  /** What is pending, from `#head` on: first the unconfirmed outputs, from `#firstHeld` on those held. */
  #outputs: MachineOutput[] = []
  #head = 0
  #firstHeld = 0
  #bytes = 0
  #lastIndex = -1n
  readonly #lastOrdinal = new Map<number, bigint>()
  readonly #left = new Map<number, bigint>()

  /** Bytes of outputs held or unconfirmed. */
  get bytes(): number {
    return this.#bytes
  }

  get isEmpty(): boolean {
    return this.#head === this.#outputs.length
  }

  /** Whether outputs wait for their release. */
  get isHolding(): boolean {
    return this.#firstHeld < this.#outputs.length
  }

  /** All that are held or unconfirmed, in order. */
  get pending(): readonly MachineOutput[] {
    return this.#outputs.slice(this.#head)
  }

  /** For each port the highest ordinal that is known to have left. */
  get left(): PortOrdinal[] {
    return [...this.#left].map(([port, ordinal]) => ({ port, ordinal }))
  }

  /** Whether an output goes on where the ones before it ended. */
  accepts({ port, ordinal, index }: MachineOutput): boolean {
    return index >= this.#lastIndex && ordinal > (this.#lastOrdinal.get(port) ?? 0n)
  }

  add(output: MachineOutput): void {
    const { port, ordinal, index, bytes } = output
    assert(this.accepts(output), `output ${port}:${ordinal} of record ${index} after ${this.#lastIndex}`)
    this.#lastIndex = index
    this.#lastOrdinal.set(port, ordinal)
    if (ordinal <= (this.#left.get(port) ?? 0n)) return
    this.#outputs.push(output)
    this.#bytes += bytes.length
  }

  /** Whether this machine has ever put out so much on the port, as far as is known here. */
  knows(port: number, ordinal: bigint): boolean {
    return ordinal <= (this.#lastOrdinal.get(port) ?? 0n) || ordinal <= (this.#left.get(port) ?? 0n)
  }

  /** Releases what may go: all whose records are before `limit`. */
  release(limit: bigint): MachineOutput[] {
    const first = this.#firstHeld
    while (this.isHolding && this.#outputs[this.#firstHeld]!.index < limit) this.#firstHeld++
    return this.#outputs.slice(first, this.#firstHeld)
  }

  /** The link has broken: what was released and is not known to have left is to be released again. */
  holdAgain(): void {
    this.#firstHeld = this.#head
  }

  /** Everything of the port up to `ordinal` has left. */
  onLeft(port: number, ordinal: bigint): void {
    if (ordinal <= (this.#left.get(port) ?? 0n)) return
    this.#left.set(port, ordinal)
    const isGone = (output: MachineOutput) => output.port === port && output.ordinal <= ordinal
    while (!this.isEmpty && isGone(this.#outputs[this.#head]!))
      this.#bytes -= this.#outputs[this.#head++]!.bytes.length
    this.#firstHeld = Math.max(this.#firstHeld, this.#head)
    // Outputs of other ports stand before the rest, if there is one.
    if (!this.isEmpty && this.#outputs[this.#head]!.port !== port) this.#remove(isGone)
    if (this.#head > this.#outputs.length / 2) this.#compact()
  }

  /** A bug to plant: what is held changes. */
  corrupt(): void {
    this.#outputs = this.#outputs.map((output) => ({
      ...output,
      bytes: output.bytes.map((byte) => byte ^ 1),
    }))
  }

  checkInvariants(): void {
    assert(
      this.#head <= this.#firstHeld && this.#firstHeld <= this.#outputs.length,
      'the gate is out of order',
    )
    assert(this.#bytes >= 0 && (!this.isEmpty || this.#bytes === 0), 'the gate has lost count of its bytes')
  }

  #remove(isGone: (output: MachineOutput) => boolean): void {
    this.#compact()
    const held = this.#outputs.slice(this.#firstHeld).filter((output) => !isGone(output))
    const unconfirmed = this.#outputs.slice(0, this.#firstHeld).filter((output) => !isGone(output))
    this.#outputs = [...unconfirmed, ...held]
    this.#firstHeld = unconfirmed.length
    this.#bytes = this.#outputs.reduce((bytes, output) => bytes + output.bytes.length, 0)
  }

  /** Drops what has gone; done when it is more than half, so that an output is moved a few times at most. */
  #compact(): void {
    this.#outputs = this.#outputs.slice(this.#head)
    this.#firstHeld -= this.#head
    this.#head = 0
  }
}

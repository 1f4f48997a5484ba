/**
 * The primary's outputs, from their production until they have left: the output rule's place.
 *
 *     held --released: acknowledged, or no one has to--> unconfirmed --left--> gone
 *
 * Outputs leave in the order of their records. A released output is kept until the other end has said that it has it,
 * since the link may break or this copy may have to hand it to another.
 *
 * Invariants: indexes rise; ordinals of a port rise, over held and unconfirmed; nothing unconfirmed is behind `limit`.
 */
import { assert } from '../base/assert.ts'
import type { PortOrdinal } from './message.ts'
import type { MachineOutput } from './ports.ts'

export class OutputGate {
  /** Unconfirmed outputs, then held ones; the first `#released` are unconfirmed. */
  #outputs: MachineOutput[] = []
  #released = 0
  #bytes = 0
  readonly #left = new Map<number, bigint>()

  /** Bytes of outputs held or unconfirmed. */
  get bytes(): number {
    return this.#bytes
  }

  get isEmpty(): boolean {
    return this.#outputs.length === 0
  }

  /** Whether outputs wait for their release. */
  get isHolding(): boolean {
    return this.#outputs.length > this.#released
  }

  /** All that are held or unconfirmed, in order. */
  get pending(): readonly MachineOutput[] {
    return this.#outputs
  }

  /** For each port the highest ordinal that is known to have left. */
  get left(): PortOrdinal[] {
    return [...this.#left].map(([port, ordinal]) => ({ port, ordinal }))
  }

  add(output: MachineOutput): void {
    if (output.ordinal <= (this.#left.get(output.port) ?? 0n)) return
    this.#outputs.push(output)
    this.#bytes += output.bytes.length
  }

  /** Releases what may go: all whose records are before `limit`. */
  release(limit: bigint): MachineOutput[] {
    let end = this.#released
    while (end < this.#outputs.length && this.#outputs[end]!.index < limit) end++
    const released = this.#outputs.slice(this.#released, end)
    this.#released = end
    return released
  }

  /** What was released and is not known to have left: to be sent again over a new link. */
  unconfirmed(): MachineOutput[] {
    return this.#outputs.slice(0, this.#released)
  }

  /** Everything of the port up to `ordinal` has left. */
  onLeft(port: number, ordinal: bigint): void {
    if (ordinal <= (this.#left.get(port) ?? 0n)) return
    this.#left.set(port, ordinal)
    const isGone = (output: MachineOutput) => output.port === port && output.ordinal <= ordinal
    const kept: MachineOutput[] = []
    let released = 0
    this.#outputs.forEach((output, i) => {
      if (isGone(output)) {
        this.#bytes -= output.bytes.length
        return
      }
      if (i < this.#released) released++
      kept.push(output)
    })
    this.#outputs = kept
    this.#released = released
  }

  /** A bug to plant: what is held changes. */
  corrupt(): void {
    this.#outputs = this.#outputs.map((output) => ({
      ...output,
      bytes: output.bytes.map((byte) => byte ^ 1),
    }))
  }

  checkInvariants(): void {
    const ordinals = new Map<number, bigint>()
    let index = -1n
    let bytes = 0
    for (const output of this.#outputs) {
      assert(output.index >= index, 'outputs out of order')
      assert(
        output.ordinal > (ordinals.get(output.port) ?? -1n),
        `ordinals of port ${output.port} do not rise`,
      )
      ordinals.set(output.port, output.ordinal)
      index = output.index
      bytes += output.bytes.length
    }
    assert(bytes === this.#bytes, 'the gate has lost count of its bytes')
    assert(this.#released <= this.#outputs.length, 'more outputs are released than there are')
  }
}

/**
 * The primary's way out: the gate, and the link to the gateway or network by which outputs leave.
 *
 * Nothing is released before the link is up; when it comes up again, what the other end has not had is released anew.
 */
import type { Context } from './context.ts'
import type { PortOrdinal } from './message.ts'
import type { OutputGate } from './output_gate.ts'

export class OutputLink {
  readonly gate: OutputGate
  readonly #context: Context
  #isUp = false

  constructor(context: Context, gate: OutputGate) {
    this.#context = context
    this.gate = gate
  }

  /** Releases what may leave: all outputs whose records are before `limit`. */
  release(limit: bigint): void {
    if (!this.#isUp || this.#context.halted !== undefined) return
    const outputs = this.gate.release(limit)
    if (outputs.length > 0) this.#context.emit({ kind: 'release', outputs })
  }

  /** The link is up; `left` is what the other end has had in this life. */
  onUp(left: readonly PortOrdinal[]): void {
    this.#isUp = true
    this.onLeft(left)
    this.gate.holdAgain()
  }

  /** These have left. If they were never produced here, there is another machine of this life: this one ends. */
  onLeft(left: readonly PortOrdinal[]): void {
    for (const { port, ordinal } of left) {
      if (!this.gate.knows(port, ordinal)) {
        return this.#context.halt(`output ${ordinal} of port ${port} has left, but this machine never had it`)
      }
      this.gate.onLeft(port, ordinal)
    }
  }
}

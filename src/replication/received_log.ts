/**
 * The log as it arrives at a copy that follows: checked for continuity, handed to the machine, acknowledged.
 *
 *     received  all records before it are in this process's memory
 *     executed  all records before it have been executed and found equal
 *
 * Outputs that the machine produces on the way are kept until a `released` record says that they have left.
 *
 * Invariants: executed <= received; received only grows, by whole batches.
 */
import { assert } from '../base/assert.ts'
import { FormatError } from '../base/errors.ts'
import { BatchDecoder, type LogBatch } from '../log/batch.ts'
import type { Context } from './context.ts'
import { OutputGate } from './output_gate.ts'
import type { Frontier, MachineOutput } from './ports.ts'

export class ReceivedLog {
  readonly life: number
  readonly #context: Context
  /** What the machine has put out and what has not left: as a primary would hold it. */
  readonly gate = new OutputGate()
  #decoder: BatchDecoder
  #received: Frontier
  #executed: Frontier
  /** Batches that wait for the machine to be there; undefined once it is. */
  #waiting: LogBatch[] | undefined
  #waitingBytes = 0

  /** Goes on at `start`. Unless `hasMachine`, batches wait for `onMachine`. */
  constructor(context: Context, life: number, start: Frontier, hasMachine: boolean) {
    this.#context = context
    this.life = life
    this.#received = start
    this.#executed = start
    this.#decoder = this.#newDecoder()
    this.#waiting = hasMachine ? undefined : []
  }

  get received(): Frontier {
    return this.#received
  }

  get executed(): Frontier {
    return this.#executed
  }

  /** Whether everything received has been executed. */
  get isCaughtUp(): boolean {
    return this.#waiting === undefined && this.#executed.nextIndex === this.#received.nextIndex
  }

  /** Bytes of what waits for the machine to be there. */
  get waitingBytes(): number {
    return this.#waitingBytes
  }

  /** The machine is there: everything that waited for it is executed. */
  onMachine(): void {
    for (const batch of this.#waiting ?? []) this.#context.emit({ kind: 'feed', batch })
    this.#waiting = undefined
    this.#waitingBytes = 0
  }

  /**
   * Takes the bytes of a batch.
   * @throws FormatError if it is damaged or does not go on where the log ends: then the channel is of no use
   */
  onBatch(bytes: Uint8Array): void {
    const batch = this.#decode(bytes)
    const { nextIndex, position } = this.#decoder.place!
    this.#received = { nextIndex, position }
    for (const record of batch.records) {
      if (record.kind === 'released') this.gate.onLeft(record.port, record.ordinal)
    }
    if (this.#waiting === undefined) return this.#context.emit({ kind: 'feed', batch })
    this.#waiting.push(batch)
    this.#waitingBytes += bytes.length
  }

  onExecuted(frontier: Frontier, outputs: readonly MachineOutput[]): void {
    this.#executed = frontier
    for (const output of outputs) this.gate.add(output)
  }

  #decode(bytes: Uint8Array): LogBatch {
    try {
      this.#decoder.push(bytes)
      const batch = this.#decoder.next()
      if (batch === undefined) throw new FormatError('the log: a batch that is cut off')
      this.#decoder.finish()
      return batch
    } catch (error) {
      // What comes over another channel goes on where the log was whole.
      if (error instanceof FormatError) this.#decoder = this.#newDecoder()
      throw error
    }
  }

  #newDecoder(): BatchDecoder {
    return new BatchDecoder('the log', { life: this.life, ...this.#received })
  }

  checkInvariants(): void {
    assert(
      this.#executed.nextIndex <= this.#received.nextIndex,
      `executed to ${this.#executed.nextIndex}, received to ${this.#received.nextIndex}`,
    )
    this.gate.checkInvariants()
  }
}

/**
 * Beats over one channel, both ways: 24 bytes each, little-endian.
 *
 *     0 state u8   1 seven zeros   8 position u64   16 sequence u64, from 1 on
 *
 * A beat that finds the channel full is left out; its sequence number is not used again.
 */
import type { Duplex } from 'node:stream'
import { ByteQueue, ByteReader, ByteWriter } from '../base/bytes.ts'
import { FormatError } from '../base/errors.ts'
import { HEARTBEAT_STATES, type MachineProgress } from './heartbeat_memory.ts'

export const BEAT_BYTES = 24
/** A channel with so much unsent carries nothing at present. */
const UNSENT_BYTES_MAX = 16 * BEAT_BYTES

export interface Beat {
  readonly stateNumber: number
  readonly position: bigint
  readonly sequence: bigint
}

export function encodeBeat({ stateNumber, position, sequence }: Beat): Uint8Array {
  const writer = new ByteWriter(BEAT_BYTES)
  writer.u32(stateNumber)
  writer.u32(0)
  writer.u64(position)
  writer.u64(sequence)
  return writer.finish()
}

/** @throws FormatError if it is none */
export function decodeBeat(bytes: Uint8Array): Beat {
  const reader = new ByteReader(bytes, 'heartbeat')
  const stateNumber = reader.u32()
  if (stateNumber >= HEARTBEAT_STATES.length || reader.u32() !== 0) throw reader.error('not a beat', 0)
  const beat = { stateNumber, position: reader.u64(), sequence: reader.u64() }
  reader.finish()
  return beat
}

export class HeartbeatStream {
  readonly #stream: Duplex
  readonly #queue = new ByteQueue()
  readonly #onBeat: (beat: Beat) => void
  readonly #onClose: (problem: string | undefined) => void
  #sent = 0n
  #received = 0n
  /** When it was opened, or last heard, by `performance.now()`. */
  #heardMs = performance.now()
  #problem: string | undefined

  /** `onClose` is called once, with what was wrong with what the other side sent, if something was. */
  constructor(stream: Duplex, onBeat: (beat: Beat) => void, onClose: (problem: string | undefined) => void) {
    this.#stream = stream
    this.#onBeat = onBeat
    this.#onClose = onClose
    stream.on('error', () => {})
    stream.on('data', (bytes: Uint8Array) => this.#onData(bytes))
    stream.on('end', () => stream.destroy())
    stream.on('close', () => this.#onClose(this.#problem))
  }

  send(progress: MachineProgress): void {
    this.#sent++
    if (this.#stream.destroyed || this.#stream.writableLength > UNSENT_BYTES_MAX) return
    const { state, position } = progress.read()
    const stateNumber = HEARTBEAT_STATES.indexOf(state)
    this.#stream.write(encodeBeat({ stateNumber, position, sequence: this.#sent }))
  }

  /** Closes a channel that has been silent for so long: it may be open on this side only. */
  closeIfSilent(silenceMs: number): void {
    if (performance.now() - this.#heardMs >= silenceMs) this.close()
  }

  close(): void {
    this.#stream.destroy()
  }

  #onData(bytes: Uint8Array): void {
    if (this.#stream.destroyed) return
    this.#queue.push(bytes)
    try {
      for (let one = this.#queue.peek(BEAT_BYTES); one !== undefined; one = this.#queue.peek(BEAT_BYTES)) {
        const beat = decodeBeat(one)
        this.#queue.skip(BEAT_BYTES)
        if (beat.sequence <= this.#received) throw new FormatError('heartbeat: a beat that came before')
        this.#received = beat.sequence
        this.#heardMs = performance.now()
        this.#onBeat(beat)
      }
    } catch (error) {
      if (!(error instanceof FormatError)) throw error
      this.#problem = error.message
      this.#stream.destroy()
    }
  }
}

/**
 * Recording: every event on its way into a computer becomes a log record, and so does every output on its way out.
 *
 * The bytes are those of the logging channel (src/log). A record stands at the position where its event was applied;
 * an output record says that everything a port has put out up to there has this ordinal, and what the digest of it is
 * since the port's last output record.
 */
import { concatenate } from '../base/bytes.ts'
import { hash64 } from '../base/hash64.ts'
import { BatchEncoder, type LogPlace } from '../log/batch.ts'
import type { NewRecord } from '../log/record.ts'
import { type Computer, type ExternalEvent, type Output, PORT } from './computer.ts'
import { corruption, requireSoundRam, Scrubber } from './scrub.ts'

/** An output with the record that announces it; all that a console has put out since its last one is one output. */
export interface RecordedOutput extends Output {
  readonly index: bigint
}

/** The state that the digest of a record was taken of, without RAM. */
export interface DigestSample {
  /** The record's. */
  readonly index: bigint
  readonly position: bigint
  /** What `Computer.saveState` gave. */
  readonly state: Uint8Array
}

type WithoutPosition<R> = R extends NewRecord ? Omit<R, 'position'> : never
/** A record that changes nothing in the computer. */
export type Note = WithoutPosition<Extract<NewRecord, { kind: 'reached' | 'released' | 'output' }>>

export class Recorder {
  readonly #computer: Computer
  readonly #scrubber: Scrubber
  readonly #onDigest: ((sample: DigestSample) => void) | undefined
  readonly #encoder: BatchEncoder
  readonly #life: number
  #recorded: bigint

  /** `place` says where the log goes on: life, and index of the next record. `onDigest` hears of recorded digests. */
  constructor(computer: Computer, place: LogPlace, onDigest?: (sample: DigestSample) => void) {
    this.#computer = computer
    const { ram, layout } = computer.machine
    this.#scrubber = new Scrubber(ram, layout.ramPages)
    this.#onDigest = onDigest
    this.#encoder = new BatchEncoder(place)
    this.#life = place.life
    this.#recorded = place.position
  }

  /** Where the next record will stand. */
  get place(): LogPlace {
    return { life: this.#life, nextIndex: this.#encoder.nextIndex, position: this.#computer.position }
  }

  /** Where the log ends: index of the next record, position of the last one. */
  get frontier(): { readonly nextIndex: bigint; readonly position: bigint } {
    return { nextIndex: this.#encoder.nextIndex, position: this.#recorded }
  }

  /** Bytes of records that no batch has been taken of yet. */
  get pendingBytes(): number {
    return this.#encoder.payloadBytes
  }

  /** Records an event and applies it. */
  deliver(event: ExternalEvent): void {
    this.#append(recordOf(event, this.#computer.position))
    this.#computer.deliver(event)
  }

  /** Takes what has left the computer, and records it. */
  takeOutputs(): RecordedOutput[] {
    return this.recordOutputs(this.#computer.takeOutputs())
  }

  /** Records what has left the computer and has been taken already. */
  recordOutputs(outputs: readonly Output[]): RecordedOutput[] {
    return joinStreams(outputs).map((output) => {
      const { port, ordinal, bytes } = output
      return { ...output, index: this.note({ kind: 'output', port, ordinal, digest: hash64(bytes) }) }
    })
  }

  /** Records something that changes nothing in the computer, at the present position; returns its index. */
  note(record: Note): bigint {
    return this.#append({ ...record, position: this.#computer.position })
  }

  /**
   * Records the digest of the computer's state, and of the next slice of RAM read again. Throws a CorruptionError, when all
   * of that is recorded, if a page of the slice has changed without having been written. Returns the record's index.
   */
  recordDigest(): bigint {
    const { position } = this.#computer
    const state = this.#computer.saveState()
    const digest = this.#computer.digest(state)
    const { slice, changed } = this.#scrubber.next()
    const index = this.#append({ kind: 'digest', position, digest, slice })
    this.#onDigest?.({ index, position, state })
    if (changed !== undefined) throw corruption(changed, position)
    return index
  }

  /** Reads all RAM again at once. Throws a CorruptionError if a page has changed without having been written. */
  checkRam(): void {
    requireSoundRam(this.#computer.machine, this.#computer.position)
  }

  /** The records since the last call, as one batch of bytes. */
  takeBatch(): Uint8Array | undefined {
    return this.#encoder.take()
  }

  #append(record: NewRecord): bigint {
    this.#recorded = record.position
    return this.#encoder.append(record)
  }
}

function recordOf(event: ExternalEvent, position: bigint): NewRecord {
  switch (event.kind) {
    case 'input':
      return { kind: 'input', position, port: event.port, bytes: event.bytes }
    case 'clock': {
      const { base, rate, cap, rtcOffsetNs } = event
      return { kind: 'clock', position, base, rate, cap, rtcOffsetNs }
    }
    case 'completion': {
      const digest = event.data === undefined ? undefined : hash64(event.data)
      return { kind: 'completion', position, request: event.request, status: event.status, digest }
    }
    case 'control':
      return { kind: 'control', position, operation: event.operation, argument: event.argument }
  }
}

/** The longest output of a console. Longer ones would not fit into a message or an event of those who pass them on. */
const STREAM_OUTPUT_BYTES_MAX = 64 * 1024

/**
 * One output for all bytes of a console, or several where they are many; frames stay what they are. Where a console's
 * bytes were cut into pieces depends on where `run` was cut, and must not show in the log.
 */
export function joinStreams(outputs: readonly Output[]): Output[] {
  const joined: Output[] = []
  const streams = new Map<number, Output[]>()
  for (const output of outputs) {
    if (output.port === PORT.net) joined.push(output)
    else streams.set(output.port, [...(streams.get(output.port) ?? []), output])
  }
  for (const [port, pieces] of [...streams].sort(([a], [b]) => a - b)) {
    const bytes = concatenate(pieces.map((piece) => piece.bytes))
    joined.push(...cut(port, pieces.at(-1)!.ordinal, bytes))
  }
  return joined
}

/** Cut from the first byte on, so that what is left of a stream is cut as it was with what came before it. */
function* cut(port: number, last: bigint, bytes: Uint8Array): Generator<Output> {
  const first = last - BigInt(bytes.length)
  for (let at = 0; at < bytes.length; at += STREAM_OUTPUT_BYTES_MAX) {
    const piece = bytes.slice(at, at + STREAM_OUTPUT_BYTES_MAX)
    yield { port, ordinal: first + BigInt(at + piece.length), bytes: piece }
  }
}

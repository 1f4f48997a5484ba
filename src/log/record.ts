/**
 * The log's records: everything that happens to a machine from outside, and what is said about it.
 *
 * Execution between two records is a pure function of the machine's state, so a machine's history is its start and
 * this sequence. Every record has an index (its number, consecutive within a life) and a position (steps since the
 * machine was created); (position, index) orders everything. Positions never fall from one record to the next.
 *
 * Indexes, positions, ordinals, digests and clock values are unsigned 64-bit numbers.
 */

/** Where a record stands. */
export interface Place {
  readonly index: bigint
  readonly position: bigint
}

/** Bytes that reach a port from outside: a frame, console keys, entropy. Logged, since nothing could derive them. */
export interface InputRecord extends Place {
  readonly kind: 'input'
  readonly port: number
  readonly bytes: Uint8Array
}

/**
 * A correction of guest time, or the end of an idle period: from here on time = min(cap, base + steps x rate).
 * `base` and `cap` are in ticks of the time base, `rate` in ticks a step as 32.32 fixed point, above zero;
 * `rtcOffsetNs` is the calendar's distance from guest time. Logged, since it is where the host's clock comes in.
 */
export interface ClockRecord extends Place {
  readonly kind: 'clock'
  readonly base: bigint
  readonly rate: bigint
  readonly cap: bigint
  readonly rtcOffsetNs: bigint
}

export const COMPLETION_STATUSES = ['ok', 'error', 'unsupported'] as const
export type CompletionStatus = (typeof COMPLETION_STATUSES)[number]

/**
 * A disk request is done. `request` is its number (u32); `digest` is of the data read, undefined unless it was a read
 * that succeeded. The data are not in the log: each copy reads its own disk and compares the digest.
 */
export interface CompletionRecord extends Place {
  readonly kind: 'completion'
  readonly request: number
  readonly status: CompletionStatus
  readonly digest: bigint | undefined
}

export const CONTROL_OPERATIONS = ['power-button', 'resize', 'stop'] as const
export type ControlOperation = (typeof CONTROL_OPERATIONS)[number]

/** An operator's request to the machine; the meaning of `argument` is the operation's (resize: rows x 2^16 + columns). */
export interface ControlRecord extends Place {
  readonly kind: 'control'
  readonly operation: ControlOperation
  readonly argument: bigint
}

/** No event came before this position: a copy may execute up to here. */
export interface ReachedRecord extends Place {
  readonly kind: 'reached'
}

/** An output was produced. Written before any of it leaves; `digest` lets the other copy compare its own. */
export interface OutputRecord extends Place {
  readonly kind: 'output'
  readonly port: number
  readonly ordinal: bigint
  readonly digest: bigint
}

/** All outputs of the port up to and including `ordinal` have left, so that a copy going live need not repeat them. */
export interface ReleasedRecord extends Place {
  readonly kind: 'released'
  readonly port: number
  readonly ordinal: bigint
}

/** A run of RAM pages, all re-read, and the digest of what was found. */
export interface DigestSlice {
  readonly firstPage: number
  readonly pages: number
  readonly digest: bigint
}

/** The machine's digest at this position: finds a divergence that no output has shown yet. */
export interface DigestRecord extends Place {
  readonly kind: 'digest'
  readonly digest: bigint
  readonly slice: DigestSlice | undefined
}

export type LogRecord =
  | InputRecord
  | ClockRecord
  | CompletionRecord
  | ControlRecord
  | ReachedRecord
  | OutputRecord
  | ReleasedRecord
  | DigestRecord

type WithoutIndex<R> = R extends LogRecord ? Omit<R, 'index'> : never

/** A record that has no number yet; appending it gives it one. */
export type NewRecord = WithoutIndex<LogRecord>

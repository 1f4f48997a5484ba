/**
 * What the heartbeat thread shares with the other threads of its process, all of it read and written by Atomics.
 *
 * The machine's thread says what it is doing, and the main thread that it does its work (MachineProgress, 16 bytes):
 *
 *     0 state i32   4 ticks of the main thread i32   8 position i64
 *
 * The heartbeat thread says what it has heard of peers (PeerTable, slots of 128 bytes, never given back):
 *
 *     0 heard i64   8 state i64   16 position i64   24 beats i64   32 name length i32   40 name, 63 bytes
 *
 * `heard` is in nanoseconds of the monotonic clock, which all threads share, and is written last: what stands beside it
 * is at least as new. A slot is somebody's once its name has a length.
 */
import { assert } from '../base/assert.ts'
import { decodeAscii, encodeAscii } from '../base/text.ts'
import type { ExecutionState } from '../replication/message.ts'

/** The states by their numbers, in memory and in beats. */
export const HEARTBEAT_STATES = ['running', 'idle', 'stopped'] as const satisfies readonly ExecutionState[]

/** How far a machine has come, as its own thread writes it and the heartbeat thread reads it. */
export class MachineProgress {
  /** Can be given to another thread, and made into a MachineProgress there. */
  readonly memory: SharedArrayBuffer
  readonly #states: Int32Array
  readonly #positions: BigInt64Array

  constructor(memory = new SharedArrayBuffer(16)) {
    this.memory = memory
    this.#states = new Int32Array(memory, 0, 2)
    this.#positions = new BigInt64Array(memory, 8, 1)
  }

  write(state: ExecutionState, position: bigint): void {
    Atomics.store(this.#positions, 0, position)
    Atomics.store(this.#states, 0, HEARTBEAT_STATES.indexOf(state))
  }

  /** The main thread is at work. */
  tick(): void {
    Atomics.add(this.#states, 1, 1)
  }

  /** How often it has said so, modulo 2^32. */
  get ticks(): number {
    return Atomics.load(this.#states, 1)
  }

  read(): { readonly state: ExecutionState; readonly position: bigint } {
    const state = HEARTBEAT_STATES[Atomics.load(this.#states, 0)]
    assert(state !== undefined, 'a state of execution that is none')
    return { state, position: Atomics.load(this.#positions, 0) }
  }
}

export interface PeerHeartbeat {
  /** When it was last heard from, on the clock of `monotonicMs`. */
  readonly heardMs: number
  readonly state: ExecutionState
  readonly position: bigint
  /** How many beats have been heard. */
  readonly beats: bigint
}

/** The clock of `heardMs`: the same in all threads of a host. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

const SLOT_BYTES = 128
const SLOTS = 16
const NAME_AT = 40
const NAME_BYTES_MAX = 63

/** What has been heard of peers, by name. */
export class PeerTable {
  readonly memory: SharedArrayBuffer
  readonly #longs: BigInt64Array
  readonly #words: Int32Array
  readonly #bytes: Uint8Array

  constructor(memory = new SharedArrayBuffer(SLOTS * SLOT_BYTES)) {
    this.memory = memory
    this.#longs = new BigInt64Array(memory)
    this.#words = new Int32Array(memory)
    this.#bytes = new Uint8Array(memory)
  }

  /** What has been heard of a peer; undefined before its first beat. */
  peer(name: string): PeerHeartbeat | undefined {
    const slot = this.#find(name)
    if (slot === undefined) return undefined
    const at = slot * (SLOT_BYTES / 8)
    const heard = Atomics.load(this.#longs, at)
    if (heard === 0n) return undefined
    const state = HEARTBEAT_STATES[Number(Atomics.load(this.#longs, at + 1))]
    assert(state !== undefined, 'a state of execution that is none')
    return {
      heardMs: Number(heard) / 1e6,
      state,
      position: BigInt.asUintN(64, Atomics.load(this.#longs, at + 2)),
      beats: Atomics.load(this.#longs, at + 3),
    }
  }

  /** Only the heartbeat thread writes. False if there is no slot left for another name. */
  reserve(name: string): boolean {
    if (this.#find(name) !== undefined) return true
    const slot = Array.from({ length: SLOTS }, (_, i) => i).find((i) => this.#nameLength(i) === 0)
    if (slot === undefined) return false
    const bytes = encodeAscii(name)
    assert(bytes.length > 0 && bytes.length <= NAME_BYTES_MAX, `not a name: '${name}'`)
    this.#bytes.set(bytes, slot * SLOT_BYTES + NAME_AT)
    Atomics.store(this.#words, slot * (SLOT_BYTES / 4) + 8, bytes.length)
    return true
  }

  /** A beat of a peer that has a slot. */
  heard(name: string, stateNumber: number, position: bigint): void {
    const slot = this.#find(name)
    assert(slot !== undefined, `${name} has no slot`)
    const at = slot * (SLOT_BYTES / 8)
    Atomics.store(this.#longs, at + 1, BigInt(stateNumber))
    Atomics.store(this.#longs, at + 2, BigInt.asIntN(64, position))
    Atomics.add(this.#longs, at + 3, 1n)
    Atomics.store(this.#longs, at, process.hrtime.bigint())
  }

  #nameLength(slot: number): number {
    return Atomics.load(this.#words, slot * (SLOT_BYTES / 4) + 8)
  }

  #find(name: string): number | undefined {
    for (let slot = 0; slot < SLOTS; slot++) {
      const length = this.#nameLength(slot)
      if (length === 0) return undefined
      const at = slot * SLOT_BYTES + NAME_AT
      if (length === name.length && decodeAscii(this.#bytes.slice(at, at + length)) === name) return slot
    }
    return undefined
  }
}

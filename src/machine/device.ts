/**
 * What a device may do, and what the machine promises it.
 *
 * A device is a pure chip: it sees register accesses, guest memory, its interrupt line and the guest's clock, and
 * nothing else. Whatever comes from outside reaches it as a call made at one exact position; whatever it sends out
 * leaves through a port. All of its state is in `save`, so that a restored copy and the original behave the same.
 */
import type { StateReader, StateWriter } from '../base/state.ts'

/** Registers are 8, 16 or 32 bits wide; the bus splits 64-bit accesses into two, low half first. */
export type AccessSize = 1 | 2 | 4

export interface Device {
  /** Its section in snapshots, unique on a board, such as `uart0`. */
  readonly name: string
  /** Reads a register. `offset` is in bytes from the device's base and a multiple of `size`. Returns a u32. */
  read(offset: number, size: AccessSize): number
  /** Writes a register. `value` is a u32 of which the low `size` bytes count. */
  write(offset: number, size: AccessSize, value: number): void
  /** Returns to the state after power-on. The line falls. */
  reset(): void
  /** Writes all state as one named, versioned section. */
  save(writer: StateWriter): void
  /** Reads what `save` wrote; throws FormatError otherwise. Restores the line's level as well. */
  load(reader: StateReader): void
}

/** An interrupt wire. Setting the level that it already has does nothing. */
export type InterruptLine = (level: boolean) => void

/**
 * The guest's RAM as devices see it. Addresses are guest physical, at most 2^53. Writes keep translations coherent
 * and mark pages dirty. Outside RAM `contains` is false, and every access there throws an AssertionError: a device
 * checks what a guest hands to it first.
 */
export interface GuestMemory {
  contains(address: number, length: number): boolean
  /** Copies bytes out. */
  read(address: number, length: number): Uint8Array
  write(address: number, bytes: Uint8Array): void
  load16(address: number): number
  load32(address: number): number
  load64(address: number): bigint
  store16(address: number, value: number): void
  store32(address: number, value: number): void
}

/** Guest time, in ticks of the time base (10 MHz), a pure function of the machine's position. */
export type GuestClock = () => bigint

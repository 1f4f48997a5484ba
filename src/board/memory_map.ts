/**
 * Where everything is on the board: addresses, sizes and interrupts.
 *
 *     0x0010_0000   syscon: power-off and reset
 *     0x0010_1000   goldfish RTC
 *     0x0010_2000   generation id
 *     0x0200_0000   CLINT: software interrupts and timers of the harts
 *     0x0c00_0000   PLIC
 *     0x1000_0000   UART
 *     0x1000_1000   virtio-mmio, eight slots of one page
 *     0x8000_0000   RAM
 *
 * These are the places of QEMU's `virt` machine, so that bare programs written for it run here as well.
 */
import { assert } from '../base/assert.ts'

/** A device's registers, and its interrupt at the PLIC where it has one. Addresses are guest physical. */
export interface DeviceRange {
  readonly address: number
  readonly bytes: number
  readonly interrupt?: number
}

export const RAM_ADDRESS = 0x8000_0000
export const RAM_BYTES_MIN = 64 * 2 ** 20
export const RAM_BYTES_MAX = 3 * 2 ** 30

export const HARTS_MAX = 8

/** Ticks of the guest's clock in a second. */
export const TIMEBASE_HERTZ = 10_000_000

export const SYSCON = { address: 0x10_0000, bytes: 0x1000 } as const satisfies DeviceRange
export const RTC = { address: 0x10_1000, bytes: 0x1000, interrupt: 11 } as const satisfies DeviceRange
export const GENERATION = { address: 0x10_2000, bytes: 0x1000, interrupt: 12 } as const satisfies DeviceRange
export const CLINT = { address: 0x200_0000, bytes: 0x1_0000 } as const satisfies DeviceRange
export const PLIC = { address: 0xc00_0000, bytes: 0x60_0000 } as const satisfies DeviceRange
export const UART = { address: 0x1000_0000, bytes: 0x100, interrupt: 10 } as const satisfies DeviceRange

/** The highest interrupt source of the PLIC. */
export const PLIC_SOURCES = 95

/** The UART's input clock. Only the divisor that a driver computes depends on it. */
export const UART_CLOCK_HERTZ = 3_686_400

export const VIRTIO_SLOTS_MAX = 8
const VIRTIO_ADDRESS = 0x1000_1000
const VIRTIO_BYTES = 0x1000
const VIRTIO_INTERRUPT = 1

/** The virtio-mmio transport in `slot`, 0 to 7. */
export function virtioSlot(slot: number): Required<DeviceRange> {
  assert(Number.isInteger(slot) && slot >= 0 && slot < VIRTIO_SLOTS_MAX, `no virtio slot ${slot}`)
  return {
    address: VIRTIO_ADDRESS + slot * VIRTIO_BYTES,
    bytes: VIRTIO_BYTES,
    interrupt: VIRTIO_INTERRUPT + slot,
  }
}

/** What a driver writes to the syscon's only register; see the device for exit codes. */
export const SYSCON_POWER_OFF = 0x5555
export const SYSCON_RESET = 0x7777

/**
 * HTIF, how the RISC-V test programs talk to their host: a store to the symbol `tohost` is a request
 * (device << 56 | command << 48 | payload), which the host takes away by storing zero there.
 *
 *     device 0, odd payload     the program ends with status payload >> 1
 *     device 0, even payload    a system call: the payload is the address of eight doublewords (number, arguments);
 *                               its end is told in `fromhost`
 *     device 1, command 1       prints a character
 *
 * Some programs store the low word first and the high word, which says what is meant, after it; others store the low
 * word only, once or for ever. So a low word is held until the high word is stored or the same low word again, the
 * program waits, or some steps have passed: hosts that look at `tohost` now and then do about the same.
 */
import type { Machine } from '../machine/machine.ts'
import { RAM_ADDRESS } from './memory_map.ts'

export interface HtifOptions {
  readonly machine: Machine
  /** Addresses of the two symbols; a program may lack either. */
  readonly toHost: number | undefined
  readonly fromHost: number | undefined
  readonly print: (bytes: Uint8Array) => void
  readonly exit: (status: number) => void
}

const SYSCALL_WRITE = 64n
const SYSCALL_EXIT = 93n
const MAX_WRITE_BYTES = 1 << 20
const DEVICE_SYSTEM = 0n
const DEVICE_CONSOLE = 1n
const COMMAND_WRITE = 1n
/** How long a low word is held: some times what it takes to store the high word. */
const HELD_STEPS = 100n

export class Htif {
  readonly #options: HtifOptions
  /** The low word that is held. */
  #held: number | undefined
  #heldUntil: bigint | undefined

  constructor(options: HtifOptions) {
    this.#options = options
  }

  /** A store of `size` bytes at `offset` in RAM has taken place. */
  onStore(offset: number, size: number): void {
    const { machine, toHost } = this.#options
    if (toHost === undefined) return
    const start = offset + RAM_ADDRESS
    if (start >= toHost + 8 || start + size <= toHost) return
    const low = machine.ram.load32(toHost)
    if (start + size > toHost + 4 || low === this.#held) {
      this.complete()
    } else {
      this.#held = low
      machine.requestStop()
    }
  }

  /** Until which position to run before what is held is a request; undefined if nothing is held. */
  heldUntil(position: bigint): bigint | undefined {
    if (this.#held === undefined) return undefined
    this.#heldUntil ??= position + HELD_STEPS
    return this.#heldUntil
  }

  /** Carries out the request that stands in `tohost`. */
  complete(): void {
    const { machine, toHost, print, exit } = this.#options
    this.#held = undefined
    this.#heldUntil = undefined
    const request = machine.ram.load64(toHost!)
    if (request === 0n) return
    const device = request >> 56n
    const command = (request >> 48n) & 0xffn
    const payload = request & 0xffff_ffff_ffffn
    const isSystem = device === DEVICE_SYSTEM
    if (isSystem && (payload & 1n) === 1n) {
      exit(Number(BigInt.asUintN(32, payload >> 1n)))
      return
    }
    if (isSystem) this.#systemCall(Number(payload))
    if (device === DEVICE_CONSOLE && command === COMMAND_WRITE) print(Uint8Array.of(Number(payload & 0xffn)))
    machine.ram.write(toHost!, new Uint8Array(8))
    if (isSystem) this.#answer()
  }

  #systemCall(address: number): void {
    const { ram } = this.#options.machine
    if (!ram.contains(address, 64)) return
    const number = ram.load64(address)
    const [first, second, third] = [8, 16, 24].map((at) => ram.load64(address + at)) as [
      bigint,
      bigint,
      bigint,
    ]
    if (number === SYSCALL_EXIT) this.#options.exit(Number(BigInt.asUintN(32, first)))
    if (number !== SYSCALL_WRITE) return
    const length = Number(third)
    if (length > MAX_WRITE_BYTES || !ram.contains(Number(second), length)) return
    this.#options.print(ram.read(Number(second), length))
    const result = new Uint8Array(8)
    new DataView(result.buffer).setBigUint64(0, third, true)
    ram.write(address, result)
  }

  #answer(): void {
    const { machine, fromHost } = this.#options
    if (fromHost !== undefined) machine.ram.write(fromHost, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0))
  }
}

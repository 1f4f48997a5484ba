/**
 * A computer for bare programs: an ELF file runs in M-mode, with the same devices as the board's, no SBI, and HTIF.
 *
 * HTIF is how the RISC-V test programs talk to their host: a store to the symbol `tohost` is a request
 * (device << 56 | command << 48 | payload), answered in `fromhost`.
 *
 *     device 0, odd payload     the program ends with status payload >> 1
 *     device 0, even payload    a system call: the payload is the address of eight doublewords (number, arguments)
 *     device 1, command 1       prints a character
 *
 * Time costs nothing here: while every hart waits, the clock jumps to the next timer.
 */
import { UserError } from '../base/errors.ts'
import { Aclint } from '../devices/aclint.ts'
import { Plic } from '../devices/plic.ts'
import { Syscon } from '../devices/syscon.ts'
import { Uart16550 } from '../devices/uart16550.ts'
import { type Engine, LINE, Machine } from '../machine/machine.ts'
import { type ElfFile, loadSegments, symbolAddress } from './elf.ts'
import { CLINT, PLIC, PLIC_SOURCES, RAM_ADDRESS, SYSCON, UART } from './memory_map.ts'

export interface BareOptions {
  readonly engine: Engine
  readonly elf: ElfFile
  /** What messages call the program, such as its path. */
  readonly name: string
  readonly ramBytes: number
  readonly harts?: number
  /** What the program prints, through HTIF or the UART. */
  readonly print: (bytes: Uint8Array) => void
}

/** How a bare program ended. */
export type BareEnd = { readonly kind: 'exit'; readonly status: number } | { readonly kind: 'limit' }

const SYSCALL_WRITE = 64n
const SYSCALL_EXIT = 93n
/** Steps between looks at whether the program has ended; no more than a convenience. */
const CHUNK_STEPS = 50_000_000n
const MAX_WRITE_BYTES = 1 << 20

export class BareComputer {
  readonly machine: Machine
  readonly #print: (bytes: Uint8Array) => void
  readonly #toHost: number | undefined
  readonly #fromHost: number | undefined
  #status: number | undefined

  constructor(options: BareOptions) {
    this.#print = options.print
    this.machine = new Machine({
      engine: options.engine,
      harts: options.harts ?? 1,
      ramBytes: options.ramBytes,
      devices: (machine) => this.#devices(machine, options.harts ?? 1),
      onHostStore: (offset, size) => this.#onHostStore(offset, size),
    })
    const { entry } = options.elf
    if ((entry & 1n) === 1n)
      throw new UserError(
        `${options.name}: its entry 0x${entry.toString(16)} is odd, no instruction is there`,
      )
    loadSegments(options.elf, this.machine.ram, options.name)
    for (const hart of this.machine.harts) {
      hart.set64('pc', entry)
      hart.setX(10, BigInt(hart.id))
    }
    this.#toHost = ramSymbol(this.machine, options.elf, 'tohost')
    this.#fromHost = ramSymbol(this.machine, options.elf, 'fromhost')
    if (this.#toHost !== undefined) this.machine.watchHost(this.#toHost - RAM_ADDRESS)
  }

  /** Runs until the program ends or `stepsMax` have been taken. Throws UserError if it waits for nothing. */
  run(stepsMax: bigint): BareEnd {
    const { machine } = this
    while (this.#status === undefined && machine.position < stepsMax) {
      const chunk = machine.position + CHUNK_STEPS
      const stop = machine.run(chunk < stepsMax ? chunk : stepsMax)
      if (stop.reason === 'idle') this.#skipTo(stop.until)
    }
    return this.#status === undefined ? { kind: 'limit' } : { kind: 'exit', status: this.#status }
  }

  #skipTo(until: bigint | undefined): void {
    if (until === undefined) {
      const pc = this.machine.harts[0]!.get64('pc').toString(16)
      throw new UserError(
        `the program waits at pc 0x${pc} for an interrupt that cannot come: no timer is armed and there is no input`,
      )
    }
    this.machine.skipTime(until)
  }

  #devices(machine: Machine, harts: number) {
    const plic = new Plic({
      harts,
      sources: PLIC_SOURCES,
      line: (hart, mode, level) => machine.setLine(hart, mode === 'M' ? LINE.meip : LINE.seip, level),
    })
    const aclint = new Aclint({
      harts,
      clock: () => machine.now,
      softwareInterrupt: (hart, level) => machine.setLine(hart, LINE.msip, level),
      timerCompare: (hart, value) => machine.setTimerCompare(hart, value),
    })
    const uart = new Uart16550({
      name: 'uart0',
      line: plic.source(UART.interrupt),
      transmit: (byte) => this.#print(Uint8Array.of(byte)),
    })
    const syscon = new Syscon({
      request: (request) => this.#end(request.kind === 'reset' ? 0 : request.code),
    })
    return [
      { base: CLINT.address, size: CLINT.bytes, device: aclint },
      { base: PLIC.address, size: PLIC.bytes, device: plic },
      { base: UART.address, size: UART.bytes, device: uart },
      { base: SYSCON.address, size: SYSCON.bytes, device: syscon },
    ]
  }

  #end(status: number): void {
    this.#status ??= status
    this.machine.requestStop()
  }

  #onHostStore(offset: number, size: number): void {
    const toHost = this.#toHost!
    const start = offset + RAM_ADDRESS
    if (start >= toHost + 8 || start + size <= toHost) return
    const request = this.machine.ram.load64(toHost)
    if (request === 0n) return
    const device = request >> 56n
    const command = (request >> 48n) & 0xffn
    const payload = request & 0xffff_ffff_ffffn
    if (device === 0n && (payload & 1n) === 1n) {
      this.#end(Number(BigInt.asUintN(32, payload >> 1n)))
      return
    }
    if (device === 0n) this.#systemCall(Number(payload))
    else if (device === 1n && command === 1n) this.#print(Uint8Array.of(Number(payload & 0xffn)))
    this.machine.ram.write(toHost, new Uint8Array(8))
    this.#answer()
  }

  #systemCall(address: number): void {
    const { ram } = this.machine
    if (!ram.contains(address, 64)) return
    const number = ram.load64(address)
    const [first, second, third] = [8, 16, 24].map((at) => ram.load64(address + at)) as [
      bigint,
      bigint,
      bigint,
    ]
    if (number === SYSCALL_EXIT) this.#end(Number(BigInt.asUintN(32, first)))
    if (number !== SYSCALL_WRITE) return
    const length = Number(third)
    if (length > MAX_WRITE_BYTES || !ram.contains(Number(second), length)) return
    this.#print(ram.read(Number(second), length))
    const result = new Uint8Array(8)
    new DataView(result.buffer).setBigUint64(0, third, true)
    ram.write(address, result)
  }

  #answer(): void {
    if (this.#fromHost === undefined) return
    this.machine.ram.write(this.#fromHost, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0))
  }
}

/** The address of a symbol, if the file has it and `bytes` of RAM are there. */
function ramSymbol(machine: Machine, elf: ElfFile, name: string, bytes = 8): number | undefined {
  const address = symbolAddress(elf, name)
  if (address === undefined || !machine.ram.contains(Number(address), bytes)) return undefined
  return Number(address)
}

/**
 * The memory between begin_signature and end_signature as RISC-V's architecture tests want it: a line for every four
 * bytes, in hexadecimal, most significant digit first. Undefined if the program has no such symbols.
 */
export function signature(computer: BareComputer, elf: ElfFile): string | undefined {
  const { ram } = computer.machine
  const begin = ramSymbol(computer.machine, elf, 'begin_signature', 0)
  const end = ramSymbol(computer.machine, elf, 'end_signature', 0)
  if (begin === undefined || end === undefined || end < begin || !ram.contains(begin, end - begin))
    return undefined
  const lines: string[] = []
  for (let at = begin; at < end; at += 4) lines.push(`${ram.load32(at).toString(16).padStart(8, '0')}\n`)
  return lines.join('')
}

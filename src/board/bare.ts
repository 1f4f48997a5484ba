/**
 * A computer for bare programs: an ELF file runs in M-mode, with the same devices as the board's, no SBI, and HTIF.
 *
 * Time costs nothing here: while every hart waits, the clock jumps to the next timer.
 */
import { UserError } from '../base/errors.ts'
import { Aclint } from '../devices/aclint.ts'
import { Plic } from '../devices/plic.ts'
import { Syscon } from '../devices/syscon.ts'
import { Uart16550 } from '../devices/uart16550.ts'
import { type Engine, LINE, Machine } from '../machine/machine.ts'
import type { Translation } from '../machine/machine_options.ts'
import type { EmissionThreadStarter } from '../machine/translator/emission_thread.ts'
import type { TranslationObserver } from '../machine/translator/observer.ts'
import { type ElfFile, loadSegments, symbolAddress } from './elf.ts'
import { Htif } from './htif.ts'
import { CLINT, PLIC, PLIC_SOURCES, RAM_ADDRESS, SYSCON, UART } from './memory_map.ts'

export interface BareOptions {
  readonly engine: Engine
  readonly elf: ElfFile
  /** What messages call the program, such as its path. */
  readonly name: string
  readonly ramBytes: number
  readonly harts?: number
  /** Which code is translated; none by default. */
  readonly translation?: Translation
  /** Hears of what is translated, for a profile. */
  readonly observer?: TranslationObserver | undefined
  /** Starts the thread that emits what is translated; without it that is done behind slices. */
  readonly emission?: EmissionThreadStarter | undefined
  /** What the program prints, through HTIF or the UART. */
  readonly print: (bytes: Uint8Array) => void
}

/** How a bare program ended. */
export type BareEnd = { readonly kind: 'exit'; readonly status: number } | { readonly kind: 'limit' }

/** Steps between looks at whether the program has ended; no more than a convenience. */
const CHUNK_STEPS = 50_000_000n

export class BareComputer {
  readonly machine: Machine
  readonly #print: (bytes: Uint8Array) => void
  readonly #htif: Htif
  #status: number | undefined

  constructor(options: BareOptions) {
    this.#print = options.print
    this.machine = new Machine({
      engine: options.engine,
      translation: options.translation ?? 'off',
      observer: options.observer,
      emission: options.emission,
      harts: options.harts ?? 1,
      ramBytes: options.ramBytes,
      devices: (machine) => this.#devices(machine, options.harts ?? 1),
      onHostStore: (offset, size) => this.#htif.onStore(offset, size),
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
    const toHost = ramSymbol(this.machine, options.elf, 'tohost')
    this.#htif = new Htif({
      machine: this.machine,
      toHost,
      fromHost: ramSymbol(this.machine, options.elf, 'fromhost'),
      print: this.#print,
      exit: (status) => this.#end(status),
    })
    if (toHost !== undefined) this.machine.watchHost(toHost - RAM_ADDRESS)
  }

  /** Runs until the program ends or `stepsMax` have been taken. Throws UserError if it waits for nothing. */
  run(stepsMax: bigint): BareEnd {
    const { machine } = this
    while (this.#status === undefined && machine.position < stepsMax) {
      const held = this.#htif.heldUntil(machine.position)
      const chunk = held ?? machine.position + CHUNK_STEPS
      const stop = machine.run(chunk < stepsMax ? chunk : stepsMax)
      const isIdle = stop.reason === 'idle'
      if (held !== undefined && (isIdle || machine.position >= held)) this.#htif.complete()
      else if (isIdle) this.#skipTo(stop.until)
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
}

/** The address of a symbol, if the file has it and `bytes` of RAM are there. */
function ramSymbol(machine: Machine, elf: ElfFile, name: string, bytes = 8): number | undefined {
  const address = symbolAddress(elf, name)
  if (address === undefined || !machine.ram.contains(Number(address), bytes)) return undefined
  return Number(address)
}

/**
 * The memory between begin_signature and end_signature as RISC-V's architecture tests want it: a line for every four
 * bytes, in hexadecimal, most significant digit first; the last ones are filled up with zeros. Undefined if the
 * program has no such symbols.
 */
export function signature(computer: BareComputer, elf: ElfFile): string | undefined {
  const { ram } = computer.machine
  const begin = ramSymbol(computer.machine, elf, 'begin_signature', 0)
  const end = ramSymbol(computer.machine, elf, 'end_signature', 0)
  if (begin === undefined || end === undefined || end < begin || !ram.contains(begin, end - begin))
    return undefined
  const bytes = new Uint8Array(Math.ceil((end - begin) / 4) * 4)
  bytes.set(ram.read(begin, end - begin))
  const view = new DataView(bytes.buffer)
  const words = Array.from({ length: bytes.length / 4 }, (_, index) => view.getUint32(index * 4, true))
  return words.map((word) => `${word.toString(16).padStart(8, '0')}\n`).join('')
}

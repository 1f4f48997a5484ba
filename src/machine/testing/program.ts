/**
 * Programs for tests of the machine: assembly in, a machine to look at out.
 *
 * Behind the test's own code stands a handler for M-mode that writes cause, epc and tval of every trap to a log and
 * goes on behind the instruction, which must be four bytes long; after a trap of a fetch it goes to `ra`, so that
 * tests `jalr` to what cannot be executed. An environment call from any mode ends the program. The handler owns
 * s10 and s11; tests may overwrite mtvec with handlers of their own.
 *
 *     RAM_BASE              program          at most 64 KiB
 *     LOG                   traps, 24 bytes each
 *     TABLES                page tables, made by AddressSpace
 *     DATA                  for the test's use, to the end of RAM
 */
import { assert } from '../../base/assert.ts'
import type { StateReader, StateWriter } from '../../base/state.ts'
import { assemble } from '../../isa/assemble.ts'
import type { Engine } from '../../wasm/engine.ts'
import type { Device } from '../device.ts'
import type { Hart } from '../hart.ts'
import { RAM_BASE } from '../layout.ts'
import { LINE, Machine } from '../machine.ts'
import type { Translation } from '../machine_options.ts'
import type { EmissionThreadStarter } from '../translator/emission_thread.ts'

export const LOG = RAM_BASE + 0x8_0000
export const TABLES = RAM_BASE + 0xc_0000
export const DATA = RAM_BASE + 0x10_0000

/** Where the test's device is: a store ends the program; at +8 x (hart + 1) it drives software interrupts (MSIP). */
export const SWITCHES = 0x10_0000
const RAM_BYTES = 2 << 20
const STEPS_MAX = 2_000_000n

/** Opens all memory to S and U. */
export const OPEN_PMP = 'li t0, -1; csrw pmpaddr0, t0; li t0, 0x1f; csrw pmpcfg0, t0'

/** Goes on in another mode at the next instruction, with interrupts as mstatus.MPIE says. */
export const enter = (mode: 'S' | 'U'): string => `
  li t0, 0x1800
  csrc mstatus, t0
  li t0, ${mode === 'S' ? 0x800 : 0}
  csrs mstatus, t0
  la t0, 9f
  csrw mepc, t0
  mret
9:
`

/** Everything that a trap tells. */
export interface Trap {
  readonly cause: bigint
  readonly epc: bigint
  readonly tval: bigint
}

export interface ProgramOptions {
  readonly harts?: number
  readonly ramBytes?: number
  readonly translation?: Translation
  readonly emission?: EmissionThreadStarter
}

const HANDLER = `
  .align 2
handler:
  csrr s10, mcause
  sd s10, 0(s11)
  csrr s10, mepc
  sd s10, 8(s11)
  csrr s10, mtval
  sd s10, 16(s11)
  addi s11, s11, 24
  csrr s10, mcause
  bltz s10, 3f
  andi s10, s10, -4
  addi s10, s10, -8
  beqz s10, 2f
  csrr s10, mcause
  addi s10, s10, -1
  beqz s10, 1f
  addi s10, s10, -11
  beqz s10, 1f
  csrr s10, mepc
  addi s10, s10, 4
  csrw mepc, s10
  mret
1: csrw mepc, ra
  mret
2: li s10, ${SWITCHES}
  sw zero, 0(s10)
3: j 3b
`

/** A test program in its machine, with the registers of hart 0 at hand. */
export class Program {
  readonly machine: Machine
  readonly #labels: ReadonlyMap<string, bigint>

  /** Throws UserError if `source` is not assembly. Every hart starts in M-mode at its beginning, its id in a0. */
  constructor(
    engine: Engine,
    source: string,
    { harts = 1, ramBytes = RAM_BYTES, translation = 'off', emission }: ProgramOptions = {},
  ) {
    this.machine = createMachine(engine, harts, ramBytes, translation, emission)
    const { bytes, labels } = assemble(`${source}\necall\n${HANDLER}`, BigInt(RAM_BASE))
    assert(bytes.length <= 0x1_0000, 'a test program is at most 64 KiB')
    this.#labels = labels
    this.machine.ram.write(RAM_BASE, bytes)
    for (const hart of this.machine.harts) {
      hart.setX(10, BigInt(hart.id))
      hart.setX(27, BigInt(LOG + hart.id * 0x8000))
      hart.set64('mtvec', this.label('handler'))
    }
  }

  get hart(): Hart {
    return this.machine.harts[0]!
  }

  label(name: string): bigint {
    const address = this.#labels.get(name)
    assert(address !== undefined, `the program has no label ${name}`)
    return address
  }

  /** Runs until the program's environment call, jumping over idle time. Returns this. */
  finish(): this {
    const { machine } = this
    for (;;) {
      const stop = machine.run(STEPS_MAX)
      if (stop.reason === 'request') return this
      assert(stop.reason === 'idle' && stop.until !== undefined, `the program did not end: ${stop.reason}`)
      machine.skipTime(stop.until)
    }
  }

  /** Runs until hart 0 is about to execute what stands at a label. */
  runTo(name: string): this {
    const { machine } = this
    while (this.hart.get64('pc') !== this.label(name)) machine.run(machine.position + 1n)
    return this
  }

  /** Integer register `number` of hart 0. */
  x(number: number): bigint {
    return this.hart.x(number)
  }

  /** The traps of a hart up to now, without the environment call that ended the program. */
  traps(hartId = 0): Trap[] {
    const { ram, harts } = this.machine
    const traps: Trap[] = []
    for (let at = LOG + hartId * 0x8000; at < Number(harts[hartId]!.x(27)); at += 24) {
      const [cause, epc, tval] = [ram.load64(at), ram.load64(at + 8), ram.load64(at + 16)]
      if (cause >> 2n !== 2n) traps.push({ cause, epc, tval })
    }
    return traps
  }

  causes(): bigint[] {
    return this.traps().map(({ cause }) => cause)
  }
}

/** A second machine with the state of `machine` and empty caches, as one restored from a snapshot. */
export function coldCopy(engine: Engine, machine: Machine, translation: Translation = 'off'): Machine {
  const { ramBytes } = machine.layout
  const copy = createMachine(engine, machine.harts.length, ramBytes, translation)
  copy.ram.write(RAM_BASE, machine.ram.read(RAM_BASE, ramBytes))
  copy.loadState(machine.saveState())
  return copy
}

function createMachine(
  engine: Engine,
  harts: number,
  ramBytes: number,
  translation: Translation,
  emission?: EmissionThreadStarter,
): Machine {
  return new Machine({
    engine,
    translation,
    emission,
    harts,
    ramBytes,
    devices: (machine) => [{ base: SWITCHES, size: 0x1000, device: new Switches(machine) }],
  })
}

/** Ends the program; drives the software interrupt of a hart. Keeps no state: the lines are the harts' own. */
class Switches implements Device {
  readonly name = 'switches'
  readonly #machine: Machine

  constructor(machine: Machine) {
    this.#machine = machine
  }

  read(offset: number): number {
    return offset
  }

  write(offset: number, _size: number, value: number): void {
    if (offset === 0) this.#machine.requestStop()
    else if (offset >> 3 <= this.#machine.harts.length)
      this.#machine.setLine((offset >> 3) - 1, LINE.msip, value !== 0)
  }

  reset(): void {}

  save(writer: StateWriter): void {
    writer.section(this.name, 1, () => {})
  }

  load(reader: StateReader): void {
    reader.section(this.name, 1, () => {})
  }
}

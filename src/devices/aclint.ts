/**
 * Timer and software interrupts of the harts in M-mode, in the layout of SiFive's CLINT (the ACLINT
 * specification's MSWI at 0x0 and MTIMER at 0x4000).
 *
 *     0x0000 + 4 x hart     msip, bit 0
 *     0x4000 + 8 x hart     mtimecmp, 64 bits
 *     0xbff8                mtime, 64 bits, read only
 *
 * The device only keeps the registers. The machine compares time with mtimecmp itself, since only it knows at
 * which position time reaches a value. Writes to mtime are ignored: time belongs to the machine and is a pure
 * function of the position and the clock events; a guest that could set it would move the timers of all harts
 * and of the replicated clock. The ACLINT specification lets mtime be reset by the platform, and no
 * supervisor writes it.
 *
 * Registers are accessed in 32-bit halves; narrower accesses read as zero and write nothing.
 */
import type { StateReader, StateWriter } from '../base/state.ts'
import type { AccessSize, Device, GuestClock } from '../machine/device.ts'

const TIMECMP_BASE = 0x4000
const MTIME = 0xbff8
const NEVER = 0xffff_ffff_ffff_ffffn

export interface AclintOptions {
  readonly name?: string
  readonly harts: number
  readonly clock: GuestClock
  /** The machine software interrupt of a hart (mip.MSIP). */
  readonly softwareInterrupt: (hart: number, level: boolean) => void
  /** The value of mtimecmp, in ticks, from now on: mip.MTIP is set while time is at or above it. */
  readonly timerCompare: (hart: number, value: bigint) => void
}

export class Aclint implements Device {
  readonly name: string
  readonly #harts: number
  readonly #clock: GuestClock
  readonly #softwareInterrupt: AclintOptions['softwareInterrupt']
  readonly #timerCompare: AclintOptions['timerCompare']
  readonly #pending: boolean[]
  readonly #compare: bigint[]

  constructor(options: AclintOptions) {
    this.name = options.name ?? 'aclint'
    this.#harts = options.harts
    this.#clock = options.clock
    this.#softwareInterrupt = options.softwareInterrupt
    this.#timerCompare = options.timerCompare
    this.#pending = new Array<boolean>(options.harts).fill(false)
    this.#compare = new Array<bigint>(options.harts).fill(NEVER)
  }

  read(offset: number, size: AccessSize): number {
    if (size !== 4) return 0
    if (offset < TIMECMP_BASE) return this.#pending[offset >> 2] ? 1 : 0
    if (offset === MTIME || offset === MTIME + 4) return half(this.#clock(), offset)
    return half(this.#compare[(offset - TIMECMP_BASE) >> 3] ?? 0n, offset)
  }

  write(offset: number, size: AccessSize, value: number): void {
    if (size !== 4) return
    if (offset < TIMECMP_BASE) this.#setPending(offset >> 2, (value & 1) === 1)
    else this.#setCompareHalf((offset - TIMECMP_BASE) >> 3, offset, value)
  }

  reset(): void {
    this.#pending.fill(false)
    this.#compare.fill(NEVER)
    this.#drive()
  }

  save(writer: StateWriter): void {
    writer.section(this.name, 1, () => {
      for (let hart = 0; hart < this.#harts; hart++) {
        writer.flag(`msip[${hart}]`, this.#pending[hart]!)
        writer.u64(`mtimecmp[${hart}]`, this.#compare[hart]!)
      }
    })
  }

  load(reader: StateReader): void {
    reader.section(this.name, 1, () => {
      for (let hart = 0; hart < this.#harts; hart++) {
        this.#pending[hart] = reader.flag(`msip[${hart}]`)
        this.#compare[hart] = reader.u64(`mtimecmp[${hart}]`)
      }
    })
    this.#drive()
  }

  #setPending(hart: number, level: boolean): void {
    if (hart >= this.#harts) return
    this.#pending[hart] = level
    this.#softwareInterrupt(hart, level)
  }

  #setCompareHalf(hart: number, offset: number, value: number): void {
    if (hart >= this.#harts) return
    const old = this.#compare[hart]!
    const high = (offset & 4) !== 0
    const kept = high ? old & 0xffff_ffffn : old & ~0xffff_ffffn
    this.#compare[hart] = kept | (BigInt(value) << (high ? 32n : 0n))
    this.#timerCompare(hart, this.#compare[hart])
  }

  #drive(): void {
    for (let hart = 0; hart < this.#harts; hart++) {
      this.#softwareInterrupt(hart, this.#pending[hart]!)
      this.#timerCompare(hart, this.#compare[hart]!)
    }
  }
}

/** The half of a 64-bit register that `offset` addresses. */
function half(value: bigint, offset: number): number {
  return Number((offset & 4) === 0 ? value & 0xffff_ffffn : (value >> 32n) & 0xffff_ffffn)
}

/** The machine settings in which blocks run: who handles traps, what is mapped and protected, what interrupts. */

import type { Random } from '../../src/base/prng.ts'
import type { Level } from './body.ts'
import { ORDERED_INTERRUPTS, pmpConfiguration } from './csr.ts'
import { DATA, type Environment, MSTATUS, RAM, RETURN_PAGE } from './layout.ts'
import { integer } from './operands.ts'
import { SMALL_TABLE, satpFor } from './paging.ts'

/** What an environment has beside open permissions and no interrupts. */
export interface Features {
  readonly paging?: 'sometimes' | 'always'
  readonly pmp?: boolean
  readonly interrupts?: boolean
  /** Random CSRs, FS off, traps of instructions (TVM, TW, TSR), delegation. */
  readonly traps?: boolean
}

export interface TrapVectors {
  readonly machine: bigint
  readonly supervisor: bigint
}

const previousPrivilege: Readonly<Record<Level, bigint>> = { machine: 3n, supervisor: 1n, user: 0n }
const SUPERVISOR_INTERRUPTS = 0x222n
const EXTERNAL_INTERRUPT = 0x200n
/** All exceptions but the ecall of S-mode, by which blocks end. */
const DELEGABLE = 0xb1ffn
const EVERYTHING = (1n << 54n) - 1n
/** Entry 7: all addresses (NAPOT), all accesses. */
const OPEN = 0x1fn << 56n

/** A random environment for a block of this level. */
export function makeEnvironment(
  random: Random,
  level: Level,
  vectors: TrapVectors,
  features: Features,
): Environment {
  const any = features.traps ? () => integer(random) : () => 0n
  const some = (enabled: boolean | undefined, mask: bigint): bigint =>
    enabled ? random.u64() & random.u64() & mask : 0n
  const vectored = features.interrupts ? BigInt(random.below(2)) : 0n
  const mstatus = status(random, level, features)
  // Where sret traps, the handler for S-mode needs somebody above it.
  const delegable = (mstatus & MSTATUS.tsr) === 0n ? DELEGABLE : DELEGABLE & ~4n
  // Only U-mode cannot enable others beside an external interrupt.
  const enableable = level === 'user' && random.chance(0.3) ? EXTERNAL_INTERRUPT : ORDERED_INTERRUPTS
  return {
    ...protection(random, features.pmp ?? false),
    satp: features.paging === 'always' || (features.paging && random.chance(0.5)) ? satpFor(random) : 0n,
    medeleg: features.traps && random.chance(0.6) ? random.u64() & delegable : 0n,
    mideleg: some(features.interrupts || features.traps, SUPERVISOR_INTERRUPTS),
    mtvec: vectors.machine | vectored,
    stvec: vectors.supervisor | (features.interrupts ? BigInt(random.below(2)) : 0n),
    mscratch: any(),
    sscratch: any(),
    sepc: any() & ~1n,
    scause: any(),
    stval: any(),
    mcause: any(),
    mtval: any(),
    mcounteren: 0n,
    scounteren: any() & 0xffff_ffffn,
    mie: features.interrupts ? random.u64() & enableable : 0n,
    mip: features.interrupts ? random.u64() & SUPERVISOR_INTERRUPTS : 0n,
    mstatus,
  }
}

function status(random: Random, level: Level, features: Features): bigint {
  const maybe = (bits: bigint, probability = 0.5): bigint => (random.chance(probability) ? bits : 0n)
  let value = previousPrivilege[level] << 11n
  // Where instructions trap, FS is dirty from the start: ours counts a trapped one as a change, as it may.
  const on = features.paging || features.traps ? 3n : random.pick([1n, 2n, 3n])
  value |= features.traps && random.chance(0.1) ? 0n : on << 13n
  if (features.interrupts) value |= maybe(MSTATUS.mpie) | maybe(MSTATUS.sie)
  if (features.paging) value |= maybe(MSTATUS.sum) | maybe(MSTATUS.mxr)
  if (!features.traps) return value
  value |= maybe(MSTATUS.tvm) | maybe(MSTATUS.tw) | maybe(MSTATUS.tsr, 0.2)
  return value | maybe(MSTATUS.spp) | maybe(MSTATUS.spie)
}

type Protection = Pick<
  Environment,
  | 'pmpcfg0'
  | 'pmpaddr0'
  | 'pmpaddr1'
  | 'pmpaddr2'
  | 'pmpaddr3'
  | 'pmpaddr4'
  | 'pmpaddr5'
  | 'pmpaddr6'
  | 'pmpaddr7'
>

/**
 * Entries 0 to 3 lie around the hot bytes, with borders inside of them; 4 may hide the table of the small pages, 5
 * the page of returns; 7 opens what is left.
 */
function protection(random: Random, enabled: boolean): Protection {
  const around = (): bigint => {
    const border = RAM + DATA + 0x1000 * random.between(1, 3) + 4 * random.between(-8, 8)
    const size = random.pick([8, 8, 16, 32, 4096, 8192])
    // NAPOT: the ones below the lowest zero give the size.
    return random.chance(0.5) ? BigInt(border >>> 2) : napot(border, size)
  }
  const addresses = {
    pmpaddr0: around(),
    pmpaddr1: around(),
    pmpaddr2: around(),
    pmpaddr3: around(),
    pmpaddr4: napot(SMALL_TABLE, 4096),
    pmpaddr5: napot(RAM + RETURN_PAGE, 4096),
    pmpaddr6: 0n,
    pmpaddr7: EVERYTHING,
  }
  if (!enabled) return { ...addresses, pmpcfg0: OPEN }
  const around4 = pmpConfiguration(random) & 0xffff_ffffn
  const table = random.chance(0.1) ? 0x18n << 32n : 0n
  const returns = random.chance(0.3) ? BigInt(0x18 | random.pick([0, 1, 4, 5])) << 40n : 0n
  return { ...addresses, pmpcfg0: OPEN | around4 | table | returns }
}

function napot(address: number, size: number): bigint {
  return BigInt(((address & -size) >>> 2) + size / 8 - 1)
}

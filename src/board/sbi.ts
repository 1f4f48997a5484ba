/**
 * The supervisor binary interface 2.0, built into the board, so that an operating system starts in S-mode without a
 * firmware file: BASE, TIME, IPI, RFENCE, SRST, HSM and DBCN. A call takes a7 = extension, a6 = function, a0.. =
 * arguments, and gives a0 = error, a1 = value (SBI specification, chapter 3).
 */
import type { PowerRequest } from '../devices/syscon.ts'
import type { Hart } from '../machine/hart.ts'
import { HART_STATE, MSTATUS, PRIVILEGE } from '../machine/layout.ts'
import { LINE, type Machine } from '../machine/machine.ts'

const ERROR = {
  success: 0n,
  notSupported: -2n,
  invalidParameter: -3n,
  invalidAddress: -5n,
  alreadyAvailable: -6n,
} as const

/** Extension numbers are the ASCII codes of their names, but for BASE. */
const extension = (name: string): bigint =>
  [...name].reduce((number, letter) => (number << 8n) | BigInt(letter.charCodeAt(0)), 0n)

const EXTENSION = {
  base: 0x10n,
  time: extension('TIME'),
  ipi: extension('sPI'),
  rfence: extension('RFNC'),
  hsm: extension('HSM'),
  srst: extension('SRST'),
  dbcn: extension('DBCN'),
} as const

const SPECIFICATION_VERSION = 2n << 24n
/** Unassigned by the SBI specification: this implementation is no firmware of its own. */
const IMPLEMENTATION_ID = 0x554e_4453n
const IMPLEMENTATION_VERSION = 1n

const RFENCE_FUNCTIONS = 7n
const CONSOLE_WRITE_MAX = 64 * 1024
const WORD32 = 0xffff_ffffn
const SUSPEND_RETENTIVE = 0n
const SUSPEND_NON_RETENTIVE = 0x8000_0000n

/** Hart states as HSM numbers them. */
const HSM_STATUS = { started: 0n, stopped: 1n, suspended: 4n } as const

export interface SbiEnvironment {
  readonly machine: Machine
  /** The debug console. */
  readonly print: (bytes: Uint8Array) => void
  readonly power: (request: PowerRequest) => void
}

type Answer = readonly [error: bigint, value?: bigint]

const A = (number: number): number => 10 + number

export class Sbi {
  readonly #machine: Machine
  readonly #environment: SbiEnvironment

  constructor(environment: SbiEnvironment) {
    this.#machine = environment.machine
    this.#environment = environment
  }

  /** Answers the call that `hart` has made; its pc is behind the ecall already. */
  call(hart: Hart): void {
    const resumed = this.#suspend(hart)
    if (resumed) return
    const [error, value = 0n] = this.#answer(hart, hart.x(A(7)), hart.x(A(6)))
    hart.setX(A(0), error)
    hart.setX(A(1), value)
  }

  #answer(hart: Hart, number: bigint, call: bigint): Answer {
    switch (number) {
      case EXTENSION.base:
        return base(call, hart.x(A(0)))
      case EXTENSION.time:
        return call === 0n ? this.#setTimer(hart) : [ERROR.notSupported]
      case EXTENSION.ipi:
        return call === 0n ? this.#sendInterrupts(hart) : [ERROR.notSupported]
      case EXTENSION.rfence:
        // Page tables and code are watched (machine/watch.ts): remote fences have nothing to do but to name harts.
        return call < RFENCE_FUNCTIONS
          ? [this.#targets(hart) ? ERROR.success : ERROR.invalidParameter]
          : [ERROR.notSupported]
      case EXTENSION.hsm:
        return this.#hartState(hart, call)
      case EXTENSION.srst:
        return call === 0n ? this.#systemReset(hart) : [ERROR.notSupported]
      case EXTENSION.dbcn:
        return this.#debugConsole(hart, call)
      default:
        return [ERROR.notSupported]
    }
  }

  #setTimer(hart: Hart): Answer {
    hart.set64('stimecmp', hart.x(A(0)))
    return [ERROR.success]
  }

  /** The harts named by a mask in a0 from hart a1 on; undefined if one does not exist. */
  #targets(hart: Hart): readonly Hart[] | undefined {
    const mask = hart.x(A(0))
    const first = hart.x(A(1))
    if (first === 0xffff_ffff_ffff_ffffn) return this.#machine.harts
    const targets: Hart[] = []
    for (let bit = 0n; bit < 64n; bit++) {
      if (((mask >> bit) & 1n) === 0n) continue
      const target = this.#machine.harts[Number(first + bit)]
      if (target === undefined) return undefined
      targets.push(target)
    }
    return targets
  }

  #sendInterrupts(hart: Hart): Answer {
    const targets = this.#targets(hart)
    if (targets === undefined) return [ERROR.invalidParameter]
    for (const target of targets) target.set64('mipSoft', target.get64('mipSoft') | (1n << BigInt(LINE.ssip)))
    return [ERROR.success]
  }

  #hartState(hart: Hart, call: bigint): Answer {
    if (call === 0n) return this.#startHart(hart)
    if (call === 1n) {
      hart.set32('state', HART_STATE.stopped)
      return [ERROR.success]
    }
    if (call !== 2n) return [ERROR.notSupported]
    const target = this.#machine.harts[Number(hart.x(A(0)))]
    return target === undefined ? [ERROR.invalidParameter] : [ERROR.success, hsmStatus(target)]
  }

  #startHart(hart: Hart): Answer {
    const target = this.#machine.harts[Number(hart.x(A(0)))]
    const address = hart.x(A(1))
    if (target === undefined) return [ERROR.invalidParameter]
    if (target.get32('state') !== HART_STATE.stopped) return [ERROR.alreadyAvailable]
    if (!this.#isEntry(address)) return [ERROR.invalidAddress]
    enterSupervisor(target, address, hart.x(A(2)))
    this.#machine.restartHart(target.id)
    return [ERROR.success]
  }

  /** Whether a hart can be started at `address`: in RAM, and even, since the pc has no bit 0. */
  #isEntry(address: bigint): boolean {
    return (address & 1n) === 0n && this.#machine.ram.contains(Number(address), 2)
  }

  /** Handles a suspend call, which does not return in the usual way. False if the call is another one. */
  #suspend(hart: Hart): boolean {
    if (hart.x(A(7)) !== EXTENSION.hsm || hart.x(A(6)) !== 3n) return false
    const type = hart.x(A(0)) & WORD32
    if (type === SUSPEND_RETENTIVE) hart.setX(A(0), ERROR.success)
    else if (type !== SUSPEND_NON_RETENTIVE) return this.#refuse(hart, ERROR.notSupported)
    else if (!this.#isEntry(hart.x(A(1)))) return this.#refuse(hart, ERROR.invalidAddress)
    else enterSupervisor(hart, hart.x(A(1)), hart.x(A(2)))
    hart.set32('state', HART_STATE.suspended)
    return true
  }

  #refuse(hart: Hart, error: bigint): true {
    hart.setX(A(0), error)
    return true
  }

  #systemReset(hart: Hart): Answer {
    const type = hart.x(A(0)) & WORD32
    const isFailure = hart.x(A(1)) === 1n
    if (type > 2n) return [ERROR.invalidParameter]
    this.#environment.power(type === 0n ? { kind: 'power-off', code: isFailure ? 1 : 0 } : { kind: 'reset' })
    return [ERROR.success]
  }

  #debugConsole(hart: Hart, call: bigint): Answer {
    if (call === 2n) {
      this.#environment.print(Uint8Array.of(Number(hart.x(A(0)) & 0xffn)))
      return [ERROR.success]
    }
    // Input arrives through the UART; the debug console never has any.
    if (call === 1n) return [ERROR.success, 0n]
    if (call !== 0n) return [ERROR.notSupported]
    const length = Number(hart.x(A(0)) < BigInt(CONSOLE_WRITE_MAX) ? hart.x(A(0)) : BigInt(CONSOLE_WRITE_MAX))
    const address = Number(hart.x(A(1)))
    if (hart.x(A(2)) !== 0n || !this.#machine.ram.contains(address, length)) return [ERROR.invalidParameter]
    this.#environment.print(this.#machine.ram.read(address, length))
    return [ERROR.success, BigInt(length)]
  }
}

function base(call: bigint, probed: bigint): Answer {
  const isKnown = Object.values(EXTENSION).includes(probed as (typeof EXTENSION)['base'])
  const values = [
    SPECIFICATION_VERSION,
    IMPLEMENTATION_ID,
    IMPLEMENTATION_VERSION,
    isKnown ? 1n : 0n,
    0n,
    0n,
    0n,
  ]
  const value = values[Number(call)]
  return value === undefined ? [ERROR.notSupported] : [ERROR.success, value]
}

function hsmStatus(hart: Hart): bigint {
  const state = hart.get32('state')
  if (state === HART_STATE.stopped) return HSM_STATUS.stopped
  return state === HART_STATE.suspended ? HSM_STATUS.suspended : HSM_STATUS.started
}

/** Exceptions and interrupts that go to S-mode: all but environment calls from S and M. */
const DELEGATED_EXCEPTIONS = 0xb1ffn
const DELEGATED_INTERRUPTS = 0x222n
const COUNTERS_OPEN = 7n
const STCE = 1n << 63n
/** One NAPOT entry over everything, readable, writable, executable. */
const PMP_ALL = { config: 0x1fn, address: (1n << 54n) - 1n }

/**
 * Puts a hart where SBI starts one: in S-mode at `pc`, with a0 = hart id and a1 = `argument`, paging and interrupts
 * off, and M-mode's registers as a firmware leaves them.
 */
export function enterSupervisor(hart: Hart, pc: bigint, argument: bigint): void {
  hart.set64('medeleg', DELEGATED_EXCEPTIONS)
  hart.set64('mideleg', DELEGATED_INTERRUPTS)
  hart.set64('mcounteren', COUNTERS_OPEN)
  hart.set64('scounteren', COUNTERS_OPEN)
  hart.set64('menvcfg', STCE)
  hart.set64('pmpcfg0', PMP_ALL.config)
  hart.set64('pmpaddr0', PMP_ALL.address)
  hart.set64('satp', 0n)
  hart.set64('mstatus', hart.get64('mstatus') & ~BigInt(MSTATUS.sie))
  hart.set32('privilege', PRIVILEGE.supervisor)
  hart.set32('reserved', 0)
  hart.set64('pc', pc)
  hart.setX(A(0), BigInt(hart.id))
  hart.setX(A(1), argument)
}

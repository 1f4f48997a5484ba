/** A hart as the environment sees it: its registers in memory 0, and how they are named in snapshots. */
import { FormatError } from '../base/errors.ts'
import type { StateReader, StateWriter } from '../base/state.ts'
import type { HartField } from './fields.ts'
import { HANDLER } from './handlers.ts'
import {
  HART,
  HART_BANK_KEYS,
  HART_BYTES,
  HART_F,
  HART_STATE,
  HART_STRADDLE,
  HART_X,
  hartAddress,
  PRIVILEGE,
} from './layout.ts'

const SAVED_64: readonly HartField[] = [
  'pc', 'mstatus', 'mie', 'mipSoft', 'mipLines', 'mideleg', 'medeleg', 'mtvec', 'mscratch', 'mepc', 'mcause', 'mtval',
  'mcounteren', 'mcountinhibit', 'menvcfg', 'stvec', 'sscratch', 'sepc', 'scause', 'stval', 'scounteren', 'senvcfg',
  'satp', 'stimecmp', 'mtimecmp', 'mcycle', 'minstret', 'reservation', 'pmpcfg0', 'pmpcfg2', 'pmpaddr0', 'pmpaddr1',
  'pmpaddr2', 'pmpaddr3', 'pmpaddr4', 'pmpaddr5', 'pmpaddr6', 'pmpaddr7', 'pmpaddr8', 'pmpaddr9', 'pmpaddr10',
  'pmpaddr11', 'pmpaddr12', 'pmpaddr13', 'pmpaddr14', 'pmpaddr15',
] // biome-ignore format: a list of names

const SAVED_32: readonly HartField[] = ['privilege', 'fflags', 'frm', 'reserved', 'state']

/** Compares as never: no timer set. */
export const TIMER_NEVER = 0xffff_ffff_ffff_ffffn

export class Hart {
  readonly id: number
  readonly address: number
  readonly #view: DataView

  constructor(id: number, tables: ArrayBufferLike) {
    this.id = id
    this.address = hartAddress(id)
    this.#view = new DataView(tables, this.address, HART_BYTES)
  }

  get64(field: HartField): bigint {
    return this.#view.getBigUint64(HART[field], true)
  }

  set64(field: HartField, value: bigint): void {
    this.#view.setBigUint64(HART[field], BigInt.asUintN(64, value), true)
  }

  get32(field: HartField): number {
    return this.#view.getInt32(HART[field], true)
  }

  set32(field: HartField, value: number): void {
    this.#view.setInt32(HART[field], value, true)
  }

  /** Integer register `number`. */
  x(number: number): bigint {
    return this.#view.getBigUint64(HART_X + number * 8, true)
  }

  setX(number: number, value: bigint): void {
    if (number !== 0) this.#view.setBigUint64(HART_X + number * 8, BigInt.asUintN(64, value), true)
  }

  /** Floating-point register `number`, raw. */
  f(number: number): bigint {
    return this.#view.getBigUint64(HART_F + number * 8, true)
  }

  setF(number: number, value: bigint): void {
    this.#view.setBigUint64(HART_F + number * 8, BigInt.asUintN(64, value), true)
  }

  /** Interrupts that are pending and individually enabled: what ends a wait. */
  get awake(): boolean {
    // Only the low 12 bits can be set.
    const pending = this.#view.getUint32(HART.mipSoft, true) | this.#view.getUint32(HART.mipLines, true)
    return (pending & this.#view.getUint32(HART.mie, true)) !== 0
  }

  /** Drives an interrupt-pending bit. Returns whether it changed. */
  setLine(bit: number, level: boolean): boolean {
    const old = this.#view.getUint32(HART.mipLines, true)
    const lines = level ? old | (1 << bit) : old & ~(1 << bit)
    this.#view.setUint32(HART.mipLines, lines, true)
    return lines !== old
  }

  /** The state after power-on: M-mode at `pc`, everything else zero. */
  reset(pc: bigint): void {
    new Uint8Array(this.#view.buffer, this.address, HART_BYTES).fill(0)
    this.set32('id', this.id)
    this.set32('privilege', PRIVILEGE.machine)
    this.set32('state', HART_STATE.running)
    this.set32('pmpOpen', 1)
    this.set64('pc', pc)
    this.set64('stimecmp', TIMER_NEVER)
    this.set64('mtimecmp', TIMER_NEVER)
    this.#prepareStraddle()
  }

  /** Forgets which banks hold what; they must have been emptied. */
  forgetBanks(): void {
    for (let i = 0; i < 16; i++) this.#view.setBigUint64(HART_BANK_KEYS + i * 8, 0n, true)
    this.set64('dataKey', 0n)
    this.set64('fetchKey', 0n)
  }

  save(writer: StateWriter): void {
    writer.section(`hart${this.id}`, 1, () => {
      for (let i = 1; i < 32; i++) writer.u64(`x${i}`, this.x(i))
      for (let i = 0; i < 32; i++) writer.u64(`f${i}`, this.f(i))
      for (const field of SAVED_64) writer.u64(field, this.get64(field))
      for (const field of SAVED_32) writer.u32(field, this.get32(field))
    })
  }

  load(reader: StateReader): void {
    this.reset(0n)
    reader.section(`hart${this.id}`, 1, () => {
      for (let i = 1; i < 32; i++) this.setX(i, reader.u64(`x${i}`))
      for (let i = 0; i < 32; i++) this.setF(i, reader.u64(`f${i}`))
      for (const field of SAVED_64) this.set64(field, reader.u64(field))
      for (const field of SAVED_32) this.set32(field, reader.u32(field))
    })
    this.#check()
  }

  /** Refuses what no hart can hold and the interpreter relies on. */
  #check(): void {
    const privileges: readonly number[] = Object.values(PRIVILEGE)
    const states: readonly number[] = Object.values(HART_STATE)
    const satpMode = this.get64('satp') >> 60n
    const isValid =
      (this.get64('pc') & 1n) === 0n &&
      privileges.includes(this.get32('privilege')) &&
      states.includes(this.get32('state')) &&
      (satpMode === 0n || satpMode === 8n || satpMode === 9n)
    if (!isValid) throw new FormatError(`machine state: hart ${this.id} is in a state that no hart can be in`)
  }

  /** Behind the place for straddling instructions stand two sentinels. */
  #prepareStraddle(): void {
    this.#view.setUint16(HART_STRADDLE, HANDLER.illegal, true)
    this.#view.setUint16(HART_STRADDLE + 8, HANDLER.pageEnd, true)
    this.#view.setUint16(HART_STRADDLE + 16, HANDLER.pageEnd, true)
  }
}

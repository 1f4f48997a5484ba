/** Reading and writing the fields of harts and of the machine block, as WebAssembly. */
import { type I32, type I64, i32, i64, type Operand } from '../wasm/expression.ts'
import type { FunctionBuilder } from '../wasm/function.ts'
import { HART, MACHINE } from './layout.ts'

export type HartField = keyof typeof HART
export type MachineField = keyof typeof MACHINE

export const hart64 = (hart: I32, field: HartField): I64 => i64.load(hart, { offset: HART[field] })
export const hart32 = (hart: I32, field: HartField): I32 => i32.load(hart, { offset: HART[field] })

export function setHart64(f: FunctionBuilder, hart: I32, field: HartField, value: Operand<'i64'>): void {
  f.store('i64', hart, value, { offset: HART[field] })
}

export function setHart32(f: FunctionBuilder, hart: I32, field: HartField, value: Operand<'i32'>): void {
  f.store('i32', hart, value, { offset: HART[field] })
}

export const machine64 = (field: MachineField): I64 => i64.load(0, { offset: MACHINE[field] })
export const machine32 = (field: MachineField): I32 => i32.load(0, { offset: MACHINE[field] })

export function setMachine32(f: FunctionBuilder, field: MachineField, value: Operand<'i32'>): void {
  f.store('i32', 0, value, { offset: MACHINE[field] })
}

export function setMachine64(f: FunctionBuilder, field: MachineField, value: Operand<'i64'>): void {
  f.store('i64', 0, value, { offset: MACHINE[field] })
}

/** Counts something for tuning. */
export function count(f: FunctionBuilder, field: MachineField): void {
  setMachine32(f, field, i32.add(machine32(field), 1))
}

/** Whether any of the bits of `mask` is set in a 64-bit value. */
export const anyBit = (value: I64, mask: number | bigint): I32 => i64.ne(i64.and(value, mask), 0)

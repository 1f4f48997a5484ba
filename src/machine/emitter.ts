/**
 * What the meaning of an instruction is written in terms of.
 *
 * Each instruction's meaning (meaning/*.ts) is one function of an Emitter. With the operands left open, the emitter
 * reads them from the predecoded instruction: that gives the interpreter. With the operands filled in it gives
 * translated code. A meaning never says how registers, the pc or the translation caches are kept.
 */
import type { Expr, I32, I64, Operand } from '../wasm/expression.ts'
import type { Callee, FunctionBuilder, Local } from '../wasm/function.ts'
import type { FloatFunctions } from './float/float.ts'
import type { Format } from './float/format.ts'

/** Widths of memory accesses, in bytes. */
export type AccessBytes = 1 | 2 | 4 | 8

export interface Emitter {
  readonly f: FunctionBuilder
  /** Address of the hart. */
  readonly hart: I32
  /** Functions that meanings call. */
  readonly functions: MeaningFunctions

  /** Integer register operands. */
  x1(): I64
  x2(): I64
  /** Writes rd; x0 stays zero. */
  setX(value: I64): void
  /** Whether only the low half of what this instruction gives rd is ever looked at. Only translated code can know. */
  readonly isLowEnough: boolean
  /**
   * Whether the operands are sign-extended low halves, and so is the result, which is to be made of the low halves: x1() and x2() may have
   * something else above them. Only translated code can know.
   */
  readonly isWord: boolean

  /** Floating-point register operands: the raw 64 bits. */
  f1(): I64
  f2(): I64
  f3(): I64
  setF(value: I64): void

  /** The immediate, sign-extended. */
  imm(): I64
  imm32(): I32
  /** rs1's number: the operand of csrrwi and its like. */
  rs1Number(): I32
  /** Address of this instruction, and of the next one. */
  pc(): I64
  nextPc(): I64

  /** A scratch variable; `number` tells apart the ones an instruction holds at the same time. */
  scratch64(number: 0 | 1 | 2, value: I64): Local<'i64'>
  scratch32(number: 0 | 1, value: I32): Local<'i32'>

  /** Goes to pc + imm if `condition` holds. */
  branchIf(condition: I32): void
  /** Goes to pc + imm. */
  jump(): void
  /** Goes to an address that is only known now. */
  jumpTo(target: I64): void

  /** Loads from x1 + imm; `done` consumes the value, extended to 64 bits. */
  load(bytes: AccessBytes, signed: boolean, done: (value: I64) => void): void
  /** Stores to x1 + imm. */
  store(bytes: AccessBytes, value: I64): void
  /** Reads, changes and writes back the doubleword or word at x1; `done` gets the old value, sign-extended. */
  modify(bytes: 4 | 8, change: (old: I64) => I64, done: (old: I64) => void): void
  /** Loads from x1 and reserves; stores to x1 if the reservation holds. */
  loadReserved(bytes: 4 | 8): void
  storeConditional(bytes: 4 | 8, value: I64): void

  /** Reads, and changes if `writes` says so, the CSR that the immediate names (OPERATION in csr.ts); rd gets the old value. */
  csr(operation: number, operand: I64, writes: I32): void

  /** Floating point that rounds nothing: illegal if it is off; `changes` says whether it may change its state. */
  float(changes: boolean, body: () => void): void
  /** Floating point that rounds. It is illegal if floating point is off, or if the rounding mode is reserved. */
  rounded<T extends 'i32' | 'i64'>(rounding: Rounded<T>): void
  /** A faster way where `condition` holds. Only translated code takes it: the handlers of the interpreter stay small. */
  prefer(condition: () => I32, fast: () => void, otherwise: () => void): void

  /** Ends as an exception. */
  raise(cause: Operand<'i32'>, tval: Operand<'i64'>): void
  illegal(): void
  /** Ends by the slow way at the hart's pc field, which has been set: interrupts and translations are looked at. */
  leave(): void
  /** Makes the hart's pc field and the step count current for a call out of here. */
  expose(): void
}

/** What rounds, on raw patterns of a format. */
export interface Rounded<T extends 'i32' | 'i64'> {
  /** With a rounding mode, 0 to 4: the result, its flags raised. */
  exact(mode: I32): Expr<T>
  /**
   * WebAssembly's own arithmetic, as a pattern of the format. It is taken in translated code where it is the same: in
   * rounding mode nearest even, with inexact raised already, for results that are normal (float/arithmetic.ts).
   */
  readonly nearest?: { readonly format: Pick<Format, 'fractionBits' | 'exponentMax'>; result(): Expr<T> }
  /** The same of what is rounded toward zero, where it is in range: then it can have raised nothing but inexact. */
  readonly towardZero?: { isInRange(): I32; result(): Expr<T> }
  done(result: Expr<T>): void
}

/** Functions of the core module that meanings use. */
export interface MeaningFunctions {
  readonly mret: Callee
  readonly sret: Callee
  readonly float: FloatFunctions
  /** Whether WebAssembly's relaxed multiply-add rounds once. */
  readonly fusesMultiplyAdd: boolean
}

/** The meaning of one instruction: emits it. */
export type Meaning = (e: Emitter) => void

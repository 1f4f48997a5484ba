/**
 * The emitter with the operands left open: they are read from the predecoded instruction at `entry`.
 *
 * A meaning ends by falling out (then `next` goes on behind it) or by one of the ways that leave.
 */
import { type I32, type I64, i32, i64, type Operand } from '../wasm/expression.ts'
import { call, type FunctionBuilder, type Label, type Local } from '../wasm/function.ts'
import type { AccessBytes, Emitter, MeaningFunctions, Rounded } from './emitter.ts'
import { hart32, hart64, setHart64, setMachine32 } from './fields.ts'
import type { HandlerVariant } from './handlers.ts'
import type { InterpreterParts } from './interpreter.ts'
import {
  BANK_WRITE,
  CODE_ENTRIES,
  CODE_ENTRY_BYTES,
  CURRENT_REGISTERS,
  HART_F,
  HART_X,
  MSTATUS,
} from './layout.ts'
import { STATUS } from './memory.ts'
import {
  type AccessContext,
  extended,
  hitOffset,
  loadRam,
  loadReserved,
  lookUp,
  misses,
  modify,
  storeConditional,
} from './memory_access.ts'
import { isPure } from './predecode.ts'

/** The local variables of `run`. Shared by all handlers: each local of a loop is one more value to keep. */
export interface Variables {
  readonly hart: Local<'i32'>
  /** Steps left. */
  readonly steps: Local<'i32'>
  /** Address of the current predecoded instruction. */
  readonly entry: Local<'i32'>
  /** Start of its code slot, or NO_SLOT. */
  readonly base: Local<'i32'>
  /** The hart's current data bank. */
  readonly bank: Local<'i32'>
  /** pc - entry / 4 */
  readonly delta: Local<'i64'>
  /** Where a jump goes. */
  readonly target: Local<'i64'>
  /** For memory accesses: virtual address, TLB entry, status of a slow path, offset in RAM. */
  readonly address: Local<'i64'>
  readonly slot: Local<'i32'>
  readonly status: Local<'i32'>
  readonly offset: Local<'i32'>
  readonly scratch64: readonly Local<'i64'>[]
  readonly scratch32: readonly Local<'i32'>[]
}

/** Where a handler goes on: see interpreter.ts. */
export interface Labels {
  readonly resync: Label
  readonly arrive: Label
  readonly dispatch: Label
  /** For one instruction of a sequence: the handler that it has alone, which begins it again and handles what is rare. */
  readonly alone?: Label
}

/** The pc of the current predecoded instruction. */
export const pcOf = (v: Variables): I64 => i64.add(v.delta, i64.extend_i32_u(i32.shr_u(v.entry, 2)))

/** Offsets within a predecoded instruction (predecode.ts). */
const A = 2
const B = 3
const IMMEDIATE = 4
const RS2 = 4
const RS3 = 5
const ROUNDING = 6

const X = CURRENT_REGISTERS + HART_X
const F = CURRENT_REGISTERS + HART_F

/** rm = 7 stands for the mode in frm. */
const DYNAMIC = 7

export class OpenOperands implements Emitter {
  readonly f: FunctionBuilder
  readonly hart: I32
  readonly functions: MeaningFunctions
  readonly isLowEnough = false
  readonly isWord = false
  readonly #v: Variables
  readonly #labels: Labels
  readonly #parts: InterpreterParts
  readonly #length: 2 | 4
  readonly #isPure: boolean
  readonly #rs2Field: number
  readonly #access: AccessContext

  constructor(
    f: FunctionBuilder,
    v: Variables,
    parts: InterpreterParts,
    labels: Labels,
    { instruction, length }: HandlerVariant,
  ) {
    this.f = f
    this.#v = v
    this.hart = v.hart
    this.functions = parts.functions
    this.#parts = parts
    this.#labels = labels
    this.#length = length
    this.#isPure = isPure(instruction)
    this.#access = this.#accessContext()
    this.#rs2Field = instruction.format === 'S' || instruction.format === 'B' ? A : RS2
  }

  /** Goes on with the instruction behind this one. */
  next(): void {
    this.f.set(this.#v.entry, i32.add(this.#v.entry, (this.#length / 2) * CODE_ENTRY_BYTES))
    this.f.br(this.#labels.dispatch)
  }

  /** Moves on to the next instruction, which this handler executes as well, unless no step is left. */
  continueWithin(): void {
    const v = this.#v
    this.f.set(v.entry, i32.add(v.entry, (this.#length / 2) * CODE_ENTRY_BYTES))
    this.f.brIf(this.#labels.dispatch, i32.eqz(v.steps), 'unlikely')
    this.f.set(v.steps, i32.sub(v.steps, 1))
  }

  x1(): I64 {
    return i64.load(this.#register(B), { offset: X })
  }

  x2(): I64 {
    return i64.load(this.#register(this.#rs2Field), { offset: X })
  }

  setX(value: I64): void {
    this.f.store('i64', this.#register(A), value, { offset: X })
    if (!this.#isPure) this.f.store('i64', 0, 0, { offset: X })
  }

  f1(): I64 {
    return i64.load(this.#register(B), { offset: F })
  }

  f2(): I64 {
    return i64.load(this.#register(this.#rs2Field), { offset: F })
  }

  f3(): I64 {
    return i64.load(this.#register(RS3), { offset: F })
  }

  setF(value: I64): void {
    this.f.store('i64', this.#register(A), value, { offset: F })
  }

  imm(): I64 {
    return i64.load32_s(this.#v.entry, { offset: IMMEDIATE })
  }

  imm32(): I32 {
    return i32.load(this.#v.entry, { offset: IMMEDIATE })
  }

  rs1Number(): I32 {
    return i32.shr_u(i32.load8_u(this.#v.entry, { offset: B }), 3)
  }

  pc(): I64 {
    return pcOf(this.#v)
  }

  nextPc(): I64 {
    return i64.add(this.pc(), this.#length)
  }

  scratch64(number: 0 | 1 | 2, value: I64): Local<'i64'> {
    const local = this.#v.scratch64[number]!
    this.f.set(local, value)
    return local
  }

  scratch32(number: 0 | 1, value: I32): Local<'i32'> {
    const local = this.#v.scratch32[number]!
    this.f.set(local, value)
    return local
  }

  branchIf(condition: I32): void {
    this.f.if(condition, () => this.jump())
  }

  jump(): void {
    const { f } = this
    const v = this.#v
    const distance = i32.load(v.entry, { offset: IMMEDIATE })
    f.set(v.slot, i32.add(v.entry, distance))
    const pageBytes = (CODE_ENTRIES - 2) * CODE_ENTRY_BYTES
    const { alone } = this.#labels
    if (alone !== undefined) {
      f.brIf(alone, i32.ge_u(i32.sub(v.slot, v.base), pageBytes), 'unlikely')
      f.set(v.entry, v.slot)
      f.br(this.#labels.dispatch)
      return
    }
    const inPage = i32.lt_u(i32.sub(v.slot, v.base), pageBytes)
    f.ifLikely(inPage, () => {
      f.set(v.entry, v.slot)
      f.br(this.#labels.dispatch)
    })
    f.set(v.target, i64.add(this.pc(), i64.extend_i32_s(i32.shr_s(distance, 2))))
    f.br(this.#labels.arrive)
  }

  jumpTo(target: I64): void {
    this.f.set(this.#v.target, target)
    this.f.br(this.#labels.arrive)
  }

  load(bytes: AccessBytes, signed: boolean, done: (value: I64) => void): void {
    const { f } = this
    const v = this.#v
    f.set(v.address, i64.add(this.x1(), this.imm()))
    this.#onMiss(bytes, 0, () => {
      f.set(v.status, call<'i32'>(this.#parts.memory.load, v.hart, v.address, bytes))
      f.if(i32.eq(v.status, STATUS.trapped), () => f.br(this.#labels.resync))
      done(extended(hart64(v.hart, 'result'), bytes, signed))
      this.#resyncIf(v.status)
      this.next()
    })
    done(loadRam(hitOffset(this.#access), bytes, signed))
  }

  store(bytes: AccessBytes, value: I64): void {
    const { f } = this
    const v = this.#v
    f.set(v.address, i64.add(this.x1(), this.imm()))
    this.#onMiss(bytes, BANK_WRITE, () => {
      f.set(v.status, call<'i32'>(this.#parts.memory.store, v.hart, v.address, bytes, value))
      f.if(i32.eq(v.status, STATUS.trapped), () => f.br(this.#labels.resync))
      this.#resyncIf(v.status)
      this.next()
    })
    f.store('i64', hitOffset(this.#access, BANK_WRITE), value, { memory: 1 }, bytes * 8)
  }

  modify(bytes: 4 | 8, change: (old: I64) => I64, done: (old: I64) => void): void {
    modify(this.#access, bytes, change, done)
  }

  loadReserved(bytes: 4 | 8): void {
    loadReserved(this.#access, bytes)
  }

  storeConditional(bytes: 4 | 8, value: I64): void {
    storeConditional(this.#access, bytes, value)
  }

  csr(operation: number, operand: I64, writes: I32): void {
    const { f, hart } = this
    this.expose()
    const access = call<'i32'>(this.#parts.csrAccess, hart, this.imm32(), operation, operand, writes)
    const status = this.scratch32(0, access)
    f.ifUnlikely(i32.eq(status, STATUS.trapped), () => this.leave())
    this.setX(hart64(hart, 'result'))
    f.if(status, () => this.leaveBehind())
  }

  float(changes: boolean, body: () => void): void {
    this.#requireFloat(changes)
    body()
  }

  rounded<T extends 'i32' | 'i64'>({ exact, done }: Rounded<T>): void {
    this.#requireFloat(true)
    done(exact(this.#roundingMode()))
  }

  prefer(_condition: () => I32, _fast: () => void, otherwise: () => void): void {
    otherwise()
  }

  #requireFloat(changes: boolean): void {
    const { f, hart } = this
    const mstatus = hart64(hart, 'mstatus')
    f.ifUnlikely(i64.eqz(i64.and(mstatus, MSTATUS.fs)), () => this.illegal())
    if (changes) setHart64(f, hart, 'mstatus', i64.or(mstatus, MSTATUS.fs))
  }

  #roundingMode(): I32 {
    const mode = this.scratch32(0, i32.load8_u(this.#v.entry, { offset: ROUNDING }))
    this.f.if(i32.eq(mode, DYNAMIC), () => this.f.set(mode, hart32(this.hart, 'frm')))
    this.f.ifUnlikely(i32.gt_u(mode, 4), () => this.illegal())
    return mode
  }

  raise(cause: Operand<'i32'>, tval: Operand<'i64'>): void {
    this.expose()
    this.f.call(this.#parts.traps.raise, this.hart, cause, tval)
    this.leave()
  }

  illegal(): void {
    this.expose()
    this.f.call(this.#parts.raiseIllegal, this.hart)
    this.leave()
  }

  leave(): void {
    this.f.br(this.#labels.resync)
  }

  /** Leaves by the slow way behind this instruction. */
  leaveBehind(): void {
    setHart64(this.f, this.hart, 'pc', this.nextPc())
    this.leave()
  }

  expose(): void {
    setHart64(this.f, this.hart, 'pc', this.pc())
    setMachine32(this.f, 'remaining', this.#v.steps)
  }

  #accessContext(): AccessContext {
    const { bank, address, slot, status, offset } = this.#v
    const { memory, watch, layout } = this.#parts
    return {
      ...{ f: this.f, hart: this.hart, bank, address, slot, status, offset },
      ...{ slowAtomic: memory.atomic, afterStore: watch.afterStore, pageFlags: layout.pageFlags },
      x1: () => this.x1(),
      setX: (value) => this.setX(value),
      scratch64: (number, value) => this.scratch64(number, value),
      expose: () => this.expose(),
      leave: () => this.leave(),
      leaveBehind: () => this.leaveBehind(),
    }
  }

  /** The register offset in a field of the entry. */
  #register(field: number): I32 {
    return i32.load8_u(this.#v.entry, { offset: field })
  }

  /** Runs `slow`, which must leave, if the bank's array has no entry for an access at `address`. */
  #onMiss(bytes: AccessBytes, array: number, slow: () => void): void {
    const { f } = this
    const tag = lookUp(this.#access, array)
    const isMiss = misses(this.#access, bytes, tag)
    const { alone } = this.#labels
    if (alone !== undefined) {
      f.brIf(alone, isMiss, 'unlikely')
      return
    }
    f.ifUnlikely(isMiss, () => {
      this.expose()
      slow()
    })
  }

  #resyncIf(condition: I32): void {
    const { f } = this
    f.if(condition, () => this.leaveBehind())
  }
}

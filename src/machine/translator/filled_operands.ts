/**
 * The emitter with the operands filled in: registers are local variables of the region, addresses are constants on top of
 * the page's, and a way out stores what is needed for the interpreter to go on exactly there.
 */

import { instructions } from '../../isa/instructions.ts'
import { type I32, type I64, i32, i64, type Operand, type ValueType } from '../../wasm/expression.ts'
import { call, type FunctionBuilder, type Label, type Local } from '../../wasm/function.ts'
import type { AccessBytes, Emitter, MeaningFunctions } from '../emitter.ts'
import { hart32, hart64, setHart64, setMachine32 } from '../fields.ts'
import { BANK_WRITE, MSTATUS } from '../layout.ts'
import { meanings } from '../meaning/meanings.ts'
import { STATUS } from '../memory.ts'
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
} from '../memory_access.ts'
import type { PlacedInstruction } from './control_flow.ts'
import type { Linkage } from './linkage.ts'
import { accessInfo } from './slow_access.ts'

/** rm = 7 stands for the mode in frm. */
const DYNAMIC = 7

/** What has an effect beside its value: the flags of floating point. */
const raisesFlags = instructions.map(({ extension }) => extension === 'F' || extension === 'D')

/** The local variables of a region. */
export interface RegionVariables {
  readonly hart: Local<'i32'>
  /** Steps left. */
  readonly steps: Local<'i32'>
  /** Virtual address of the page; as a parameter, of where it is entered. */
  readonly page: Local<'i64'>
  /** The offset in the page at which the region was entered, until the way to it has been taken. */
  readonly entry: Local<'i32'>
  readonly bank: Local<'i32'>
  /** A pc to go on at. */
  readonly target: Local<'i64'>
  readonly address: Local<'i64'>
  readonly slot: Local<'i32'>
  readonly status: Local<'i32'>
  readonly offset: Local<'i32'>
  /** What a slow load found. */
  readonly value: Local<'i64'>
  /** The dynamic rounding mode. */
  readonly rounding: Local<'i32'>
  readonly scratch64: readonly Local<'i64'>[]
  readonly scratch32: readonly Local<'i32'>[]
  /** The registers that the region uses; the others are undefined. */
  readonly x: readonly (Local<'i64'> | undefined)[]
  readonly f: readonly (Local<'i64'> | undefined)[]
}

/** What has been looked at in a block, and cannot change in it. */
interface FloatState {
  /** Floating point is not off; its state is marked as changed. */
  readonly isOn?: boolean
  readonly isDirty?: boolean
  /** The dynamic rounding mode is in its variable, and not reserved. */
  readonly isModeKnown?: boolean
}

/** Where an instruction of a region goes on. */
export interface RegionPaths {
  /** To where the block's branch or jump goes. */
  taken(): void
  /** To the address in `target`. */
  goTo(target: Local<'i64'>): void
  /** Out of the region, to the hart's pc, by the slow way. */
  readonly resync: Label
}

export class FilledOperands implements Emitter {
  readonly f: FunctionBuilder
  readonly hart: I32
  readonly functions: MeaningFunctions
  readonly #v: RegionVariables
  readonly #linkage: Linkage
  readonly #access: AccessContext
  /** What the block has found out already. */
  #float: FloatState = {}
  #paths!: RegionPaths
  #instruction!: PlacedInstruction
  #behind = 0

  constructor(
    f: FunctionBuilder,
    v: RegionVariables,
    { linkage, pageFlags }: { readonly linkage: Linkage; readonly pageFlags: number },
  ) {
    this.f = f
    this.#v = v
    this.hart = v.hart
    this.functions = linkage.functions
    this.#linkage = linkage
    this.#access = this.#accessContext(pageFlags)
  }

  /** A block begins: nothing is known of what came before it. */
  beginBlock(): void {
    this.#float = {}
  }

  /** Emits an instruction; `behind` is how many of the block, whose steps are taken at its start, come behind it. */
  emit(instruction: PlacedInstruction, behind: number, paths: RegionPaths): void {
    this.#instruction = instruction
    this.#behind = behind
    this.#paths = paths
    meanings[instruction.op]!(this)
  }

  x1(): I64 {
    return this.#x(this.#instruction.rs1)
  }

  x2(): I64 {
    return this.#x(this.#instruction.rs2)
  }

  setX(value: I64): void {
    const { rd } = this.#instruction
    if (rd !== 0) this.f.set(this.#v.x[rd]!, value)
    else if (raisesFlags[this.#instruction.op]!) this.f.drop(value)
  }

  f1(): I64 {
    return this.#v.f[this.#instruction.rs1]!
  }

  f2(): I64 {
    return this.#v.f[this.#instruction.rs2]!
  }

  f3(): I64 {
    return this.#v.f[this.#instruction.rs3]!
  }

  setF(value: I64): void {
    this.f.set(this.#v.f[this.#instruction.rd]!, value)
  }

  imm(): I64 {
    return i64.const(this.#instruction.imm)
  }

  imm32(): I32 {
    return i32.const(this.#instruction.imm)
  }

  rs1Number(): I32 {
    return i32.const(this.#instruction.rs1)
  }

  pc(): I64 {
    return i64.add(this.#v.page, this.#instruction.offset)
  }

  nextPc(): I64 {
    return i64.add(this.#v.page, this.#instruction.offset + this.#instruction.length)
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
    this.f.if(condition, () => this.#paths.taken())
  }

  jump(): void {
    this.#paths.taken()
  }

  jumpTo(target: I64): void {
    this.f.set(this.#v.target, target)
    this.#paths.goTo(this.#v.target)
  }

  load(bytes: AccessBytes, signed: boolean, done: (value: I64) => void): void {
    const { f } = this
    const v = this.#v
    f.set(v.address, this.#addressOf())
    const tag = lookUp(this.#access, 0)
    f.ifUnlikely(
      misses(this.#access, bytes, tag),
      () => {
        f.callInto([v.value, v.status], this.#linkage.slow.load, ...this.#slowArguments(bytes))
        f.brIf(this.#paths.resync, i32.eq(v.status, STATUS.trapped))
        done(extended(v.value, bytes, signed))
        f.brIf(this.#paths.resync, v.status)
      },
      () => done(loadRam(hitOffset(this.#access), bytes, signed)),
    )
  }

  store(bytes: AccessBytes, value: I64): void {
    const { f } = this
    const v = this.#v
    f.set(v.address, this.#addressOf())
    const tag = lookUp(this.#access, BANK_WRITE)
    f.ifUnlikely(
      misses(this.#access, bytes, tag),
      () => {
        const status = call<'i32'>(this.#linkage.slow.store, ...this.#slowArguments(bytes), value)
        f.brIf(this.#paths.resync, status)
      },
      () => f.store('i64', hitOffset(this.#access, BANK_WRITE), value, { memory: 1 }, bytes * 8),
    )
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

  requireFloat(changes: boolean): void {
    const { f, hart } = this
    const mstatus = hart64(hart, 'mstatus')
    if (this.#float.isOn !== true) f.ifUnlikely(i64.eqz(i64.and(mstatus, MSTATUS.fs)), () => this.illegal())
    if (changes && this.#float.isDirty !== true) setHart64(f, hart, 'mstatus', i64.or(mstatus, MSTATUS.fs))
    this.#float = { ...this.#float, isOn: true, isDirty: changes || this.#float.isDirty === true }
  }

  rounding(): I32 {
    const { rm } = this.#instruction
    if (rm <= 4) return i32.const(rm)
    const { f } = this
    const { rounding } = this.#v
    if (rm !== DYNAMIC) this.illegal()
    else if (this.#float.isModeKnown !== true) {
      f.set(rounding, hart32(this.hart, 'frm'))
      f.ifUnlikely(i32.gt_u(rounding, 4), () => this.illegal())
      this.#float = { ...this.#float, isModeKnown: true }
    }
    return rounding
  }

  prefer(condition: () => I32 | undefined, fast: () => void, otherwise: () => void): void {
    const isFast = condition()
    if (isFast === undefined) otherwise()
    else this.f.ifLikely(isFast, fast, otherwise)
  }

  roundsToNearest(): I32 | undefined {
    const { rm } = this.#instruction
    const isInexact = i32.and(this.#linkage.fflags, 1)
    if (rm === 0) return isInexact
    return rm === DYNAMIC ? i32.and(isInexact, i32.eqz(this.#v.rounding)) : undefined
  }

  raise(cause: Operand<'i32'>, tval: Operand<'i64'>): void {
    this.expose()
    this.f.call(this.#linkage.raise, this.hart, cause, tval)
    this.leave()
  }

  illegal(): void {
    this.expose()
    this.f.call(this.#linkage.raiseIllegal, this.hart)
    this.leave()
  }

  /** The steps left have been exposed: those that the rest of the block would have taken are given back by that. */
  leave(): void {
    this.f.br(this.#paths.resync)
  }

  expose(): void {
    setHart64(this.f, this.hart, 'pc', this.pc())
    setMachine32(this.f, 'remaining', this.#stepsLeft())
  }

  /** Those behind this instruction. */
  #stepsLeft(): I32 {
    return this.#behind === 0 ? this.#v.steps : i32.add(this.#v.steps, this.#behind)
  }

  #slowArguments(bytes: AccessBytes): Operand<ValueType>[] {
    const { hart, address } = this.#v
    const info = accessInfo(bytes, this.#instruction.length)
    return [hart, address, this.pc(), this.#stepsLeft(), info]
  }

  #leaveBehind(): void {
    setHart64(this.f, this.hart, 'pc', this.nextPc())
    this.leave()
  }

  #x(number: number): I64 {
    return number === 0 ? i64.const(0) : this.#v.x[number]!
  }

  #addressOf(): I64 {
    const { imm } = this.#instruction
    return imm === 0 ? this.x1() : i64.add(this.x1(), imm)
  }

  #accessContext(pageFlags: number): AccessContext {
    const { bank, address, slot, status, offset } = this.#v
    const { memory, afterStore } = this.#linkage
    return {
      ...{ f: this.f, hart: this.hart, bank, address, slot, status, offset },
      ...{ slowAtomic: memory.atomic, afterStore, pageFlags },
      x1: () => this.x1(),
      setX: (value) => this.setX(value),
      scratch64: (number, value) => this.scratch64(number, value),
      expose: () => this.expose(),
      leave: () => this.leave(),
      leaveBehind: () => this.#leaveBehind(),
    }
  }
}

/**
 * The emitter with the operands filled in: registers are local variables of the region, addresses are constants on top of
 * the page's, and a way out stores what is needed for the interpreter to go on exactly there.
 */

import { instructions } from '../../isa/instructions.ts'
import {
  type Expr,
  f64,
  type I32,
  type I64,
  i32,
  i64,
  type Operand,
  type ValueType,
} from '../../wasm/expression.ts'
import { call, type FunctionBuilder, type Label, type Local } from '../../wasm/function.ts'
import type { AccessBytes, Emitter, MeaningFunctions, Rounded } from '../emitter.ts'
import { hart32, setHart64, setMachine32 } from '../fields.ts'
import { ROUND } from '../float/format.ts'
import { BANK_WRITE } from '../layout.ts'
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
import { type AccessGroup, findAccessGroups, type GroupUse } from './access_groups.ts'
import { offsetOf, type PlacedInstruction, takenInOf } from './block_end.ts'
import { FLOAT_CHANGES, type FloatVariables, isWithin } from './float_state.ts'
import type { Linkage } from './linkage.ts'
import { findResultForms, type ResultForms } from './low_halves.ts'
import { accessInfo, csrInfo, NO_GROUP } from './slow_access.ts'

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
  /** The same, and the pages of the functions that are taken in. */
  readonly pages: readonly Local<'i64'>[]
  /** The offset in the page at which the region was entered, until the way to it has been taken. */
  readonly entry: Local<'i32'>
  /** How many calls are in progress, and where the last of them waits. */
  readonly depth: Local<'i32'>
  readonly returnTo: Local<'i64'>
  readonly bank: Local<'i32'>
  /** A pc to go on at. */
  readonly target: Local<'i64'>
  readonly address: Local<'i64'>
  readonly slot: Local<'i32'>
  readonly status: Local<'i32'>
  readonly offset: Local<'i32'>
  /** The offset in RAM of the first byte of groups of accesses, or NO_GROUP. */
  readonly groups: readonly Local<'i32'>[]
  /** What a slow load found, or a CSR had. */
  readonly value: Local<'i64'>
  readonly float: FloatVariables
  readonly scratch64: readonly Local<'i64'>[]
  readonly scratch32: readonly Local<'i32'>[]
  /** The registers that the region uses; the others are undefined. */
  readonly x: readonly (Local<'i64'> | undefined)[]
  readonly f: readonly (Local<'f64'> | undefined)[]
}

/** What has been looked at in a block, and cannot change in it: floating point is on, its state is marked as changed. */
interface FloatState {
  readonly isOn?: boolean
  readonly isDirty?: boolean
}

/** How an access is done when it has been looked up, and otherwise. */
interface AccessWay {
  readonly bytes: AccessBytes
  /** The data bank's array: of reads or of writes. */
  readonly array: number
  fast(offset: I32, behind: number): void
  slow(...args: Operand<ValueType>[]): void
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
  readonly #context: AccessContext
  /** What the block has found out already. */
  #float: FloatState = {}
  #forms: ResultForms = { low: [], word: [] }
  #groups: ReadonlyMap<number, GroupUse> = new Map()
  #use: GroupUse | undefined
  #paths!: RegionPaths
  #instruction!: PlacedInstruction
  #behind = 0
  #length = 0

  /** `pageFlags` is where the flags of pages stand (Layout.pageFlags). */
  constructor(f: FunctionBuilder, v: RegionVariables, linkage: Linkage, pageFlags: number) {
    this.f = f
    this.#v = v
    this.hart = v.hart
    this.functions = linkage.functions
    this.#linkage = linkage
    this.#context = this.#accessContext(pageFlags)
  }

  /** A block of these instructions begins: nothing is known of what came before it. */
  beginBlock(list: readonly PlacedInstruction[]): void {
    this.#float = {}
    this.#groups = findAccessGroups(list)
    this.#forms = findResultForms(list)
    this.#length = list.length
  }

  /** Emits an instruction; `behind` is how many of the block, whose steps are taken at its start, come behind it. */
  emit(instruction: PlacedInstruction, behind: number, paths: RegionPaths): void {
    this.#instruction = instruction
    this.#behind = behind
    this.#use = this.#groups.get(this.#length - 1 - behind)
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

  get isLowEnough(): boolean {
    return this.#forms.low[this.#length - 1 - this.#behind]!
  }

  get isWord(): boolean {
    return this.#forms.word[this.#length - 1 - this.#behind]!
  }

  f1(): I64 {
    return this.#f(this.#instruction.rs1)
  }

  f2(): I64 {
    return this.#f(this.#instruction.rs2)
  }

  f3(): I64 {
    return this.#f(this.#instruction.rs3)
  }

  setF(value: I64): void {
    this.f.set(this.#v.f[this.#instruction.rd]!, f64.reinterpret(value))
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
    return this.#pcBehind(0)
  }

  nextPc(): I64 {
    return this.#pcBehind(this.#instruction.length)
  }

  /** So many bytes behind the instruction's. */
  #pcBehind(bytes: number): I64 {
    const { offset } = this.#instruction
    return i64.add(this.#v.pages[takenInOf(offset)]!, offsetOf(offset) + bytes)
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
    const { value, status } = this.#v
    this.#access({
      bytes,
      array: 0,
      fast: (offset, behind) => done(loadRam(offset, bytes, signed, behind)),
      slow: (...args) => {
        f.callInto([value, status], this.#linkage.slow.load, ...args)
        f.brIf(this.#paths.resync, i32.eq(status, STATUS.trapped))
        done(extended(value, bytes, signed))
        f.brIf(this.#paths.resync, status)
      },
    })
  }

  store(bytes: AccessBytes, value: I64): void {
    const { f } = this
    this.#access({
      bytes,
      array: BANK_WRITE,
      fast: (offset, behind) => f.store('i64', offset, value, { memory: 1, offset: behind }, bytes * 8),
      slow: (...args) => f.brIf(this.#paths.resync, call<'i32'>(this.#linkage.slow.store, ...args, value)),
    })
  }

  /** An access at x1 + imm. */
  #access(way: AccessWay): void {
    const use = this.#use
    if (use?.group === undefined) this.#accessAlone(way)
    else if (use.isFirst) this.#beginGroup(way, use.group)
    else this.#accessInGroup(way, use.group)
  }

  #accessAlone({ bytes, array, fast, slow }: AccessWay): void {
    const { f } = this
    f.set(this.#v.address, this.#addressOf())
    const isMiss = misses(this.#context, bytes, lookUp(this.#context, array))
    f.ifUnlikely(
      isMiss,
      () => this.#slowly(slow, bytes),
      () => fast(hitOffset(this.#context, array), 0),
    )
  }

  #beginGroup({ bytes, array, fast, slow }: AccessWay, group: AccessGroup): void {
    const { f } = this
    const { address, slot } = this.#v
    const variable = this.#v.groups[group.variable]!
    f.set(address, this.#addressAt(group.first))
    const tag = lookUp(this.#context, array)
    const last = i64.add(address, group.span - group.size)
    const mask = i64.const(-4096 + group.size - 1)
    f.ifUnlikely(
      i64.ne(tag, i64.and(last, mask)),
      () => {
        this.#slowly(slow, bytes)
        const found = call<'i32'>(this.#linkage.slow.group, this.hart, address, last, mask, array)
        f.set(variable, found)
      },
      () => {
        f.set(variable, i32.add(i32.wrap(address), i32.load(slot, { offset: array + 8 })))
        fast(variable, this.#instruction.imm - group.first)
      },
    )
  }

  #accessInGroup({ bytes, fast, slow }: AccessWay, group: AccessGroup): void {
    const variable = this.#v.groups[group.variable]!
    this.f.ifUnlikely(
      i32.eq(variable, NO_GROUP),
      () => this.#slowly(slow, bytes),
      () => fast(variable, this.#instruction.imm - group.first),
    )
  }

  #slowly(slow: AccessWay['slow'], bytes: AccessBytes): void {
    const info = accessInfo(bytes, this.#instruction.length)
    slow(this.hart, this.#addressOf(), this.pc(), this.#stepsLeft(), info)
    this.#forgetGroups()
  }

  /** What takes the slow way may change translations: other groups are not found any more. */
  #forgetGroups(): void {
    for (const { variable } of this.#use?.others ?? []) this.f.set(this.#v.groups[variable]!, NO_GROUP)
  }

  modify(bytes: 4 | 8, change: (old: I64) => I64, done: (old: I64) => void): void {
    modify(this.#context, bytes, change, done)
  }

  loadReserved(bytes: 4 | 8): void {
    loadReserved(this.#context, bytes)
  }

  storeConditional(bytes: 4 | 8, value: I64): void {
    storeConditional(this.#context, bytes, value)
  }

  csr(operation: number, operand: I64, writes: I32): void {
    const { f } = this
    const { bank, value, status } = this.#v
    const { imm, length } = this.#instruction
    const info = csrInfo(imm, operation, length)
    f.callInto(
      [value, status],
      this.#linkage.slow.csr,
      ...[this.hart, this.pc(), this.#stepsLeft(), info, writes, operand],
    )
    f.brIf(this.#paths.resync, i32.eq(status, STATUS.trapped))
    this.setX(value)
    f.brIf(this.#paths.resync, status)
    f.set(bank, hart32(this.hart, 'dataBank'))
  }

  float(changes: boolean, body: () => void): void {
    const isKnown = changes ? this.#float.isDirty : this.#float.isOn
    if (isKnown !== true) {
      this.f.ifUnlikely(i32.eqz(this.#v.float.isDirty), () => this.#checkFloat(0, changes))
      this.#float = { isOn: true, isDirty: changes || this.#float.isDirty === true }
    }
    body()
  }

  rounded<T extends 'i32' | 'i64'>({ exact, nearest, towardZero, done }: Rounded<T>): void {
    const { rm } = this.#instruction
    const { mode, limit } = this.#v.float
    const slow = (): void => {
      this.#checkFloat(rm, true)
      done(exact(mode))
      this.f.set(limit, call<'i32'>(this.#linkage.float.limit, this.hart))
    }
    if (towardZero !== undefined && rm === ROUND.towardZero) {
      const isQuick = i32.and(i32.ne(limit, 0), towardZero.isInRange())
      return this.f.ifLikely(isQuick, () => done(towardZero.result()), slow)
    }
    if (nearest === undefined || (rm !== 0 && rm !== DYNAMIC)) return slow()
    const result = this.#scratch(nearest.result())
    this.f.ifLikely(isWithin(limit, result, nearest.format), () => done(result), slow)
  }

  prefer(condition: () => I32, fast: () => void, otherwise: () => void): void {
    this.f.ifLikely(condition(), fast, otherwise)
  }

  #scratch<T extends 'i32' | 'i64'>(value: Expr<T>): Expr<T> {
    if (value.type === 'i32') return this.scratch32(1, value as I32) as Expr as Expr<T>
    return this.scratch64(2, value as I64) as Expr as Expr<T>
  }

  /** Looks at the state of floating point, and sets the mode to round in; leaves if the instruction is illegal. */
  #checkFloat(rm: number, changes: boolean): void {
    const { f } = this
    const { mode, isDirty } = this.#v.float
    const info = i32.const(rm + (changes ? FLOAT_CHANGES : 0))
    f.set(mode, call<'i32'>(this.#linkage.float.check, this.hart, this.pc(), this.#stepsLeft(), info))
    f.brIf(this.#paths.resync, i32.lt_s(mode, 0))
    if (changes) f.set(isDirty, 1)
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

  #leaveBehind(): void {
    setHart64(this.f, this.hart, 'pc', this.nextPc())
    this.leave()
  }

  #x(number: number): I64 {
    return number === 0 ? i64.const(0) : this.#v.x[number]!
  }

  #f(number: number): I64 {
    return i64.reinterpret(this.#v.f[number]!)
  }

  #addressOf(): I64 {
    return this.#addressAt(this.#instruction.imm)
  }

  #addressAt(imm: number): I64 {
    return i64.add(this.x1(), imm)
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
      expose: () => {
        this.expose()
        this.#forgetGroups()
      },
      leave: () => this.leave(),
      leaveBehind: () => this.#leaveBehind(),
    }
  }
}

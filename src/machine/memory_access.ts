/** Accesses to memory, as far as they are the same in the interpreter and in translated code: only how either leaves is its own. */
import { type I32, type I64, i32, i64, type Operand } from '../wasm/expression.ts'
import { type Callee, call, type FunctionBuilder, type Local } from '../wasm/function.ts'
import { placeOf } from './data_entries.ts'
import type { AccessBytes } from './emitter.ts'
import { hart32, hart64, setHart32, setHart64 } from './fields.ts'
import { BANK_WRITE, PAGE_WATCHED, RESERVATION_BYTES } from './layout.ts'
import { ACCESS } from './translate.ts'

/** What an access to memory uses: registers of the emitter, and its ways out. */
export interface AccessContext {
  readonly f: FunctionBuilder
  readonly hart: I32
  /** The hart's current data bank. */
  readonly bank: I32
  readonly address: Local<'i64'>
  readonly slot: Local<'i32'>
  readonly status: Local<'i32'>
  readonly offset: Local<'i32'>
  readonly slowAtomic: Callee
  readonly afterStore: Callee
  /** Where the flags of pages stand (Layout.pageFlags). */
  readonly pageFlags: number
  x1(): I64
  setX(value: I64): void
  scratch64(number: 0 | 1 | 2, value: I64): Local<'i64'>
  expose(): void
  /** Leaves by the slow way: at the hart's pc, or behind this instruction. */
  leave(): void
  leaveBehind(): void
}

/** Sets `slot` to the bank's entry for `address`; the tag there. */
export function lookUp(a: AccessContext, array: number): I64 {
  a.f.set(a.slot, i32.add(a.bank, placeOf(a.address)))
  return i64.load(a.slot, { offset: array })
}

/** Whether the tag is not that of an aligned access of so many bytes at `address`. */
export function misses(a: AccessContext, bytes: AccessBytes, tag: I64): I32 {
  return i64.ne(tag, i64.and(a.address, -4096 + bytes - 1))
}

/** The offset in RAM of `address`, by the entry that has been found. */
export function hitOffset(a: AccessContext, array = 0): I32 {
  return i32.add(i32.wrap(a.address), i32.load(a.slot, { offset: array + 8 }))
}

/** `behind` is added to the offset. */
export function loadRam(offset: I32, bytes: AccessBytes, signed: boolean, behind = 0): I64 {
  const place = { memory: 1, offset: behind }
  if (bytes === 1) return signed ? i64.load8_s(offset, place) : i64.load8_u(offset, place)
  if (bytes === 2) return signed ? i64.load16_s(offset, place) : i64.load16_u(offset, place)
  if (bytes === 4) return signed ? i64.load32_s(offset, place) : i64.load32_u(offset, place)
  return i64.load(offset, place)
}

/** Extends a zero-extended value. */
export function extended(value: I64, bytes: AccessBytes, signed: boolean): I64 {
  if (!signed || bytes === 8) return value
  return bytes === 1 ? i64.extend8_s(value) : bytes === 2 ? i64.extend16_s(value) : i64.extend32_s(value)
}

export function modify(
  a: AccessContext,
  bytes: 4 | 8,
  change: (old: I64) => I64,
  done: (old: I64) => void,
): void {
  findOffset(a, bytes, ACCESS.store)
  const old = a.scratch64(0, loadRam(a.offset, bytes, true))
  store(a, bytes, change(old))
  done(old)
  afterStore(a, bytes)
}

export function loadReserved(a: AccessContext, bytes: 4 | 8): void {
  findOffset(a, bytes, ACCESS.load)
  setHart64(a.f, a.hart, 'reservation', reservationAt(a.offset))
  setHart32(a.f, a.hart, 'reserved', 1)
  a.setX(loadRam(a.offset, bytes, true))
}

export function storeConditional(a: AccessContext, bytes: 4 | 8, value: I64): void {
  const operand = a.scratch64(0, value)
  findOffset(a, bytes, ACCESS.store)
  const isSame = i64.eq(hart64(a.hart, 'reservation'), reservationAt(a.offset))
  a.f.if(
    i32.and(hart32(a.hart, 'reserved'), isSame),
    () => {
      store(a, bytes, operand)
      a.setX(i64.const(0))
      setHart32(a.f, a.hart, 'reserved', 0)
      afterStore(a, bytes)
    },
    () => {
      setHart32(a.f, a.hart, 'reserved', 0)
      a.setX(i64.const(1))
    },
  )
}

/** Where the memory begins that a reservation at `offset` covers. */
const reservationAt = (offset: I32): I64 => i64.extend_i32_u(i32.and(offset, -RESERVATION_BYTES))

function store({ f, offset }: AccessContext, bytes: 4 | 8, value: Operand<'i64'>): void {
  f.store('i64', offset, value, { memory: 1 }, bytes * 8)
}

/** Sets `offset` to where in RAM an access at x1 goes; traps leave. */
function findOffset(a: AccessContext, bytes: 4 | 8, access: number): void {
  const { f } = a
  f.set(a.address, a.x1())
  const array = access === ACCESS.load ? 0 : BANK_WRITE
  const tag = lookUp(a, array)
  f.ifUnlikely(
    misses(a, bytes, tag),
    () => {
      a.expose()
      f.set(a.status, call<'i32'>(a.slowAtomic, a.hart, a.address, bytes, access))
      f.if(a.status, () => a.leave())
      f.set(a.offset, i32.wrap(hart64(a.hart, 'result')))
    },
    () => f.set(a.offset, hitOffset(a, array)),
  )
}

/** Atomics store by themselves; where the page is watched, what follows from a store is made up for here. */
function afterStore(a: AccessContext, bytes: 4 | 8): void {
  const flags = i32.load8_u(i32.shr_u(a.offset, 12), { offset: a.pageFlags })
  a.f.ifUnlikely(i32.and(flags, PAGE_WATCHED), () => {
    a.expose()
    a.f.call(a.afterStore, a.offset, bytes)
    a.leaveBehind()
  })
}

/**
 * The entries of data banks: cached translations of loads and of stores, found by the low bits of the page's number.
 *
 * Of two pages that share a place each access to one would push the other out. So an entry that is pushed out becomes a
 * *victim*, in a smaller table behind the array (N. Jouppi, "Improving direct-mapped cache performance by the addition of a small
 * fully-associative cache", 1990), and whoever misses looks there before the page tables are walked. A victim is an entry
 * like any other: it is dropped when the others are.
 */
import { type I32, type I64, i32, i64 } from '../wasm/expression.ts'
import type { Callee, FunctionBuilder } from '../wasm/function.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import { count, hart32 } from './fields.ts'
import { BANK_VICTIMS, BANK_WRITE, INVALID_TAG, TLB_ENTRIES, TLB_VICTIMS } from './layout.ts'

/** The arrays of a bank. */
export const DATA_ARRAY = { read: 0, write: BANK_WRITE } as const

export interface DataEntries {
  /**
   * find(hart, va, array) -> address of the entry of the page of `va` in the array of the current data bank, or 0. A victim takes
   * its place back.
   */
  readonly find: Callee
  /** fill(hart, va, offset, array): caches that `va` is at this offset in RAM. */
  readonly fill: Callee
}

const pageOf = (va: I64): I64 => i64.and(va, -4096)
/** Where in an array the entry of a page is: (va >> 12) % TLB_ENTRIES x 16, in one shift and one mask. */
export const placeOf = (va: I64): I32 => i32.and(i32.shr_u(i32.wrap(va), 8), (TLB_ENTRIES - 1) << 4)
/** The place of its victims. */
const victimOf = (array: I32, place: I32): I32 =>
  i32.add(i32.add(array, BANK_VICTIMS), i32.and(place, (TLB_VICTIMS - 1) << 4))
/** What an entry adds to an address. */
export const addendOf = (entry: I32): I32 => i32.load(entry, { offset: 8 })

/** `noteWriteEntry` is that of Watch. */
export function buildDataEntries(module: ModuleBuilder, noteWriteEntry: Callee): DataEntries {
  /** Says where the write entry of a page is now. */
  const note = (f: FunctionBuilder, array: I32, entry: I32): void =>
    f.if(array, () => {
      const offset = i32.add(i32.wrap(i64.load(entry)), addendOf(entry))
      f.call(noteWriteEntry, i32.shr_u(offset, 12), entry)
    })
  const set = (f: FunctionBuilder, entry: I32, tag: I64, addend: I32): void => {
    f.store('i64', entry, tag)
    f.store('i32', entry, addend, { offset: 8 })
  }

  const find = module.function('findData', ['i32', 'i64', 'i32'], ['i32'], (f) => {
    const [hart, va, array] = [f.parameter(0, 'i32'), f.parameter(1, 'i64'), f.parameter(2, 'i32')]
    const start = f.let(i32.add(hart32(hart, 'dataBank'), array))
    const entry = f.let(i32.add(start, placeOf(va)))
    const page = f.let(pageOf(va))
    // An access that is not aligned misses though its page is there.
    f.if(i64.eq(i64.load(entry), page), () => f.return(entry))
    const victim = f.let(victimOf(start, placeOf(va)))
    f.if(i64.ne(i64.load(victim), page), () => f.return(i32.const(0)))
    const [tag, addend] = [f.let(i64.load(entry)), f.let(addendOf(entry))]
    set(f, entry, page, addendOf(victim))
    set(f, victim, tag, addend)
    note(f, array, entry)
    f.if(i64.ne(tag, INVALID_TAG), () => note(f, array, victim))
    f.return(entry)
  })

  const fill = module.function('fillData', ['i32', 'i64', 'i32', 'i32'], [], (f) => {
    const [hart, va, array] = [f.parameter(0, 'i32'), f.parameter(1, 'i64'), f.parameter(3, 'i32')]
    const start = f.let(i32.add(hart32(hart, 'dataBank'), array))
    const entry = f.let(i32.add(start, placeOf(va)))
    const page = f.let(pageOf(va))
    const tag = f.let(i64.load(entry))
    const isOther = i32.and(i64.ne(tag, INVALID_TAG), i64.ne(tag, page))
    count(f, 'dataMisses')
    const addend = f.let(addendOf(entry))
    set(f, entry, page, i32.sub(f.parameter(2, 'i32'), i32.wrap(va)))
    note(f, array, entry)
    f.if(isOther, () => {
      const victim = f.let(victimOf(start, placeOf(va)))
      set(f, victim, tag, addend)
      note(f, array, victim)
    })
  })
  return { find, fill }
}

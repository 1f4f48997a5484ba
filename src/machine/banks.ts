/**
 * Translation banks: which cached translations a hart may use now.
 *
 * A bank holds what one address space looks like at one privilege. Its key is everything that the meaning of a
 * virtual address depends on apart from the page tables themselves:
 *
 *     bit 0..43  root page number (0 in bare mode)      bit 44..45  mode: 0 bare, 1 Sv39, 2 Sv48
 *     bit 46..47 privilege    bit 48 SUM    bit 49 MXR    bit 50 set, so that no key is 0
 *
 * ASIDs and the G bit are ignored. Changing privilege or address space changes the current bank and drops nothing,
 * since stores to page tables in use are watched (see watch.ts).
 */
import { type I32, i32, i64, select } from '../wasm/expression.ts'
import type { Callee, FunctionBuilder } from '../wasm/function.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import { anyBit, count, hart32, hart64, setHart32, setHart64, setMachine32 } from './fields.ts'
import {
  BANK_BYTES,
  BANKS_PER_HART,
  HART_BANK_KEYS,
  INVALID_BYTE,
  type Layout,
  MSTATUS,
  PRIVILEGE,
} from './layout.ts'

export const KEY = { mode: 44, privilege: 46, sum: 48, mxr: 49, valid: 50 } as const
export const KEY_PPN_MASK = (1n << 44n) - 1n

/** Where bank 0 of a hart starts. */
export function banksOf(layout: Layout, hart: I32): I32 {
  return i32.add(i32.mul(hart32(hart, 'id'), BANKS_PER_HART * BANK_BYTES), layout.banks)
}

export interface Banks {
  /** updateBanks(hart): makes the banks of the hart's present privilege, satp and mstatus current. */
  readonly update: Callee
  /** flushHart(hart): drops every cached translation of one hart. */
  readonly flushHart: Callee
}

export function buildBanks(module: ModuleBuilder, layout: Layout): Banks {
  const find = buildFind(module, layout)
  const update = module.function('updateBanks', ['i32'], [], (f) => {
    const hart = f.parameter(0, 'i32')
    const mstatus = f.let(hart64(hart, 'mstatus'))
    const space = f.let(spaceBits(f, hart))
    const privilege = f.let(i64.extend_i32_u(hart32(hart, 'privilege')))
    const mpp = i64.and(i64.shr_u(mstatus, 11), 3)
    const dataPrivilege = f.let(select(anyBit(mstatus, MSTATUS.mprv), mpp, privilege))
    const fetchKey = f.let(key(privilege, space, i64.const(0)))
    const sum = i64.shl(i64.and(i64.shr_u(mstatus, 18), 1), KEY.sum)
    const sumBits = select(i64.eq(dataPrivilege, PRIVILEGE.supervisor), sum, 0)
    const mxrBits = i64.shl(i64.and(i64.shr_u(mstatus, 19), 1), KEY.mxr)
    const dataKey = f.let(key(dataPrivilege, space, i64.or(sumBits, mxrBits)))
    const dataChanged = f.let(i64.ne(dataKey, hart64(hart, 'dataKey')))
    const fetchChanged = f.let(i64.ne(fetchKey, hart64(hart, 'fetchKey')))
    setHart64(f, hart, 'dataKey', dataKey)
    setHart64(f, hart, 'fetchKey', fetchKey)
    f.if(dataChanged, () => f.call(find, hart, dataKey, 0))
    f.if(fetchChanged, () => f.call(find, hart, fetchKey, 1))
  })
  const flushHart = module.function('flushHart', ['i32'], [], (f) => {
    f.fill(banksOf(layout, f.parameter(0, 'i32')), INVALID_BYTE, BANKS_PER_HART * BANK_BYTES)
    // Translated code goes on by what it found before: it has to look again.
    setMachine32(f, 'resync', 1)
  })
  return { update, flushHart }
}

/** Mode and root of satp, as key bits; 0 in bare mode. */
function spaceBits(f: FunctionBuilder, hart: I32) {
  const satp = f.let(hart64(hart, 'satp'))
  const mode = i64.and(i64.shr_u(satp, 60), 3)
  const bits = i64.or(i64.and(satp, KEY_PPN_MASK), i64.shl(i64.add(mode, 1), KEY.mode))
  return select(i64.eqz(i64.shr_u(satp, 60)), i64.const(0), bits)
}

/** M-mode sees physical addresses; SUM and MXR matter only where there are page tables. */
function key(
  privilege: ReturnType<typeof i64.const>,
  space: ReturnType<typeof i64.const>,
  flags: ReturnType<typeof i64.const>,
) {
  const base = i64.or(i64.shl(privilege, KEY.privilege), 1n << BigInt(KEY.valid))
  const bare = i32.or(i64.eq(privilege, PRIVILEGE.machine), i64.eqz(space))
  return i64.or(base, select(bare, i64.const(0), i64.or(space, flags)))
}

/** findBank(hart, key, isFetch): makes the bank with this key current, emptying the oldest one if there is none. */
function buildFind(module: ModuleBuilder, layout: Layout): Callee {
  return module.function('findBank', ['i32', 'i64', 'i32'], [], (f) => {
    const hart = f.parameter(0, 'i32')
    const wanted = f.parameter(1, 'i64')
    const index = f.local('i32', 0)
    const keyAt = () => i64.load(i32.add(hart, i32.shl(index, 3)), { offset: HART_BANK_KEYS })
    f.block((found) => {
      f.loop((next) => {
        f.brIf(found, i64.eq(keyAt(), wanted))
        f.set(index, i32.add(index, 1))
        f.brIf(next, i32.lt_u(index, BANKS_PER_HART))
      })
      count(f, 'bankMisses')
      f.set(index, hart32(hart, 'bankVictim'))
      f.loop((again) => {
        f.set(index, i32.and(i32.add(index, 1), BANKS_PER_HART - 1))
        f.brIf(again, i64.eq(keyAt(), hart64(hart, 'dataKey')))
        f.brIf(again, i64.eq(keyAt(), hart64(hart, 'fetchKey')))
      })
      setHart32(f, hart, 'bankVictim', index)
      f.store('i64', i32.add(hart, i32.shl(index, 3)), wanted, { offset: HART_BANK_KEYS })
      f.fill(i32.add(banksOf(layout, hart), i32.mul(index, BANK_BYTES)), INVALID_BYTE, BANK_BYTES)
    })
    const bank = f.let(i32.add(banksOf(layout, hart), i32.mul(index, BANK_BYTES)))
    f.if(
      f.parameter(2, 'i32'),
      () => setHart32(f, hart, 'fetchBank', bank),
      () => setHart32(f, hart, 'dataBank', bank),
    )
  })
}

/**
 * From virtual to physical: the page walk (privileged spec, "Sv39" and "Sv48"), PMP, and the filling of banks.
 *
 * Svade: hardware never sets A or D; an access with A=0 or a store with D=0 faults. Together with watched page tables
 * this makes a cold machine and a warm one behave the same.
 */
import { type I32, type I64, i32, i64, select } from '../wasm/expression.ts'
import { type Callee, call, type FunctionBuilder, type Local } from '../wasm/function.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import { KEY, KEY_PPN_MASK } from './banks.ts'
import { anyBit, count, hart32, hart64, machine32, setHart64, setMachine32 } from './fields.ts'
import { MACHINE_WALK, PRIVILEGE, RAM_BASE } from './layout.ts'
import type { Watch } from './watch.ts'

/** What an access wants. */
export const ACCESS = { load: 0, store: 1, fetch: 2 } as const

/** What translating gives; the physical address is in hart.result for the first two. */
export const TRANSLATED = {
  /** The whole page may be cached. */
  page: 0,
  /** Only this access is known to be allowed (PMP finer than a page). */
  once: 1,
  accessFault: 2,
  pageFault: 3,
} as const

const PTE = { v: 1, r: 2, w: 4, x: 8, u: 16, a: 64, d: 128 } as const

/** The environment's answer about one physical access: 0 denied, 1 the whole page is allowed, 2 just this access. */
export const PMP_ANSWER = { denied: 0, page: 1, once: 2 } as const

/** The key of the bank that an access uses. */
function accessKey(hart: I32, access: I32): I64 {
  return select(i32.eq(access, ACCESS.fetch), hart64(hart, 'fetchKey'), hart64(hart, 'dataKey'))
}

const keyPrivilege = (key: I64): I32 => i32.and(i32.wrap(i64.shr_u(key, KEY.privilege)), 3)

/** PMP checks are off for M while no entry is locked (bit 0), and for S and U while one entry opens all (bit 1). */
function pmpIsOpen(hart: I32, privilege: I32): I32 {
  const bit = select(i32.eq(privilege, PRIVILEGE.machine), i32.const(1), 2)
  return i32.and(hart32(hart, 'pmpOpen'), bit)
}

/** translate(hart, va, access, size) -> TRANSLATED. */
export function buildTranslate(module: ModuleBuilder, watch: Watch, pmp: Callee): Callee {
  const walk = buildWalk(module, watch, pmp)
  return module.function('translate', ['i32', 'i64', 'i32', 'i32'], ['i32'], (f) => {
    const hart = f.parameter(0, 'i32')
    const va = f.parameter(1, 'i64')
    const access = f.parameter(2, 'i32')
    const key = f.let(accessKey(hart, access))
    f.if(
      anyBit(key, 3n << BigInt(KEY.mode)),
      () => {
        const fault = f.let(call<'i32'>(walk, hart, va, access, key))
        f.if(fault, () => f.return(fault))
      },
      () => {
        f.if(i64.ne(i64.shr_u(va, 56), 0), () => f.return(i32.const(TRANSLATED.accessFault)))
        setHart64(f, hart, 'result', va)
      },
    )
    f.ifLikely(pmpIsOpen(hart, keyPrivilege(key)), () => f.return(i32.const(TRANSLATED.page)))
    const pa = hart64(hart, 'result')
    const answer = f.let(
      call<'i32'>(pmp, hart32(hart, 'id'), pa, f.parameter(3, 'i32'), access, keyPrivilege(key)),
    )
    f.if(i32.eq(answer, PMP_ANSWER.denied), () => f.return(i32.const(TRANSLATED.accessFault)))
    f.return(select(i32.eq(answer, PMP_ANSWER.page), i32.const(TRANSLATED.page), TRANSLATED.once))
  })
}

/** walk(hart, va, access, key) -> TRANSLATED.page with the address in hart.result, or a fault. */
function buildWalk(module: ModuleBuilder, watch: Watch, pmp: Callee): Callee {
  const register = buildRegister(module, watch)
  return module.function('walk', ['i32', 'i64', 'i32', 'i64'], ['i32'], (f) => {
    const hart = f.parameter(0, 'i32')
    const va = f.parameter(1, 'i64')
    const key = f.parameter(3, 'i64')
    const pageFault = () => f.return(i32.const(TRANSLATED.pageFault))
    count(f, 'walks')
    const isSv48 = f.let(i32.wrap(i64.shr_u(key, KEY.mode + 1)))
    f.set(isSv48, i32.and(isSv48, 1))
    // The address must be the sign extension of its low 39 or 48 bits.
    const spare = f.let(select(isSv48, i64.const(16), 25))
    f.if(i64.ne(i64.shr_s(i64.shl(va, spare), spare), va), pageFault)
    const level = f.let(i32.add(isSv48, 2))
    const table = f.let(i64.shl(i64.and(key, KEY_PPN_MASK), 12))
    const pte = f.local('i64')
    const shift = f.local('i64')
    f.loop((next) => {
      f.set(shift, i64.extend_i32_u(i32.add(i32.mul(level, 9), 12)))
      const index = i64.and(i64.shr_u(va, shift), 511)
      const offset = f.let(i64.sub(i64.add(table, i64.shl(index, 3)), RAM_BASE))
      f.if(i64.ge_u(offset, i64.extend_i32_u(machine32('ramBytes'))), () =>
        f.return(i32.const(TRANSLATED.accessFault)),
      )
      checkTableAccess(f, hart, pmp, offset)
      f.set(pte, i64.load(i32.wrap(offset), { memory: 1 }))
      f.store('i32', i32.shl(level, 2), i32.wrap(offset), { offset: MACHINE_WALK })
      f.if(i64.eqz(i64.and(pte, PTE.v)), pageFault)
      f.if(i64.eq(i64.and(pte, PTE.r | PTE.w), PTE.w), pageFault)
      f.if(i64.ne(i64.shr_u(pte, 54), 0), pageFault)
      f.if(i64.eqz(i64.and(pte, PTE.r | PTE.x)), () => {
        f.if(anyBit(pte, PTE.a | PTE.d | PTE.u), pageFault)
        f.if(i32.eqz(level), pageFault)
        f.set(level, i32.sub(level, 1))
        f.set(table, i64.shl(i64.shr_u(pte, 10), 12))
        f.br(next)
      })
    })
    checkLeaf(f, pte, key, f.parameter(2, 'i32'), pageFault)
    const pageMask = f.let(i64.sub(i64.shl(1, shift), 1))
    const base = f.let(i64.shl(i64.shr_u(pte, 10), 12))
    f.if(i64.ne(i64.and(base, pageMask), 0), pageFault)
    setHart64(f, hart, 'result', i64.or(base, i64.and(va, pageMask)))
    f.call(register, hart, va, level, i32.add(isSv48, 2), i32.eq(f.parameter(2, 'i32'), ACCESS.fetch))
    f.return(i32.const(TRANSLATED.page))
  })
}

/** Page tables are read with the rights of S-mode. */
function checkTableAccess(f: FunctionBuilder, hart: I32, pmp: Callee, offset: I64): void {
  f.ifUnlikely(i32.eqz(i32.and(hart32(hart, 'pmpOpen'), 2)), () => {
    const pa = i64.add(offset, RAM_BASE)
    const answer = call<'i32'>(pmp, hart32(hart, 'id'), pa, 8, ACCESS.load, PRIVILEGE.supervisor)
    f.if(i32.eqz(answer), () => f.return(i32.const(TRANSLATED.accessFault)))
  })
}

/** Permissions of a leaf PTE, steps 5 to 7 of the walk. */
function checkLeaf(
  f: FunctionBuilder,
  pte: Local<'i64'>,
  key: I64,
  access: I32,
  pageFault: () => void,
): void {
  const isUser = f.let(anyBit(pte, PTE.u))
  f.if(
    i32.eq(keyPrivilege(key), PRIVILEGE.user),
    () => f.if(i32.eqz(isUser), pageFault),
    () => {
      const sum = anyBit(key, 1n << BigInt(KEY.sum))
      const denied = i32.or(i32.eq(access, ACCESS.fetch), i32.eqz(sum))
      f.if(i32.and(isUser, denied), pageFault)
    },
  )
  const executableReadable = select(anyBit(key, 1n << BigInt(KEY.mxr)), i64.const(PTE.r | PTE.x), PTE.r)
  const storeBits = i64.const(PTE.w)
  const wanted = select(
    i32.eq(access, ACCESS.load),
    executableReadable,
    select(i32.eq(access, ACCESS.store), storeBits, PTE.x),
  )
  f.if(i64.eqz(i64.and(pte, wanted)), pageFault)
  f.if(i64.eqz(i64.and(pte, PTE.a)), pageFault)
  f.if(i32.and(i32.eq(access, ACCESS.store), i64.eqz(i64.and(pte, PTE.d))), pageFault)
}

/** register(hart, va, leaf level, top level, isFetch): watches the PTEs of the walk just done. */
function buildRegister(module: ModuleBuilder, watch: Watch): Callee {
  return module.function('registerWalk', ['i32', 'i64', 'i32', 'i32', 'i32'], [], (f) => {
    const level = f.local('i32')
    const before = f.local('i32')
    // Taking back a slot may hit one of this very walk's tables; then all are registered once more.
    const resync = f.let(machine32('resync'))
    f.loop((again) => {
      setMachine32(f, 'resync', 0)
      f.set(level, f.parameter(3, 'i32'))
      f.loop((next) => {
        const offset = i32.load(i32.shl(level, 2), { offset: MACHINE_WALK })
        f.call(
          watch.usePte,
          f.parameter(0, 'i32'),
          f.parameter(1, 'i64'),
          level,
          offset,
          f.parameter(4, 'i32'),
        )
        f.set(level, i32.sub(level, 1))
        f.brIf(next, i32.ge_s(level, f.parameter(2, 'i32')))
      })
      f.set(before, i32.or(before, machine32('resync')))
      f.brIf(again, machine32('resync'))
    })
    setMachine32(f, 'resync', i32.or(resync, before))
  })
}

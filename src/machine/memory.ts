/**
 * The slow paths of loads, stores and fetches: everything that the inline TLB test in an instruction does not settle.
 *
 * Each returns a STATUS. A fault has then been raised already (the hart's pc must stand at the faulting instruction
 * before the call); nothing of the access has taken place.
 */
import { type I32, type I64, i32, i64, select } from '../wasm/expression.ts'
import { type Callee, call, type FunctionBuilder } from '../wasm/function.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import { addendOf, DATA_ARRAY, type DataEntries } from './data_entries.ts'
import { count, hart32, hart64, machine32, setHart64, setMachine32 } from './fields.ts'
import {
  BANK_FETCH,
  CAUSE,
  CODE_SLOT_BYTES,
  FETCH_ENTRIES,
  HART_STRADDLE,
  HART_STRADDLES_DECODED,
  type Layout,
  PAGE_WATCHED,
  RAM_BASE,
  STRADDLES_DECODED_BITS,
} from './layout.ts'
import { ACCESS, TRANSLATED } from './translate.ts'
import type { Watch } from './watch.ts'

export const STATUS = {
  done: 0,
  /** An exception was raised; the hart's pc is at the handler. */
  trapped: 1,
  /** Done, but interrupts, translations or code may have changed: go on by the slow way at the next pc. */
  resync: 2,
} as const

/** No address: those are multiples of eight. */
export const FETCH_TRAPPED = 1

export interface SlowMemory {
  /** load(hart, va, size) -> STATUS; the zero-extended value is in hart.result. */
  readonly load: Callee
  /** store(hart, va, size, value) -> STATUS. */
  readonly store: Callee
  /** atomic(hart, va, size, access) -> STATUS; hart.result is the offset in RAM. Aligned addresses only. */
  readonly atomic: Callee
  /**
   * fetch(hart, va) -> address such that adding (va & 4095) * 4 gives the predecoded instruction, or FETCH_TRAPPED. For the
   * hart's own place that sum may wrap: the address alone can be any multiple of eight, zero included.
   */
  readonly fetch: Callee
}

export interface MemoryParts {
  readonly layout: Layout
  readonly watch: Watch
  readonly entries: DataEntries
  readonly translate: Callee
  readonly raise: Callee
  readonly mmioLoad: Callee
  readonly mmioStore: Callee
  readonly decodeStraddle: Callee
}

const offsetOf = (pa: I64): I64 => i64.sub(pa, RAM_BASE)
const inRam = (offset: I64): I32 => i64.lt_u(offset, i64.extend_i32_u(machine32('ramBytes')))
const crossesPage = (va: I64, size: I32): I32 => i32.gt_u(i32.add(i32.and(i32.wrap(va), 4095), size), 4096)
const misaligned = (va: I64, size: I32): I32 => i32.and(i32.wrap(va), i32.sub(size, 1))
const flagsOf = (layout: Layout, offset: I32): I32 =>
  i32.load8_u(i32.shr_u(offset, 12), { offset: layout.pageFlags })

/** `resync` if cached translations were dropped since the flag was last cleared, else `done`. */
const settled = (): I32 => i32.shl(machine32('resync'), 1)

/** Loads `size` bytes of RAM, zero-extended. */
export function loadSized(f: FunctionBuilder, offset: I32, size: I32): I64 {
  const value = f.local('i64')
  const place = { memory: 1 }
  f.switch(
    i32.ctz(size),
    [
      () => f.set(value, i64.load8_u(offset, place)),
      () => f.set(value, i64.load16_u(offset, place)),
      () => f.set(value, i64.load32_u(offset, place)),
    ],
    () => f.set(value, i64.load(offset, place)),
  )
  return value
}

/** Stores the low `size` bytes of `value` in RAM, and nothing else. */
export function storeSized(f: FunctionBuilder, offset: I32, size: I32, value: I64): void {
  const place = { memory: 1 }
  f.switch(
    i32.ctz(size),
    [
      () => f.store('i64', offset, value, place, 8),
      () => f.store('i64', offset, value, place, 16),
      () => f.store('i64', offset, value, place, 32),
    ],
    () => f.store('i64', offset, value, place),
  )
}

/** Raises the access or page fault that `status` names, if it is one, and returns `trapped`. */
function raiseFault(
  f: FunctionBuilder,
  parts: MemoryParts,
  hart: I32,
  status: I32,
  va: I64,
  causes: { access: number; page: number },
): void {
  f.ifUnlikely(i32.ge_u(status, TRANSLATED.accessFault), () => {
    f.if(
      i32.eq(status, TRANSLATED.pageFault),
      () => f.call(parts.raise, hart, causes.page, va),
      () => f.call(parts.raise, hart, causes.access, va),
    )
    f.return(i32.const(STATUS.trapped))
  })
}

const LOAD_CAUSES = { access: CAUSE.loadAccess, page: CAUSE.loadPage }
const STORE_CAUSES = { access: CAUSE.storeAccess, page: CAUSE.storePage }

/** Runs `body` with the offset in RAM of `va` if a translation of it is cached: the access was not aligned, or it is a victim. */
function ifCached(
  f: FunctionBuilder,
  { entries }: MemoryParts,
  [hart, va, array]: readonly [I32, I64, I32],
  body: (offset: I32) => void,
): void {
  const entry = f.let(call<'i32'>(entries.find, hart, va, array))
  f.if(entry, () => body(f.let(i32.add(i32.wrap(va), addendOf(entry)))))
}

export function buildSlowMemory(module: ModuleBuilder, parts: MemoryParts): SlowMemory {
  const load = module.declare('loadSlow', ['i32', 'i64', 'i32'], ['i32'])
  const store = module.declare('storeSlow', ['i32', 'i64', 'i32', 'i64'], ['i32'])
  defineLoad(module, parts, load)
  defineStore(module, parts, store)
  return { load, store, atomic: buildAtomic(module, parts), fetch: buildFetch(module, parts) }
}

function defineLoad(module: ModuleBuilder, parts: MemoryParts, load: Callee): void {
  const split = buildLoadSplit(module, parts)
  module.define(load, (f) => {
    const hart = f.parameter(0, 'i32')
    const va = f.parameter(1, 'i64')
    const size = f.parameter(2, 'i32')
    f.ifUnlikely(crossesPage(va, size), () => f.return(call(split, hart, va, size)))
    ifCached(f, parts, [hart, va, i32.const(DATA_ARRAY.read)], (offset) => {
      setHart64(f, hart, 'result', loadSized(f, offset, size))
      f.return(settled())
    })
    const status = f.let(call<'i32'>(parts.translate, hart, va, ACCESS.load, size))
    raiseFault(f, parts, hart, status, va, LOAD_CAUSES)
    const pa = f.let(hart64(hart, 'result'))
    const offset64 = f.let(offsetOf(pa))
    f.ifLikely(inRam(offset64), () => {
      const offset = f.let(i32.wrap(offset64))
      f.if(i32.eqz(status), () => f.call(parts.entries.fill, hart, va, offset, DATA_ARRAY.read))
      setHart64(f, hart, 'result', loadSized(f, offset, size))
      f.return(settled())
    })
    const refused = () => {
      f.call(parts.raise, hart, CAUSE.loadAccess, va)
      f.return(i32.const(STATUS.trapped))
    }
    // Registers are not to be touched by an access that faults.
    f.ifUnlikely(misaligned(va, size), refused)
    f.ifUnlikely(i32.eqz(call<'i32'>(parts.mmioLoad, hart, pa, size)), refused)
    f.return(i32.const(STATUS.resync))
  })
}

/**
 * Translates both parts of an access over a page boundary, which must lie in RAM, and gives their offsets there. The
 * first byte that faults names the address.
 */
function translateParts(
  f: FunctionBuilder,
  parts: MemoryParts,
  hart: I32,
  va: I64,
  bytes: readonly [I32, I32],
  access: { kind: number; causes: { access: number; page: number } },
): [I32, I32] {
  const secondVa = f.let(i64.and(i64.add(va, 4095), -4096))
  const offsetAt = (start: I64, size: I32): I32 => {
    const status = f.let(call<'i32'>(parts.translate, hart, start, access.kind, size))
    raiseFault(f, parts, hart, status, start, access.causes)
    const offset = f.let(offsetOf(hart64(hart, 'result')))
    f.if(i32.eqz(inRam(offset)), () => {
      f.call(parts.raise, hart, access.causes.access, start)
      f.return(i32.const(STATUS.trapped))
    })
    return f.let(i32.wrap(offset))
  }
  return [offsetAt(va, bytes[0]), offsetAt(secondVa, bytes[1])]
}

/** Bytes of an access at `va` before the page boundary that it crosses. */
const bytesBefore = (va: I64): I32 => i32.sub(4096, i32.and(i32.wrap(va), 4095))

/** The offset in RAM of byte `index` of an access of which `first` bytes are at offsets[0], the others at offsets[1]. */
const partOffset = (offsets: readonly [I32, I32], index: I32, first: I32): I32 =>
  select(i32.ge_u(index, first), i32.add(offsets[1], i32.sub(index, first)), i32.add(offsets[0], index))

/** A load over a page boundary: both pages are checked before a byte is read. */
function buildLoadSplit(module: ModuleBuilder, parts: MemoryParts): Callee {
  return module.function('loadSplit', ['i32', 'i64', 'i32'], ['i32'], (f) => {
    const hart = f.parameter(0, 'i32')
    const va = f.parameter(1, 'i64')
    const size = f.parameter(2, 'i32')
    const first = f.let(bytesBefore(va))
    const access = { kind: ACCESS.load, causes: LOAD_CAUSES }
    const offsets = translateParts(f, parts, hart, va, [first, i32.sub(size, first)], access)
    const index = f.local('i32', 0)
    const value = f.local('i64', 0)
    f.loop((next) => {
      const byte = i64.load8_u(partOffset(offsets, index, first), { memory: 1 })
      f.set(value, i64.or(value, i64.shl(byte, i64.extend_i32_u(i32.shl(index, 3)))))
      f.set(index, i32.add(index, 1))
      f.brIf(next, i32.lt_u(index, size))
    })
    setHart64(f, hart, 'result', value)
    f.return(settled())
  })
}

/** Stores to RAM and keeps caches and dirty bits right. Returns STATUS. Must not cross pages. */
function buildStoreRam(module: ModuleBuilder, parts: MemoryParts): Callee {
  const { layout } = parts
  return module.function('storeRam', ['i32', 'i32', 'i64'], ['i32'], (f) => {
    const offset = f.parameter(0, 'i32')
    const size = f.parameter(1, 'i32')
    storeSized(f, offset, size, f.parameter(2, 'i64'))
    f.store('i32', i32.shr_u(offset, 12), 0xff, { offset: layout.pageDirty }, 8)
    f.if(i32.and(flagsOf(layout, offset), PAGE_WATCHED), () => f.call(parts.watch.afterStore, offset, size))
    f.return(settled())
  })
}

/** fillWrite(hart, va, offset): caches a writable page unless it is watched, and marks it dirty. */
function buildFillWrite(module: ModuleBuilder, parts: MemoryParts): Callee {
  const { layout } = parts
  return module.function('fillWrite', ['i32', 'i64', 'i32'], [], (f) => {
    const offset = f.parameter(2, 'i32')
    f.store('i32', i32.shr_u(offset, 12), 0xff, { offset: layout.pageDirty }, 8)
    f.if(i32.and(flagsOf(layout, offset), PAGE_WATCHED), () => f.return())
    f.call(parts.entries.fill, f.parameter(0, 'i32'), f.parameter(1, 'i64'), offset, DATA_ARRAY.write)
  })
}

function defineStore(module: ModuleBuilder, parts: MemoryParts, store: Callee): void {
  const storeRam = buildStoreRam(module, parts)
  const fillWrite = buildFillWrite(module, parts)
  const split = buildStoreSplit(module, parts, storeRam)
  module.define(store, (f) => {
    const hart = f.parameter(0, 'i32')
    const va = f.parameter(1, 'i64')
    const size = f.parameter(2, 'i32')
    const value = f.parameter(3, 'i64')
    f.ifUnlikely(crossesPage(va, size), () => f.return(call(split, hart, va, size, value)))
    ifCached(f, parts, [hart, va, i32.const(DATA_ARRAY.write)], (offset) =>
      f.return(call(storeRam, offset, size, value)),
    )
    const status = f.let(call<'i32'>(parts.translate, hart, va, ACCESS.store, size))
    raiseFault(f, parts, hart, status, va, STORE_CAUSES)
    const pa = f.let(hart64(hart, 'result'))
    const offset = f.let(offsetOf(pa))
    f.ifLikely(inRam(offset), () => {
      f.if(i32.eqz(status), () => f.call(fillWrite, hart, va, i32.wrap(offset)))
      f.return(call(storeRam, i32.wrap(offset), size, value))
    })
    const refused = () => {
      f.call(parts.raise, hart, CAUSE.storeAccess, va)
      f.return(i32.const(STATUS.trapped))
    }
    f.ifUnlikely(misaligned(va, size), refused)
    f.ifUnlikely(i32.eqz(call<'i32'>(parts.mmioStore, hart, pa, size, value)), refused)
    f.return(i32.const(STATUS.resync))
  })
}

/** A store over a page boundary: both pages are checked before a byte is written. */
function buildStoreSplit(module: ModuleBuilder, parts: MemoryParts, storeRam: Callee): Callee {
  return module.function('storeSplit', ['i32', 'i64', 'i32', 'i64'], ['i32'], (f) => {
    const hart = f.parameter(0, 'i32')
    const va = f.parameter(1, 'i64')
    const size = f.parameter(2, 'i32')
    const value = f.parameter(3, 'i64')
    const first = f.let(bytesBefore(va))
    const access = { kind: ACCESS.store, causes: STORE_CAUSES }
    const offsets = translateParts(f, parts, hart, va, [first, i32.sub(size, first)], access)
    const index = f.local('i32', 0)
    const status = f.local('i32', 0)
    f.loop((next) => {
      const byte = i64.shr_u(value, i64.extend_i32_u(i32.shl(index, 3)))
      const stored = call<'i32'>(storeRam, partOffset(offsets, index, first), 1, byte)
      f.set(status, i32.or(status, stored))
      f.set(index, i32.add(index, 1))
      f.brIf(next, i32.lt_u(index, size))
    })
    f.return(status)
  })
}

function buildAtomic(module: ModuleBuilder, parts: MemoryParts): Callee {
  const fillWrite = buildFillWrite(module, parts)
  return module.function('atomicSlow', ['i32', 'i64', 'i32', 'i32'], ['i32'], (f) => {
    const hart = f.parameter(0, 'i32')
    const va = f.parameter(1, 'i64')
    const size = f.parameter(2, 'i32')
    const access = f.parameter(3, 'i32')
    const isLoad = i32.eq(access, ACCESS.load)
    f.ifUnlikely(misaligned(va, size), () => {
      f.if(
        isLoad,
        () => f.call(parts.raise, hart, CAUSE.loadMisaligned, va),
        () => f.call(parts.raise, hart, CAUSE.storeMisaligned, va),
      )
      f.return(i32.const(STATUS.trapped))
    })
    const array = f.let(select(isLoad, i32.const(DATA_ARRAY.read), DATA_ARRAY.write))
    ifCached(f, parts, [hart, va, array], (offset) => {
      setHart64(f, hart, 'result', i64.extend_i32_u(offset))
      f.return(i32.const(STATUS.done))
    })
    const status = f.let(call<'i32'>(parts.translate, hart, va, access, size))
    const offset = f.let(offsetOf(hart64(hart, 'result')))
    const outside = i32.eqz(inRam(offset))
    // Atomics work on RAM only (PMA); elsewhere they are access faults.
    f.if(i32.and(i32.lt_u(status, TRANSLATED.accessFault), outside), () =>
      f.set(status, TRANSLATED.accessFault),
    )
    f.if(
      isLoad,
      () => raiseFault(f, parts, hart, status, va, LOAD_CAUSES),
      () => raiseFault(f, parts, hart, status, va, STORE_CAUSES),
    )
    // An atomic goes on without looking its code up again. If the walk took a slot that this code was registered in,
    // the code is registered anew, so that a store to its page tables is noticed.
    f.ifUnlikely(machine32('resync'), () =>
      f.call(parts.translate, hart, hart64(hart, 'pc'), ACCESS.fetch, i32.const(2)),
    )
    // That may have taken back a slot of the access's own walk, of which nothing is cached then.
    const fill = i32.and(i32.and(i32.eqz(isLoad), i32.eqz(status)), i32.eqz(machine32('resync')))
    f.if(fill, () => f.call(fillWrite, hart, va, i32.wrap(offset)))
    f.store('i32', i32.shr_u(i32.wrap(offset), 12), 0xff, { offset: parts.layout.pageDirty }, 8)
    setHart64(f, hart, 'result', offset)
    f.return(i32.const(STATUS.done))
  })
}

function buildFetch(module: ModuleBuilder, parts: MemoryParts): Callee {
  return module.function('fetchSlow', ['i32', 'i64'], ['i32'], (f) => {
    const hart = f.parameter(0, 'i32')
    const va = f.parameter(1, 'i64')
    const trapped = (cause: number) => {
      f.call(parts.raise, hart, cause, va)
      f.return(i32.const(FETCH_TRAPPED))
    }
    const status = f.let(call<'i32'>(parts.translate, hart, va, ACCESS.fetch, 2))
    f.ifUnlikely(i32.eq(status, TRANSLATED.pageFault), () => trapped(CAUSE.fetchPage))
    f.ifUnlikely(i32.eq(status, TRANSLATED.accessFault), () => trapped(CAUSE.fetchAccess))
    const offset64 = f.let(offsetOf(hart64(hart, 'result')))
    f.ifUnlikely(i32.eqz(inRam(offset64)), () => trapped(CAUSE.fetchAccess))
    const offset = f.let(i32.wrap(offset64))
    const inPage = f.let(i32.and(offset, 4095))
    f.ifUnlikely(status, () => {
      // PMP allows only part of the page: one instruction at a time, each of its halves checked.
      const trap = f.let(call<'i32'>(parts.decodeStraddle, hart, offset, va))
      f.if(trap, () => f.return(i32.const(FETCH_TRAPPED)))
      f.return(i32.sub(i32.add(hart, HART_STRADDLE), i32.shl(inPage, 2)))
    })
    const slot = f.let(call<'i32'>(parts.watch.codeSlot, i32.shr_u(offset, 12)))
    count(f, 'fetchMisses')
    const index = i32.shl(i32.and(i32.wrap(i64.shr_u(va, 12)), FETCH_ENTRIES - 1), 4)
    const entry = f.let(i32.add(i32.add(hart32(hart, 'fetchBank'), index), BANK_FETCH))
    f.store('i64', entry, i64.and(va, -4096))
    f.store('i32', entry, slot, { offset: 8 })
    f.return(slot)
  })
}

/**
 * straddle(hart, offset, va) -> 0, or 1: trapped. Decodes the instruction at RAM offset `offset`, of which the
 * second half may lie on another page, into the hart's own place.
 */
export function buildDecodeStraddle(
  module: ModuleBuilder,
  parts: { layout: Layout; translate: Callee; raise: Callee; decodeInto: Callee },
): Callee {
  const decode = buildDecodeWord(module, parts.decodeInto)
  return module.function('decodeStraddle', ['i32', 'i32', 'i64'], ['i32'], (f) => {
    const hart = f.parameter(0, 'i32')
    const va = f.parameter(2, 'i64')
    const word = f.let(i32.load16_u(f.parameter(1, 'i32'), { memory: 1 }))
    const addSecond = (offset: I32) =>
      f.set(word, i32.or(word, i32.shl(i32.load16_u(offset, { memory: 1 }), 16)))
    f.if(i32.eq(i32.and(word, 3), 3), () => {
      const second = f.let(i64.add(va, 2))
      // Code goes on there, so the page is most often among the fetch entries.
      const index = i32.shl(i32.and(i32.wrap(i64.shr_u(second, 12)), FETCH_ENTRIES - 1), 4)
      const entry = f.let(i32.add(hart32(hart, 'fetchBank'), index))
      f.ifLikely(i64.eq(i64.and(second, -4096), i64.load(entry, { offset: BANK_FETCH })), () => {
        const page = pageOfSlot(parts.layout, i32.load(entry, { offset: BANK_FETCH + 8 }))
        addSecond(i32.or(i32.shl(page, 12), i32.and(i32.wrap(second), 4095)))
        f.call(decode, hart, word)
        f.return(i32.const(0))
      })
      const status = f.let(call<'i32'>(parts.translate, hart, second, ACCESS.fetch, 2))
      const offset = f.let(offsetOf(hart64(hart, 'result')))
      const outside = i32.eqz(inRam(offset))
      f.if(i32.and(i32.lt_u(status, TRANSLATED.accessFault), outside), () =>
        f.set(status, TRANSLATED.accessFault),
      )
      f.if(i32.ge_u(status, TRANSLATED.accessFault), () => {
        f.if(
          i32.eq(status, TRANSLATED.pageFault),
          () => f.call(parts.raise, hart, CAUSE.fetchPage, second),
          () => f.call(parts.raise, hart, CAUSE.fetchAccess, second),
        )
        f.return(i32.const(1))
      })
      addSecond(i32.wrap(offset))
    })
    f.call(decode, hart, word)
    f.return(i32.const(0))
  })
}

/** decodeWord(hart, word): puts the predecoded form of an instruction into the hart's own place. */
function buildDecodeWord(module: ModuleBuilder, decodeInto: Callee): Callee {
  return module.function('decodeWord', ['i32', 'i32'], [], (f) => {
    const hart = f.parameter(0, 'i32')
    const word = f.parameter(1, 'i32')
    const place = f.let(i32.add(hart, HART_STRADDLE))
    // Fibonacci hashing: the top bits of a product with the golden ratio.
    const hash = i32.shr_u(i32.mul(word, 0x9e37_79b1 | 0), 32 - STRADDLES_DECODED_BITS)
    const known = f.let(i32.add(hart, i32.shl(hash, 4)))
    const at = { offset: HART_STRADDLES_DECODED }
    const isWhole = i32.eq(i32.and(word, 3), 3)
    f.if(i32.and(isWhole, i32.eq(i32.load(known, at), word)), () => {
      f.store('i64', place, i64.load(known, { offset: HART_STRADDLES_DECODED + 8 }))
      f.return()
    })
    f.call(decodeInto, place, word)
    f.store('i32', known, word, at)
    f.store('i64', known, i64.load(place), { offset: HART_STRADDLES_DECODED + 8 })
  })
}

/** The page of RAM whose code a slot holds. */
export function pageOfSlot(layout: Layout, slotBase: I32): I32 {
  const number = i32.div_u(i32.sub(slotBase, layout.codeSlots), CODE_SLOT_BYTES)
  return i32.load(i32.shl(number, 2), { offset: layout.codeSlotPage })
}

/** Clears the flag that cached translations were dropped. */
export function clearResync(f: FunctionBuilder): void {
  setMachine32(f, 'resync', 0)
}

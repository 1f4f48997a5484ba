/**
 * Watching pages: how cached translations and predecoded code are kept from ever being stale.
 *
 * A page is *watched* for one of three reasons (PAGE_CODE, PAGE_TABLE, PAGE_HOST in its flags). No hart has a write
 * entry to a watched page, so every store to it takes the slow path, which calls `afterStore`:
 *
 * - code: the predecoded instructions that the store touched are forgotten;
 * - page table: if the doubleword is a PTE that some cached entry came from, at any level, at least the entries
 *   derived through it are dropped, for data and for instruction fetch, in every hart. Which PTEs are in use, and
 *   which banks may hold derived entries, stands in the page's table slot;
 * - host: the host is told (HTIF).
 *
 * Slots are handed out in a circle; the oldest is taken back when all are in use. Taking one back drops what derives
 * from it, and a page that is stored to often without being used as table or code gives its slot back by itself.
 * `machine.resync` tells the running hart that its own translation of the current code page may have gone.
 */
import { type I32, type I64, i32, i64 } from '../wasm/expression.ts'
import { type Callee, call, type FunctionBuilder, type Label } from '../wasm/function.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import { count, hart32, machine32, setMachine32 } from './fields.ts'
import { SEQUENCE_MAX } from './fused_sequences.ts'
import { HANDLER } from './handlers.ts'
import {
  BANK_BYTES,
  BANK_FETCH,
  BANK_VICTIMS,
  BANK_WRITE,
  BANKS_PER_HART,
  CODE_ENTRY_BYTES,
  CODE_SLOT_BYTES,
  CODE_SLOTS,
  FETCH_ENTRIES,
  INVALID_BYTE,
  INVALID_TAG,
  type Layout,
  PAGE_BYTES,
  PAGE_CODE,
  PAGE_HOST,
  PAGE_TABLE,
  PAGE_WATCHED,
  TABLE_SLOT,
  TABLE_SLOT_BYTES,
  TABLE_SLOTS,
  TLB_ENTRIES,
  TLB_ENTRY_BYTES,
  TLB_VICTIMS,
  WRITE_REFERENCE_MANY,
} from './layout.ts'

/** Stores to a code page since it was last decoded after which it is data again. */
const CODE_STORES_MAX = 256
/** How far before a store a sequence of four-byte instructions can begin that has bytes in it. */
const SEQUENCE_BEFORE_BYTES = SEQUENCE_MAX * 4 - 2
/** Stores to a table page that hit no PTE in use after which it is data again. */
const TABLE_STORES_MAX = 128

export interface Watch {
  /** watchPage(page, flag): watches a page; removes every hart's write entries to it. */
  readonly watchPage: Callee
  /** afterStore(offset, size): keeps caches coherent with a store to a watched page; must not cross pages. */
  readonly afterStore: Callee
  /** codeSlot(page) -> address of the page's code slot, made if there is none. */
  readonly codeSlot: Callee
  /** usePte(hart, va, level, offset, isFetch): the PTE at RAM offset takes part in a translation of va. */
  readonly usePte: Callee
  /** noteWriteEntry(page, entry): a write entry that maps a RAM page has been made. */
  readonly noteWriteEntry: Callee
  /** flushWrites(): drops all write entries, so that the next store to each page marks it dirty again. */
  readonly flushWrites: Callee
  /** flushAll(): drops every cached translation of every hart. */
  readonly flushAll: Callee
}

/** Runs `body` for every bank of every hart with the bank's address. */
function everyBank(f: FunctionBuilder, layout: Layout, body: (bank: I32) => void): void {
  const bank = f.local('i32', layout.banks)
  const end = f.let(i32.add(i32.mul(machine32('hartCount'), BANKS_PER_HART * BANK_BYTES), layout.banks))
  f.loop((next) => {
    body(bank)
    f.set(bank, i32.add(bank, BANK_BYTES))
    f.brIf(next, i32.lt_u(bank, end))
  })
}

export function buildWatch(
  module: ModuleBuilder,
  layout: Layout,
  { hostStore, ...regions }: RegionKeeper & { readonly hostStore: Callee },
): Watch {
  const flushAll = module.function('flushAll', [], [], (f) => {
    f.fill(layout.banks, INVALID_BYTE, i32.mul(machine32('hartCount'), BANKS_PER_HART * BANK_BYTES))
    setMachine32(f, 'resync', 1)
  })
  const flushWrites = module.function('flushWrites', [], [], (f) => {
    everyBank(f, layout, (bank) => f.fill(i32.add(bank, BANK_WRITE), INVALID_BYTE, BANK_FETCH - BANK_WRITE))
  })
  const flushFetches = module.function('flushFetches', [], [], (f) => {
    everyBank(f, layout, (bank) => f.fill(i32.add(bank, BANK_FETCH), INVALID_BYTE, BANK_BYTES - BANK_FETCH))
    setMachine32(f, 'resync', 1)
  })
  const watchPage = buildWatchPage(module, layout)
  const noteWriteEntry = buildNoteWriteEntry(module, layout)
  const code = buildCode(module, layout, { flushFetches, watchPage, ...regions })
  const table = buildTable(module, layout, flushAll, watchPage)
  const afterStore = module.function('afterStore', ['i32', 'i32'], [], (f) => {
    const offset = f.parameter(0, 'i32')
    const size = f.parameter(1, 'i32')
    const flags = f.let(i32.load8_u(i32.shr_u(offset, 12), { offset: layout.pageFlags }))
    count(f, 'slowStores')
    f.if(i32.and(flags, PAGE_CODE), () => f.call(code.onStore, offset, size))
    f.if(i32.and(flags, PAGE_TABLE), () => f.call(table.onStore, offset, size))
    f.if(i32.and(flags, PAGE_HOST), () => {
      f.call(hostStore, offset, size)
      setMachine32(f, 'resync', 1)
    })
  })
  return {
    watchPage,
    afterStore,
    codeSlot: code.slot,
    usePte: table.usePte,
    noteWriteEntry,
    flushWrites,
    flushAll,
  }
}

/** Whether the write entry at `entry` maps RAM page `page`. */
function entryMaps(entry: I32, page: I32): I32 {
  const offset = i32.add(i32.wrap(i64.load(entry)), i32.load(entry, { offset: 8 }))
  return i32.and(i64.ne(i64.load(entry), INVALID_TAG), i32.eq(i32.shr_u(offset, 12), page))
}

function writeReference(layout: Layout, page: I32): I32 {
  return i32.load(i32.shl(page, 2), { offset: layout.pageWriteReference })
}

function buildNoteWriteEntry(module: ModuleBuilder, layout: Layout): Callee {
  return module.function('noteWriteEntry', ['i32', 'i32'], [], (f) => {
    const page = f.parameter(0, 'i32')
    const entry = f.parameter(1, 'i32')
    const known = f.let(writeReference(layout, page))
    const set = (value: I32 | number) =>
      f.store('i32', i32.shl(page, 2), value, { offset: layout.pageWriteReference })
    f.if(i32.eq(known, WRITE_REFERENCE_MANY | 0), () => f.return())
    f.if(i32.or(i32.eqz(known), i32.eq(known, entry)), () => {
      set(entry)
      f.return()
    })
    f.if(
      entryMaps(known, page),
      () => set(WRITE_REFERENCE_MANY | 0),
      () => set(entry),
    )
  })
}

function buildWatchPage(module: ModuleBuilder, layout: Layout): Callee {
  const removeEverywhere = module.function('removeWriteEntries', ['i32'], [], (f) => {
    const page = f.parameter(0, 'i32')
    const entry = f.local('i32')
    const end = f.local('i32')
    everyBank(f, layout, (bank) => {
      f.set(entry, i32.add(bank, BANK_WRITE))
      f.set(end, i32.add(bank, BANK_FETCH))
      f.loop((next) => {
        f.ifUnlikely(entryMaps(entry, page), () => f.store('i64', entry, INVALID_TAG))
        f.set(entry, i32.add(entry, TLB_ENTRY_BYTES))
        f.brIf(next, i32.lt_u(entry, end))
      })
    })
  })
  return module.function('watchPage', ['i32', 'i32'], [], (f) => {
    const page = f.parameter(0, 'i32')
    const flags = f.let(i32.load8_u(page, { offset: layout.pageFlags }))
    f.store('i32', page, i32.or(flags, f.parameter(1, 'i32')), { offset: layout.pageFlags }, 8)
    f.if(i32.and(flags, PAGE_WATCHED), () => f.return())
    const known = f.let(writeReference(layout, page))
    f.if(i32.eqz(known), () => f.return())
    f.if(
      i32.eq(known, WRITE_REFERENCE_MANY | 0),
      () => f.call(removeEverywhere, page),
      () => f.if(entryMaps(known, page), () => f.store('i64', known, INVALID_TAG)),
    )
    f.store('i32', i32.shl(page, 2), 0, { offset: layout.pageWriteReference })
  })
}

function clearFlag(f: FunctionBuilder, layout: Layout, page: I32, flag: number): void {
  const flags = i32.load8_u(page, { offset: layout.pageFlags })
  f.store('i32', page, i32.and(flags, ~flag), { offset: layout.pageFlags }, 8)
}

/** Who keeps translated code: it hears of what happens to the pages that it was made from. */
export interface RegionKeeper {
  /** dropRegions(page, inPage, size) -> whether there were any: these bytes are stored to. */
  readonly dropRegions: Callee
  /** sleepRegions(page): its predecoded code is given up. */
  readonly sleepRegions: Callee
  /** wakeRegions(page): it has got a place for predecoded code. */
  readonly wakeRegions: Callee
}

interface CodeFunctions {
  readonly slot: Callee
  readonly onStore: Callee
}

function buildCode(
  module: ModuleBuilder,
  layout: Layout,
  { flushFetches, watchPage, ...regions }: RegionKeeper & Record<'flushFetches' | 'watchPage', Callee>,
): CodeFunctions {
  const slotOf = (page: I32) => i32.load16_u(i32.shl(page, 1), { offset: layout.pageCodeSlot })
  const setSlotOf = (f: FunctionBuilder, page: I32, value: I32 | number) =>
    f.store('i32', i32.shl(page, 1), value, { offset: layout.pageCodeSlot }, 16)
  const addressOf = (slot: I32) => i32.add(i32.mul(slot, CODE_SLOT_BYTES), layout.codeSlots)
  const hasRegions = (page: I32): I32 =>
    i32.load(i32.shl(i32.sub(slotOf(page), 1), 2), { offset: layout.codeSlotRegions })

  /** releaseCode(page): the page is data again. */
  const release = module.function('releaseCode', ['i32'], [], (f) => {
    const page = f.parameter(0, 'i32')
    f.ifUnlikely(hasRegions(page), () => f.call(regions.sleepRegions, page))
    setSlotOf(f, page, 0)
    clearFlag(f, layout, page, PAGE_CODE)
    f.call(flushFetches)
  })

  const slot = module.function('codeSlot', ['i32'], ['i32'], (f) => {
    const page = f.parameter(0, 'i32')
    const known = f.let(slotOf(page))
    f.ifLikely(known, () => f.return(addressOf(i32.sub(known, 1))))
    const next = f.let(machine32('codeSlotNext'))
    setMachine32(f, 'codeSlotNext', i32.rem_u(i32.add(next, 1), CODE_SLOTS))
    const holder = f.let(i32.load(i32.shl(next, 2), { offset: layout.codeSlotPage }))
    f.if(i32.ge_s(holder, 0), () => {
      // The slot's former page may have given it up already and taken another one since.
      f.if(i32.eq(slotOf(holder), i32.add(next, 1)), () => f.call(release, holder))
    })
    f.store('i32', i32.shl(next, 2), page, { offset: layout.codeSlotPage })
    f.store('i32', i32.shl(next, 2), 0, { offset: layout.codeSlotStores })
    setSlotOf(f, page, i32.add(next, 1))
    const address = f.let(addressOf(next))
    f.fill(address, 0, (PAGE_BYTES / 2) * CODE_ENTRY_BYTES)
    for (const sentinel of [0, 1]) {
      f.store('i64', address, HANDLER.pageEnd, { offset: (PAGE_BYTES / 2 + sentinel) * CODE_ENTRY_BYTES })
    }
    f.call(watchPage, page, PAGE_CODE)
    f.store('i32', i32.shl(next, 2), 0, { offset: layout.codeSlotRegions })
    f.call(regions.wakeRegions, page)
    f.return(address)
  })

  const onStore = module.function('codeStored', ['i32', 'i32'], [], (f) => {
    const offset = f.parameter(0, 'i32')
    const page = f.let(i32.shr_u(offset, 12))
    const slotNumber = f.let(i32.sub(slotOf(page), 1))
    const base = f.let(addressOf(slotNumber))
    const inPage = f.let(i32.and(offset, 4095))
    // Whoever executes such a region leaves it behind the store.
    f.ifUnlikely(hasRegions(page), () => {
      const isDropped = call<'i32'>(regions.dropRegions, page, inPage, f.parameter(1, 'i32'))
      f.if(isDropped, () => setMachine32(f, 'resync', 1))
    })
    // The sequence of a fused handler may begin before the store.
    const before = i32.shr_u(i32.sub(inPage, SEQUENCE_BEFORE_BYTES), 1)
    const first = f.let(i32.add(base, i32.shl(before, 3)))
    f.if(i32.lt_u(inPage, SEQUENCE_BEFORE_BYTES), () => f.set(first, base))
    const last = f.let(
      i32.add(base, i32.shl(i32.shr_u(i32.add(inPage, i32.sub(f.parameter(1, 'i32'), 1)), 1), 3)),
    )
    f.loop((next) => {
      // Only the handler is forgotten. The earliest of these instructions may be whole, and part of a sequence that
      // begins before them and ends before the store: such a sequence goes on reading their operands.
      // A region that is entered here has no byte that was stored to: else it has been dropped.
      f.if(i32.ne(i32.load16_u(first), HANDLER.region), () =>
        f.store('i32', first, HANDLER.undecoded, {}, 16),
      )
      f.set(first, i32.add(first, CODE_ENTRY_BYTES))
      f.brIf(next, i32.le_u(first, last))
    })
    const counter = f.let(i32.add(i32.load(i32.shl(slotNumber, 2), { offset: layout.codeSlotStores }), 1))
    f.store('i32', i32.shl(slotNumber, 2), counter, { offset: layout.codeSlotStores })
    f.if(i32.gt_u(counter, CODE_STORES_MAX), () => f.call(release, page))
  })
  return { slot, onStore }
}

interface TableFunctions {
  readonly usePte: Callee
  readonly onStore: Callee
}

const slot32 = (slot: I32, field: 'level' | 'page' | 'ambiguous' | 'idleStores'): I32 =>
  i32.load(slot, { offset: TABLE_SLOT[field] })

/** Runs `body` for every bank that may hold entries derived through the table page in `slot`. */
function derivedBanks(f: FunctionBuilder, layout: Layout, slot: I32, body: (bank: I32) => void): void {
  const hart = f.local('i32', 0)
  const mask = f.local('i32')
  const bank = f.local('i32')
  f.loop((nextHart) => {
    f.set(mask, i32.load16_u(i32.add(slot, i32.shl(hart, 1)), { offset: TABLE_SLOT.banks }))
    f.block((none) => {
      f.loop((nextBank) => {
        f.brIf(none, i32.eqz(mask))
        const number = i32.add(i32.mul(hart, BANKS_PER_HART), i32.ctz(mask))
        f.set(bank, i32.add(i32.mul(number, BANK_BYTES), layout.banks))
        f.set(mask, i32.and(mask, i32.sub(mask, 1)))
        body(bank)
        f.br(nextBank)
      })
    })
    f.set(hart, i32.add(hart, 1))
    f.brIf(nextHart, i32.lt_u(hart, machine32('hartCount')))
  })
}

/** Drops the entries of one virtual page from one bank. */
function buildDropPage(module: ModuleBuilder): Callee {
  return module.function('dropPage', ['i32', 'i64'], [], (f) => {
    const bank = f.parameter(0, 'i32')
    const va = f.parameter(1, 'i64')
    const number = f.let(i32.wrap(i64.shr_u(va, 12)))
    const data = f.let(i32.add(bank, i32.shl(i32.and(number, TLB_ENTRIES - 1), 4)))
    const fetch = f.let(i32.add(bank, i32.shl(i32.and(number, FETCH_ENTRIES - 1), 4)))
    const drop = (entry: I32, offset: number) =>
      f.if(i64.eq(i64.load(entry, { offset }), va), () => f.store('i64', entry, INVALID_TAG, { offset }))
    const victim = f.let(i32.add(bank, i32.shl(i32.and(number, TLB_VICTIMS - 1), 4)))
    for (const array of [0, BANK_WRITE]) {
      drop(data, array)
      drop(victim, array + BANK_VICTIMS)
    }
    drop(fetch, BANK_FETCH)
  })
}

function buildTable(
  module: ModuleBuilder,
  layout: Layout,
  flushAll: Callee,
  watchPage: Callee,
): TableFunctions {
  const slotOf = (page: I32) => i32.load16_u(i32.shl(page, 1), { offset: layout.pageTableSlot })
  const addressOf = (number: I32) => i32.add(i32.mul(number, TABLE_SLOT_BYTES), layout.tableSlots)
  const dropPage = buildDropPage(module)

  /** dropDerived(slot): drops all that derives from a table page. */
  const dropDerived = module.function('dropDerived', ['i32'], [], (f) => {
    const slot = f.parameter(0, 'i32')
    f.if(
      slot32(slot, 'ambiguous'),
      () => f.call(flushAll),
      () => derivedBanks(f, layout, slot, (bank) => f.fill(bank, INVALID_BYTE, BANK_BYTES)),
    )
    setMachine32(f, 'resync', 1)
  })

  /** releaseTable(slot): the page is data again. */
  const release = module.function('releaseTable', ['i32'], [], (f) => {
    const slot = f.parameter(0, 'i32')
    const page = f.let(slot32(slot, 'page'))
    f.call(dropDerived, slot)
    f.store('i32', i32.shl(page, 1), 0, { offset: layout.pageTableSlot }, 16)
    f.store('i32', slot, -1, { offset: TABLE_SLOT.page })
    clearFlag(f, layout, page, PAGE_TABLE)
  })

  const dropPte = buildDropPte(module, layout, dropDerived, dropPage)
  const allocate = module.function('tableSlot', ['i32', 'i64', 'i32'], ['i32'], (f) => {
    const page = f.parameter(0, 'i32')
    const next = f.let(machine32('tableSlotNext'))
    setMachine32(f, 'tableSlotNext', i32.rem_u(i32.add(next, 1), TABLE_SLOTS))
    const slot = f.let(addressOf(next))
    f.if(i32.ge_s(slot32(slot, 'page'), 0), () => f.call(release, slot))
    f.fill(slot, 0, TABLE_SLOT_BYTES)
    f.store('i32', slot, page, { offset: TABLE_SLOT.page })
    f.store('i64', slot, f.parameter(1, 'i64'), { offset: TABLE_SLOT.vaBase })
    f.store('i32', slot, f.parameter(2, 'i32'), { offset: TABLE_SLOT.level })
    f.store('i32', i32.shl(page, 1), i32.add(next, 1), { offset: layout.pageTableSlot }, 16)
    f.call(watchPage, page, PAGE_TABLE)
    f.return(slot)
  })

  const usePte = module.function('usePte', ['i32', 'i64', 'i32', 'i32', 'i32'], [], (f) => {
    const hart = f.parameter(0, 'i32')
    const level = f.parameter(2, 'i32')
    const offset = f.parameter(3, 'i32')
    const page = f.let(i32.shr_u(offset, 12))
    const span = i64.extend_i32_u(i32.add(i32.mul(level, 9), 21))
    const vaBase = f.let(i64.shl(i64.shr_u(f.parameter(1, 'i64'), span), span))
    const number = f.let(slotOf(page))
    const slot = f.local('i32')
    f.if(
      number,
      () => {
        f.set(slot, addressOf(i32.sub(number, 1)))
        // Above the leaves the address does not matter: a change there empties the banks (a root of the kernel maps
        // the lowest and the highest addresses).
        const sameBase = i64.eq(i64.load(slot, { offset: TABLE_SLOT.vaBase }), vaBase)
        const samePlace = i32.and(i32.or(i32.ne(level, 0), sameBase), i32.eq(slot32(slot, 'level'), level))
        f.if(i32.eqz(samePlace), () => f.store('i32', slot, 1, { offset: TABLE_SLOT.ambiguous }))
      },
      () => f.set(slot, call<'i32'>(allocate, page, vaBase, level)),
    )
    f.store('i32', slot, 0, { offset: TABLE_SLOT.idleStores })
    markUsed(f, slot, i32.and(i32.shr_u(offset, 3), 511))
    markBank(f, layout, slot, hart, f.parameter(4, 'i32'))
  })

  return { usePte, onStore: buildTableStored(module, { slotOf, addressOf, dropPte, release }) }
}

interface TableParts {
  readonly slotOf: (page: I32) => I32
  readonly addressOf: (number: I32) => I32
  readonly dropPte: Callee
  readonly release: Callee
}

/** tableStored(offset, size): a store to a table page has taken place. */
function buildTableStored(
  module: ModuleBuilder,
  { slotOf, addressOf, dropPte, release }: TableParts,
): Callee {
  return module.function('tableStored', ['i32', 'i32'], [], (f) => {
    const offset = f.parameter(0, 'i32')
    const slot = f.let(addressOf(i32.sub(slotOf(i32.shr_u(offset, 12)), 1)))
    const first = f.let(i32.shr_u(i32.and(offset, 4095), 3))
    const end = i32.sub(i32.add(i32.and(offset, 4095), f.parameter(1, 'i32')), 1)
    const last = f.let(i32.shr_u(end, 3))
    const idle = f.let(i32.add(slot32(slot, 'idleStores'), 1))
    f.store('i32', slot, idle, { offset: TABLE_SLOT.idleStores })
    f.loop((next) => {
      f.if(isUsed(slot, first), () => f.call(dropPte, slot, first))
      f.set(first, i32.add(first, 1))
      f.brIf(next, i32.le_u(first, last))
    })
    f.if(i32.gt_u(idle, TABLE_STORES_MAX), () => f.call(release, slot))
  })
}

const usedWord = (slot: I32, index: I32): I32 => i32.add(slot, i32.shl(i32.shr_u(index, 6), 3))
const usedBit = (index: I32): I64 => i64.shl(1, i64.extend_i32_u(index))

function isUsed(slot: I32, index: I32): I32 {
  return i64.ne(i64.and(i64.load(usedWord(slot, index), { offset: TABLE_SLOT.used }), usedBit(index)), 0)
}

function markUsed(f: FunctionBuilder, slot: I32, index: I32): void {
  const word = f.let(usedWord(slot, index))
  const bits = i64.or(i64.load(word, { offset: TABLE_SLOT.used }), usedBit(index))
  f.store('i64', word, bits, { offset: TABLE_SLOT.used })
}

function markBank(f: FunctionBuilder, layout: Layout, slot: I32, hart: I32, isFetch: I32): void {
  const bank = f.let(hart32(hart, 'dataBank'))
  f.if(isFetch, () => f.set(bank, hart32(hart, 'fetchBank')))
  const number = i32.div_u(i32.sub(bank, layout.banks), BANK_BYTES)
  const bit = i32.shl(1, i32.and(number, BANKS_PER_HART - 1))
  const place = f.let(i32.add(slot, i32.shl(hart32(hart, 'id'), 1)))
  const mask = i32.or(i32.load16_u(place, { offset: TABLE_SLOT.banks }), bit)
  f.store('i32', place, mask, { offset: TABLE_SLOT.banks }, 16)
}

/** dropPte(slot, index): a PTE in use has been stored to. */
function buildDropPte(module: ModuleBuilder, layout: Layout, dropDerived: Callee, dropPage: Callee): Callee {
  return module.function('dropPte', ['i32', 'i32'], [], (f) => {
    const slot = f.parameter(0, 'i32')
    const index = f.parameter(1, 'i32')
    count(f, 'tableStores')
    f.store('i32', slot, 0, { offset: TABLE_SLOT.idleStores })
    const word = f.let(usedWord(slot, index))
    const bits = i64.xor(i64.load(word, { offset: TABLE_SLOT.used }), usedBit(index))
    f.store('i64', word, bits, { offset: TABLE_SLOT.used })
    setMachine32(f, 'resync', 1)
    f.block((end: Label) => {
      f.if(i32.or(slot32(slot, 'ambiguous'), slot32(slot, 'level')), () => {
        f.call(dropDerived, slot)
        f.br(end)
      })
      const va = f.let(
        i64.add(i64.load(slot, { offset: TABLE_SLOT.vaBase }), i64.shl(i64.extend_i32_u(index), 12)),
      )
      derivedBanks(f, layout, slot, (bank) => f.call(dropPage, bank, va))
    })
  })
}

/**
 * Where everything lives in memory 0, the memory of harts and tables. Memory 1 holds guest RAM and nothing else.
 *
 *     0x0000   machine block (what all harts share; see MACHINE)
 *     0x1000   hart 0, hart 1, ... (HART_BYTES each; see HART)
 *     then     translation banks, BANKS_PER_HART for each hart
 *     then     one entry for each RAM page: flags, dirty bits, slots, write references, hashes
 *     then     page-table slots, code slots, what translated regions have taken the place of
 *
 * A translation bank caches the translations of one address space at one privilege:
 *
 *     +0             TLB_ENTRIES   x { tag i64, addend i32, unused i32 }     loads
 *     +BANK_VICTIMS  TLB_VICTIMS   x the same                                what was pushed out there
 *     +BANK_WRITE    the same two for stores
 *     +BANK_FETCH    FETCH_ENTRIES x { tag i64, code slot i32, unused i32 }
 *
 * A tag is the virtual page address, so that one comparison of `va & (size - 1 - 4096)` finds a miss and a misaligned
 * access alike; an invalid tag (INVALID_BYTE in every byte) has bit 11 set, which this mask always clears. va + addend is the offset in memory 1.
 */

/** Physical address of the first byte of RAM. */
export const RAM_BASE = 0x8000_0000

export const PAGE_SHIFT = 12
export const PAGE_BYTES = 4096

export const HARTS_MAX = 8
export const HART_BYTES = 0x1000
export const HARTS_ADDRESS = 0x1000

export const BANKS_PER_HART = 16
export const TLB_INDEX_BITS = 11
export const TLB_ENTRIES = 1 << TLB_INDEX_BITS
export const TLB_ENTRY_BYTES = 16
export const FETCH_INDEX_BITS = 10
export const FETCH_ENTRIES = 1 << FETCH_INDEX_BITS
/** Behind each array of data entries (data_entries.ts). */
export const TLB_VICTIMS = 256
export const BANK_VICTIMS = TLB_ENTRIES * TLB_ENTRY_BYTES
export const BANK_WRITE = BANK_VICTIMS + TLB_VICTIMS * TLB_ENTRY_BYTES
export const BANK_FETCH = 2 * BANK_WRITE
export const BANK_BYTES = BANK_FETCH + FETCH_ENTRIES * TLB_ENTRY_BYTES
export const INVALID_BYTE = 0x08
export const INVALID_TAG = 0x0808_0808_0808_0808n

/** Bytes of one predecoded instruction; there is room for one at every halfword of a page. */
export const CODE_ENTRY_BYTES = 8
/** Entries of a code slot: one for each halfword, and two sentinels for running off the end. */
export const CODE_ENTRIES = PAGE_BYTES / 2 + 2
export const CODE_SLOT_BYTES = CODE_ENTRIES * CODE_ENTRY_BYTES + 48
export const CODE_SLOTS = 1024
/**
 * A region's entry, which stands in the place of a predecoded instruction: behind HANDLER.region, u16, the place of its function in the
 * table of regions, u16, and the number under which the instruction is kept, u32.
 */
export const REGION_ENTRY = { functionIndex: 2, number: 4 } as const

/** Ways into translated regions that there can be at a time; there are fewer regions. */
export const REGIONS_MAX = 16_384

/** A page-table slot: which PTEs of a page cached translations came from, and what to do when one changes. */
export const TABLE_SLOTS = 8192
export const TABLE_SLOT_BYTES = 128
export const TABLE_SLOT = {
  /** 512 bits: PTE i is in use. */
  used: 0,
  /** First virtual address that the page maps. */
  vaBase: 64,
  /** For each hart 16 bits: banks that may hold entries derived through this page. */
  banks: 72,
  /** Level of the PTEs in this page (0: 4 KiB leaves). */
  level: 88,
  /** The physical page (an index into RAM). */
  page: 92,
  /** Not zero: seen at two virtual places; any change flushes everything. */
  ambiguous: 96,
  /** Stores since the last fill that hit no PTE in use; many of them mean that the page is no longer a table. */
  idleStores: 100,
} as const

/** Flags of a RAM page: why stores to it must take the slow path. */
export const PAGE_CODE = 1
export const PAGE_TABLE = 2
export const PAGE_HOST = 4
export const PAGE_WATCHED = PAGE_CODE | PAGE_TABLE | PAGE_HOST

/** How many consumers of dirty pages there can be: one bit each. */
export const DIRTY_CONSUMERS_MAX = 8

/** An LR reserves the aligned doubleword that it reads from: the least there can be, so that SC to anything else fails. */
export const RESERVATION_BYTES = 8

type Field = 'i32' | 'i64'

/** Assigns offsets to named fields, i64 first for alignment. */
function place<N extends string>(start: number, fields: Record<N, Field>): Record<N, number> {
  const offsets = {} as Record<N, number>
  let offset = start
  for (const width of ['i64', 'i32'] as const) {
    for (const name of Object.keys(fields) as N[]) {
      if (fields[name] !== width) continue
      offsets[name] = offset
      offset += width === 'i64' ? 8 : 4
    }
  }
  return offsets
}

/** x0..x31 at the hart's base, f0..f31 behind them. */
export const HART_X = 0
export const HART_F = 256
export const REGISTER_BYTES = 512
/**
 * While a hart runs, its registers are here: at a constant address, an operand costs one addition less, and copying
 * them in and out costs nothing beside a slice.
 */
export const CURRENT_REGISTERS = 0x400

/** Offsets of a hart's fields from its base address. */
export const HART = place(512, {
  pc: 'i64',
  mstatus: 'i64',
  mie: 'i64',
  /** Interrupt-pending bits that software wrote. */
  mipSoft: 'i64',
  /** Interrupt-pending bits that lines and timers drive. */
  mipLines: 'i64',
  mideleg: 'i64',
  medeleg: 'i64',
  mtvec: 'i64',
  mscratch: 'i64',
  mepc: 'i64',
  mcause: 'i64',
  mtval: 'i64',
  mcounteren: 'i64',
  mcountinhibit: 'i64',
  menvcfg: 'i64',
  stvec: 'i64',
  sscratch: 'i64',
  sepc: 'i64',
  scause: 'i64',
  stval: 'i64',
  scounteren: 'i64',
  senvcfg: 'i64',
  satp: 'i64',
  stimecmp: 'i64',
  /** mtimecmp of the ACLINT; compared here so that it fires at an exact position. */
  mtimecmp: 'i64',
  /** While the hart runs: the counter's value at the end of the slice (see counters.ts). */
  mcycle: 'i64',
  minstret: 'i64',
  /** Offset in RAM of what a load reserved. */
  reservation: 'i64',
  dataKey: 'i64',
  fetchKey: 'i64',
  /** The value that a slow load found, and the physical address of a slow translation. */
  result: 'i64',
  pmpcfg0: 'i64',
  pmpcfg2: 'i64',
  pmpaddr0: 'i64',
  pmpaddr1: 'i64',
  pmpaddr2: 'i64',
  pmpaddr3: 'i64',
  pmpaddr4: 'i64',
  pmpaddr5: 'i64',
  pmpaddr6: 'i64',
  pmpaddr7: 'i64',
  pmpaddr8: 'i64',
  pmpaddr9: 'i64',
  pmpaddr10: 'i64',
  pmpaddr11: 'i64',
  pmpaddr12: 'i64',
  pmpaddr13: 'i64',
  pmpaddr14: 'i64',
  pmpaddr15: 'i64',
  id: 'i32',
  privilege: 'i32',
  fflags: 'i32',
  frm: 'i32',
  /** 1: a load reservation is held. */
  reserved: 'i32',
  /** Addresses of the current banks. */
  dataBank: 'i32',
  fetchBank: 'i32',
  /** Which bank is replaced next. */
  bankVictim: 'i32',
  /** 1: every access of S and U mode is allowed by PMP, and no entry is locked: the usual case. */
  pmpOpen: 'i32',
  /** Run state (HART_STATE). */
  state: 'i32',
})

/** The keys of a hart's banks: BANKS_PER_HART x i64, zero where a bank is unused. */
export const HART_BANK_KEYS = 1536
/** What is executed alone is here, followed by two sentinels: an instruction on two pages, or one that a region stands for. */
export const HART_STRADDLE = 2048
/**
 * Instructions that were decoded there lately, by their word: { word i32, unused i32, predecoded i64 }. The form depends on
 * the word alone, so these are never stale; a word of zero is no four-byte instruction.
 */
export const HART_STRADDLES_DECODED = 2304
export const STRADDLES_DECODED_BITS = 6

export const HART_STATE = { running: 0, waiting: 1, stopped: 2, suspended: 3 } as const

/** Offsets of what all harts share, from address 0. */
export const MACHINE = place(64, {
  /** The position at which the current slice ends if it is not cut short. */
  sliceEnd: 'i64',
  /** Guest time = min(cap, base + (position - timePosition) x rate). */
  timePosition: 'i64',
  timeBase: 'i64',
  timeRate: 'i64',
  timeCap: 'i64',
  /** Where the running hart last came by a way that is not a jump within a page; for the profile. */
  arrived: 'i64',
  /** Where it last went on by the slow way (after a trap, or at the end of a slice); then it arrived there, but not by a jump. */
  resumed: 'i64',
  /** Where translated code last jumped to an address in a register, other than to return and to what it knew, and that address. */
  jumpedFrom: 'i64',
  jumpedTo: 'i64',
  /** Steps of the slice that are left, valid while WebAssembly calls out. */
  remaining: 'i32',
  /** Why the last slice ended (EXIT). */
  exit: 'i32',
  /** 1: a device or the host wants the slice to end after this step. */
  stop: 'i32',
  /** Bytes of RAM. */
  ramBytes: 'i32',
  hartCount: 'i32',
  /** 1: an environment call from S-mode is answered by the board (SBI). */
  sbi: 'i32',
  /** 1: cached translations were dropped; the running hart must look its own up again. */
  resync: 'i32',
  /** Next code slot to hand out, and the oldest one to take back once all are in use. */
  codeSlotNext: 'i32',
  tableSlotNext: 'i32',
  /** Counts of what the memory system did, for tuning only; never visible to the guest. */
  walks: 'i32',
  slowStores: 'i32',
  tableStores: 'i32',
  bankMisses: 'i32',
  /** Steps taken in translated code, modulo 2^32; never visible to the guest. */
  translatedSteps: 'i32',
  /** How often a region was entered by the interpreter, and how often one found no other to go on in (chain). */
  regionEntries: 'i32',
  chainMisses: 'i32',
  /** How often translated code jumped to an address in a register that its region did not know. */
  unknownJumps: 'i32',
  /** 1: the region that came back wants the hart's pc to be looked at by the slow way. */
  regionResync: 'i32',
  /** Counts for tuning, as those above: entries of data and of fetch banks that were filled. */
  dataMisses: 'i32',
  fetchMisses: 'i32',
})
/** Scratch for the PTE addresses of the walk in progress: 4 x i32. */
export const MACHINE_WALK = 32
/** Where chain found no region lately: the i-th miss stands at place i modulo MISSES_KEPT, i64 each; for the profile. */
export const MACHINE_MISSES = CURRENT_REGISTERS + REGISTER_BYTES
export const MISSES_KEPT = 4

/** Why a slice ended. */
export const EXIT = { budget: 0, wait: 1, sbi: 2, timer: 3, stop: 4, turn: 5 } as const
export type ExitReason = (typeof EXIT)[keyof typeof EXIT]

/** Exceptions (privileged spec, table of mcause). */
export const CAUSE = {
  fetchMisaligned: 0,
  fetchAccess: 1,
  illegal: 2,
  breakpoint: 3,
  loadMisaligned: 4,
  loadAccess: 5,
  storeMisaligned: 6,
  storeAccess: 7,
  ecallU: 8,
  ecallS: 9,
  ecallM: 11,
  fetchPage: 12,
  loadPage: 13,
  storePage: 15,
} as const

export const PRIVILEGE = { user: 0, supervisor: 1, machine: 3 } as const

/** Bits of mstatus. */
export const MSTATUS = {
  sie: 1 << 1,
  mie: 1 << 3,
  spie: 1 << 5,
  mpie: 1 << 7,
  spp: 1 << 8,
  mpp: 3 << 11,
  fs: 3 << 13,
  mprv: 1 << 17,
  sum: 1 << 18,
  mxr: 1 << 19,
  tvm: 1 << 20,
  tw: 1 << 21,
  tsr: 1 << 22,
} as const

/** Where the tables of a machine of this size stand in memory 0. */
export interface Layout {
  readonly harts: number
  readonly ramBytes: number
  readonly ramPages: number
  readonly banks: number
  /** csr number -> 1 + position in the table of CSRs: 4096 x u8. */
  readonly csrIndex: number
  /** u8 each: PAGE_* flags. */
  readonly pageFlags: number
  /** u8 each: a bit for each consumer of dirty pages. */
  readonly pageDirty: number
  /** u16 each: 1 + code slot, or 0. */
  readonly pageCodeSlot: number
  /** u16 each: 1 + table slot, or 0. */
  readonly pageTableSlot: number
  /** u32 each: address of the only write entry that maps the page, 0 none, WRITE_REFERENCE_MANY several. */
  readonly pageWriteReference: number
  readonly tableSlots: number
  /** u32 each: the RAM page a code slot holds, or 0xffffffff. */
  readonly codeSlotPage: number
  /** u32 each: stores to the page since it was last decoded. */
  readonly codeSlotStores: number
  /** u32 each: how many regions can be entered in the slot's page, or have taken in functions of it. */
  readonly codeSlotRegions: number
  /** i64 each: the predecoded instruction in whose place a region's entry stands. */
  readonly regionOriginals: number
  readonly codeSlots: number
  readonly end: number
}

export const WRITE_REFERENCE_MANY = 0xffff_ffff

export function layoutFor(harts: number, ramBytes: number): Layout {
  const ramPages = ramBytes / PAGE_BYTES
  let next = HARTS_ADDRESS + harts * HART_BYTES
  const take = (bytes: number): number => {
    const start = next
    next = Math.ceil((next + bytes) / 64) * 64
    return start
  }
  return {
    harts,
    ramBytes,
    ramPages,
    banks: take(harts * BANKS_PER_HART * BANK_BYTES),
    csrIndex: take(4096),
    pageFlags: take(ramPages),
    pageDirty: take(ramPages),
    pageCodeSlot: take(ramPages * 2),
    pageTableSlot: take(ramPages * 2),
    pageWriteReference: take(ramPages * 4),
    tableSlots: take(TABLE_SLOTS * TABLE_SLOT_BYTES),
    codeSlotPage: take(CODE_SLOTS * 4),
    codeSlotStores: take(CODE_SLOTS * 4),
    codeSlotRegions: take(CODE_SLOTS * 4),
    regionOriginals: take(REGIONS_MAX * 8),
    codeSlots: take(CODE_SLOTS * CODE_SLOT_BYTES),
    end: next,
  }
}

/** Address of hart `id`. */
export function hartAddress(id: number): number {
  return HARTS_ADDRESS + id * HART_BYTES
}

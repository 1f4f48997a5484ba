/**
 * Where everything lies in the memory of a test program, as distances from the start of RAM. Programs are loaded at
 * the start of RAM and started there in M-mode.
 *
 *     0x00000   harness: start, trap handlers, load and dump of a block's state
 *     0x10000   the harness's variables (VARIABLE)
 *     0x20000   page tables
 *     0x40000   four data pages, and a page of `ret` instructions
 *     0x50000   operand pools
 *    0x100000   blocks
 *    0x500000   executions: EXECUTION_BYTES each, ended by zeros
 *    0x600000   environments: ENVIRONMENT_BYTES each
 *    0x800000   trace: SLOT_BYTES for each execution
 */

export const RAM = 0x8000_0000
/** Bytes of RAM that a subject must have. */
export const RAM_BYTES = 64 << 20

export const VARIABLES = 0x10000
export const TABLES = 0x20000
export const DATA = 0x40000
export const DATA_PAGES = 4
export const RETURN_PAGE = DATA + DATA_PAGES * 0x1000
export const POOLS = 0x50000
export const POOL_LENGTH = 4096
export const BLOCKS = 0x100000
export const EXECUTIONS = 0x500000
export const EXECUTION_BYTES = 64
export const ENVIRONMENTS = 0x600000
export const ENVIRONMENT_BYTES = 256
export const TRACE = 0x800000
export const EXECUTIONS_MAX = 8192

/** User code runs at its physical address plus this, through a mapping with U set. */
export const USER_ALIAS = 0x4000_0000
/** Virtual addresses with pages of all kinds: 512 small pages, then superpages, then gigapages. */
export const PAGED = 0x1_0000_0000

/** Bytes at both ends of each data page that the blocks touch, and that the dump copies. */
export const HOT_BYTES = 64

/** Offsets in a slot of the trace. */
export const SLOT = { x: 0, f: 256, csr: 512, traps: 704, data: 1536 } as const
export const SLOT_BYTES = 2048

/** What a trap handler records: cause, epc, tval, status, and which vector it was entered by. */
export const TRAP_BYTES = 40
export const TRAPS_RECORDED = 20
/** A block that traps more often is ended. */
export const TRAPS_MAX = 60

/** CSRs in the dump, in their order; the first word of the dump is mstatus as the last trap found it. */
export const DUMPED = [
  'mstatus',
  'fcsr',
  'mcause',
  'mepc',
  'mtval',
  'sepc',
  'scause',
  'stval',
  'sscratch',
  'stvec',
  'medeleg',
  'mideleg',
  'mie',
  'mip',
  'satp',
  'mscratch',
  'pmpcfg0',
  'pmpaddr0',
  'pmpaddr1',
  'pmpaddr2',
  'pmpaddr3',
] as const

/** CSRs that are set before each execution of a block, in this order, from its environment. */
export const ENVIRONMENT = [
  'pmpaddr0',
  'pmpaddr1',
  'pmpaddr2',
  'pmpaddr3',
  'pmpaddr4',
  'pmpaddr5',
  'pmpaddr6',
  'pmpaddr7',
  'pmpcfg0',
  'satp',
  'medeleg',
  'mideleg',
  'mtvec',
  'stvec',
  'mscratch',
  'sscratch',
  'sepc',
  'scause',
  'stval',
  'mcause',
  'mtval',
  'mcounteren',
  'scounteren',
  'mie',
  'mip',
  'mstatus',
] as const

export type EnvironmentName = (typeof ENVIRONMENT)[number]

/** One setting of the machine in which blocks run. */
export type Environment = { readonly [name in EnvironmentName]: bigint }

export const MSTATUS = {
  sie: 1n << 1n,
  mie: 1n << 3n,
  spie: 1n << 5n,
  mpie: 1n << 7n,
  spp: 1n << 8n,
  fs: 3n << 13n,
  mprv: 1n << 17n,
  sum: 1n << 18n,
  mxr: 1n << 19n,
  tvm: 1n << 20n,
  tw: 1n << 21n,
  tsr: 1n << 22n,
} as const

/** Places of code, and how they are found. */
import {
  BANK_FETCH,
  CODE_SLOT_BYTES,
  CODE_SLOTS,
  FETCH_ENTRIES,
  type Layout,
  TLB_ENTRY_BYTES,
} from '../layout.ts'

/** A place of code in RAM. */
export interface Place {
  readonly page: number
  readonly inPage: number
}

/** A place, and the address of its page in the address space of the hart that came there. */
export interface FoundPlace extends Place {
  readonly virtualPage: bigint
}

/**
 * Where in RAM a hart with this fetch bank finds the code at a virtual address; undefined if it has not looked lately. Another thread may
 * see an entry while it is written, of which one half is another's.
 */
export function findPlace(
  tables: DataView,
  layout: Layout,
  fetchBank: number,
  pc: bigint,
): FoundPlace | undefined {
  const index = Number((pc >> 12n) & BigInt(FETCH_ENTRIES - 1))
  const entry = fetchBank + BANK_FETCH + index * TLB_ENTRY_BYTES
  const virtualPage = BigInt.asUintN(64, pc & -4096n)
  if (tables.getBigUint64(entry, true) !== virtualPage) return undefined
  const slot = (tables.getUint32(entry + 8, true) - layout.codeSlots) / CODE_SLOT_BYTES
  if (!Number.isInteger(slot) || slot < 0 || slot >= CODE_SLOTS) return undefined
  const page = tables.getUint32(layout.codeSlotPage + slot * 4, true)
  if (page >= layout.ramPages) return undefined
  return { page, inPage: Number(pc & 4095n), virtualPage }
}

/** The address at which a hart with this fetch bank has found code of a page; undefined if it has not lately. */
export function findVirtualPage(
  tables: DataView,
  layout: Layout,
  fetchBank: number,
  page: number,
): bigint | undefined {
  for (let index = 0; index < FETCH_ENTRIES; index++) {
    const address = tables.getBigUint64(fetchBank + BANK_FETCH + index * TLB_ENTRY_BYTES, true)
    if (findPlace(tables, layout, fetchBank, address)?.page === page) return address
  }
  return undefined
}

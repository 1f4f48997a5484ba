/** What is known of pages of RAM besides their content: why they are watched, and in which slots they are. */
import { CODE_SLOTS, type Layout, PAGE_HOST, TABLE_SLOT, TABLE_SLOT_BYTES, TABLE_SLOTS } from './layout.ts'

/** Forgets all that is cached of pages; those that the host watches stay watched for it. */
export function forgetPages(layout: Layout, tables: ArrayBufferLike): void {
  const flags = new Uint8Array(tables, layout.pageFlags, layout.ramPages)
  for (let page = 0; page < flags.length; page++)
    if ((flags[page]! & ~PAGE_HOST) !== 0) flags[page]! &= PAGE_HOST
  clear(new Uint32Array(tables, layout.pageCodeSlot, layout.ramPages / 2))
  clear(new Uint32Array(tables, layout.pageTableSlot, layout.ramPages / 2))
  clear(new Uint32Array(tables, layout.pageWriteReference, layout.ramPages))
  markSlotsFree(layout, tables)
}

/** Marks every code slot and table slot as free; all that a new machine needs, whose tables are zeros. */
export function markSlotsFree(layout: Layout, tables: ArrayBufferLike): void {
  new Uint8Array(tables, layout.codeSlotPage, CODE_SLOTS * 4).fill(0xff)
  const view = new DataView(tables)
  for (let slot = 0; slot < TABLE_SLOTS; slot++)
    view.setInt32(layout.tableSlots + slot * TABLE_SLOT_BYTES + TABLE_SLOT.page, -1, true)
}

/** Zeros what is not zero: what is only read takes no memory from the system. */
function clear(words: Uint32Array): void {
  for (let i = 0; i < words.length; i++) if (words[i] !== 0) words[i] = 0
}

/** Where code is found by a thread that may see an entry while it is written. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BANK_FETCH, CODE_SLOT_BYTES, layoutFor } from '../layout.ts'
import { findPlace } from './place.ts'

const BANK = 0x10_0000
const ADDRESS = 0x4000_0124n

test('a place is found by its whole entry, and nothing by an entry of two halves', () => {
  const layout = layoutFor(1, 2 << 20)
  const tables = new DataView(new ArrayBuffer(layout.end))
  const find = () => findPlace(tables, layout, BANK, ADDRESS)
  const write = (tag: bigint, slotAddress: number): void => {
    tables.setBigUint64(BANK + BANK_FETCH, tag, true)
    tables.setUint32(BANK + BANK_FETCH + 8, slotAddress, true)
  }
  tables.setUint32(layout.codeSlotPage + 3 * 4, 17, true)
  write(0x4000_0000n, layout.codeSlots + 3 * CODE_SLOT_BYTES)
  assert.deepEqual(find(), { page: 17, inPage: 0x124, virtualPage: 0x4000_0000n })
  write(0x4000_1000n, layout.codeSlots + 3 * CODE_SLOT_BYTES)
  assert.equal(find(), undefined, 'another page')
  // What entries that are given up are filled with.
  write(0x4000_0000n, 0x0808_0808)
  assert.equal(find(), undefined)
  write(0x4000_0000n, layout.codeSlots - CODE_SLOT_BYTES)
  assert.equal(find(), undefined)
  tables.setUint32(layout.codeSlotPage + 3 * 4, 0xffff_ffff, true)
  write(0x4000_0000n, layout.codeSlots + 3 * CODE_SLOT_BYTES)
  assert.equal(find(), undefined, 'a slot that is free')
})

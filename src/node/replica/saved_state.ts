/** Snapshots of a protected machine, taken while it runs: the same files that `boot --save` writes. */
import { copyFrozen } from '../../host/frozen_copy.ts'
import { randomIdentity } from '../../host/overlay_files.ts'
import { writeSnapshot } from '../../host/snapshot_file.ts'
import { PAGE_BYTES } from '../../machine/layout.ts'
import { encodeMachineRecord, type MachineRecord } from '../machine_record.ts'
import { replaceSnapshot, requireReplaceableSnapshot } from '../saved_files.ts'
import { pagesOf } from './packed_pages.ts'
import type { Replica } from './replica.ts'

/**
 * Writes a snapshot to `path` and its disk beside it, whole or not at all; returns its position. The machine stands
 * still only while its state is copied. Throws a UserError if it cannot be taken or written.
 */
export async function saveState(
  replica: Replica,
  machine: MachineRecord,
  life: number,
  path: string,
): Promise<bigint> {
  await requireReplaceableSnapshot(path)
  const { state, pages, frontier, disk, release } = await replica.takeState()
  try {
    const generation = randomIdentity()
    const { nextIndex, position } = frontier
    const header = {
      machine: encodeMachineRecord(machine),
      ...{ position: `${position}`, nextIndex: `${nextIndex}`, life, generation },
    }
    const pageCount = machine.specification.ramBytes / PAGE_BYTES
    const ram = { pageBytes: PAGE_BYTES, pageCount, pages: pagesOf(pages) } as const
    await replaceSnapshot(path, async (staged) => {
      await copyFrozen(disk, staged.disk, generation)
      await writeSnapshot(staged.snapshot, { header, sections: new Map([['computer', state]]), ram })
    })
    return position
  } finally {
    release()
  }
}

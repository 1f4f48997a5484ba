/** What the observer notes of a record that a copy has applied. */
import { ByteWriter } from '../src/base/bytes.ts'
import { hash64 } from '../src/base/hash64.ts'
import { encodeRecord, RecordContext } from '../src/log/codec.ts'
import type { NewRecord } from '../src/log/record.ts'
import type { ReplicaPorts } from './replica_ports.ts'
import type { ToyMachine } from './toy_machine.ts'

const writer = new ByteWriter()

export function observeApplied(
  ports: ReplicaPorts,
  machine: ToyMachine,
  place: { readonly life: number; readonly index: bigint },
  record: NewRecord,
): void {
  if (!ports.isStateWatched) return
  writer.reset()
  encodeRecord(writer, new RecordContext(record.position), record)
  ports.observe({
    kind: 'applied',
    ...place,
    position: record.position,
    record: hash64(writer.written()),
    state: machine.stateDigest(),
  })
}

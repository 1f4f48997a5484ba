/**
 * What a machine is, as all its hosts must agree: `machine.json` beside the pair. Both copies are made from it, so
 * everything that the guest could see is in it, its seed and its network address included.
 */
import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { canonicalJson, type JsonObject } from '../../base/canonical_json.ts'
import { decodeMachineRecord, encodeMachineRecord, type MachineRecord, sha256 } from '../machine_record.ts'
import { checkAgainst, readStoredJson, writeStoredJson } from './stored_json.ts'

const schema = z.strictObject({
  kind: z.literal('understudy-machine'),
  version: z.literal(1),
  name: z.string().min(1),
  machine: z.record(z.string(), z.json()),
})

export interface MachineFile {
  readonly name: string
  readonly record: MachineRecord
}

/** Throws a UserError if there is none, a FormatError if it is not one. */
export function readMachineFile(path: string): MachineFile {
  return fromStored(readStoredJson(path, schema), path)
}

export async function writeMachineFile(path: string, file: MachineFile): Promise<void> {
  await writeStoredJson(path, encodeMachineFile(file))
}

/** As it is stored, and sent to other hosts. */
export function encodeMachineFile({ name, record }: MachineFile): JsonObject {
  return { kind: 'understudy-machine', version: 1, name, machine: encodeMachineRecord(record) }
}

/** Reads what `encodeMachineFile` made; `what` names it in errors. Throws a FormatError. */
export function decodeMachineFile(json: JsonObject, what: string): MachineFile {
  return fromStored(checkAgainst(schema, json, what), what)
}

function fromStored({ name, machine }: z.infer<typeof schema>, what: string): MachineFile {
  return { name, record: decodeMachineRecord(machine as JsonObject, what) }
}

/** Tells a machine from every other one: what two hosts compare before they talk. */
export function machineDigest({ record }: MachineFile): string {
  return sha256(Buffer.from(canonicalJson(encodeMachineRecord(record)))).slice(0, 32)
}

/** A locally administered address that no other machine has, in all likelihood. */
export function randomMac(): Uint8Array {
  const mac = Uint8Array.from(randomBytes(6))
  mac[0] = 0x52
  mac[1] = 0x54
  return mac
}

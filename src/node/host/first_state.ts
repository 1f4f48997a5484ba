/**
 * The state from which a machine starts for the first time, if not from power-on: a snapshot that belongs to its disk.
 *
 * It may be used once: as soon as the machine runs, its disk moves on, and an old RAM must never meet a newer disk. So the
 * file that names it is removed, durably, before the machine takes its first step; every later start is from power-on.
 */
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { UserError } from '../../base/errors.ts'
import { syncDirectory } from '../../host/atomic_file.ts'
import type { BaseImage } from '../../host/base_image.ts'
import type { MachineDirectory } from '../../host/machine_directory.ts'
import { openFrozenOverlay } from '../../host/overlay_disk.ts'
import { loadSnapshot, type PageConsumer } from '../../host/snapshot_file.ts'
import { diskBeside } from '../saved_files.ts'
import { readHeader } from '../session.ts'
import { readStoredJson, writeStoredJson } from './stored_json.ts'

const schema = z.strictObject({
  kind: z.literal('understudy-first-state'),
  version: z.literal(1),
  snapshot: z.string().min(1),
  /** Of the disk that it belongs to. */
  generation: z.string().min(1),
})

const pathIn = (directory: MachineDirectory): string => join(directory.path, 'first-state.json')

/** Makes a machine's disk of a snapshot's, as `generation`. Throws a UserError if the snapshot cannot be used. */
export async function createFromSnapshot(
  directory: MachineDirectory,
  base: BaseImage,
  snapshot: string,
  generation: string,
): Promise<void> {
  const header = await readHeader(snapshot)
  const frozen = await openFrozenOverlay(diskBeside(snapshot), base)
  try {
    frozen.requireGeneration(header.generation)
    await frozen.cloneTo(directory.diskPath, generation)
  } finally {
    await frozen.close()
  }
  const content = { kind: 'understudy-first-state', version: 1, snapshot, generation }
  await writeStoredJson(pathIn(directory), content)
}

/** The snapshot from which the machine is to start on the disk of this generation; undefined: from power-on. */
export function firstState(directory: MachineDirectory, generation: string): string | undefined {
  const path = pathIn(directory)
  if (!existsSync(path)) return undefined
  const first = readStoredJson(path, schema)
  return first.generation === generation ? first.snapshot : undefined
}

/** From now on the machine starts from power-on, durably. */
export async function dropFirstState(directory: MachineDirectory): Promise<void> {
  await rm(pathIn(directory), { force: true })
  await syncDirectory(directory.path)
}

/** Loads a snapshot's RAM page by page; returns the state of the computer without RAM. */
export async function loadState(snapshot: string, onPage: PageConsumer): Promise<Uint8Array> {
  const { sections } = await loadSnapshot(snapshot, () => onPage)
  const state = sections.get('computer')
  if (state === undefined) throw new UserError(`snapshot ${snapshot}: has no state of a computer`)
  return state
}

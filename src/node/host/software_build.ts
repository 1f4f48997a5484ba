/**
 * Which software a copy of a machine runs on. Two copies must execute every instruction alike, so hosts whose machine,
 * devices or protocol differ in any line refuse each other.
 */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** Folders whose code decides what a machine does and what copies say to each other. */
const FOLDERS = ['base', 'wasm', 'isa', 'machine', 'devices', 'board', 'log', 'replication'] as const

let known: string | undefined

/** A digest of that code. */
export function softwareBuild(): string {
  if (known !== undefined) return known
  const root = fileURLToPath(new URL('../../', import.meta.url))
  const hash = createHash('sha256')
  for (const folder of FOLDERS) {
    const isCode = (name: string): boolean => /\.[jt]s$/.test(name) && !/\.(test|d)\.[jt]s$/.test(name)
    for (const name of readdirSync(`${root}${folder}`, { recursive: true, encoding: 'utf8' }).sort()) {
      if (isCode(name)) hash.update(`${folder}/${name}\n`).update(readFileSync(`${root}${folder}/${name}`))
    }
  }
  known = hash.digest('hex').slice(0, 16)
  return known
}

/**
 * Where translated code is kept between the starts of machines: a directory beside an image, with a file for each kind of machine.
 *
 *     DIRECTORY/FINGERPRINT   magic "UNDKEPT\n" | SHA-256 of what follows, 32 bytes | the regions, compressed
 *
 * The fingerprint is of all that what is emitted depends on beside the guest's code: the programs that emit it, and the places of a
 * machine's tables, which differ with its memory and its harts. So a file is never read by another program than the one that has written
 * it. It makes machines faster and nothing else: one that cannot be read is replaced, and where none can be written, none is.
 */
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { deserialize, serialize } from 'node:v8'
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { encodeAscii } from '../base/text.ts'
import { writeFileAtomically } from '../host/atomic_file.ts'
import type { EmissionParts } from '../machine/translator/emission.ts'
import {
  type KeptBytes,
  type KeptPage,
  type KeptRegion,
  KeptRegions,
} from '../machine/translator/kept_regions.ts'

const MAGIC = encodeAscii('UNDKEPT\n')
const CHECKSUM_BYTES = 32
const FILE_BYTES_MAX = 64 << 20
const CONTENT_BYTES_MAX = 256 << 20
/** Files of so many kinds of machines are kept, the latest. */
const FILES_MAX = 4
/** Nobody writes for so long. */
const LEFT_MS = 3_600_000

const COMPRESSION = { params: { [constants.ZSTD_c_compressionLevel]: 1 } }

/** The folders with what emission is done by, and what it depends on. */
const SOURCES = ['base', 'isa', 'wasm', 'machine']

interface Content {
  /** The last machine that this was written for, counted from 1. */
  readonly machine: number
  readonly pages: readonly (readonly [bigint, KeptPage])[]
}

export class KeptRegionsFile {
  readonly regions: KeptRegions
  readonly #directory: string
  readonly #name: string
  #writing: Promise<void> | undefined

  private constructor(directory: string, name: string, regions: KeptRegions) {
    this.#directory = directory
    this.#name = name
    this.regions = regions
  }

  /**
   * Opens what a machine like this one has kept in the directory, which need not exist. If it has been opened for this machine before, by a
   * worker that has ended, the machine does not count as another one.
   */
  static open(directory: string, parts: EmissionParts, isAgain = false): KeptRegionsFile {
    const name = fingerprint(parts)
    const content = read(join(directory, name))
    const machine = Math.max(1, (content?.machine ?? 0) + (isAgain ? 0 : 1))
    return new KeptRegionsFile(directory, name, new KeptRegions(content?.pages, machine))
  }

  /** Writes what is kept, if there is something new. */
  async write(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing
    if (!this.regions.isChanged) return
    this.regions.isChanged = false
    // A directory in which nothing can be written keeps nothing.
    this.#writing = this.#write().catch(() => undefined)
    await this.#writing
    this.#writing = undefined
  }

  async #write(): Promise<void> {
    const content: Content = { machine: this.regions.machine, pages: this.regions.pages() }
    const stored = zstdCompressSync(serialize(content), COMPRESSION)
    const file = Buffer.concat([MAGIC, createHash('sha256').update(stored).digest(), stored])
    // Not the image's directory itself, which may have been removed.
    if (!existsSync(this.#directory)) await mkdir(this.#directory)
    await writeFileAtomically(join(this.#directory, this.#name), file)
    removeOld(this.#directory)
  }
}

/** What is in a file; undefined if there is none, or something else. */
function read(path: string): Content | undefined {
  try {
    if (statSync(path).size > FILE_BYTES_MAX) return undefined
    const file = readFileSync(path)
    const stored = file.subarray(MAGIC.length + CHECKSUM_BYTES)
    const checksum = createHash('sha256').update(stored).digest()
    if (!file.subarray(0, MAGIC.length + CHECKSUM_BYTES).equals(Buffer.concat([MAGIC, checksum])))
      return undefined
    const content = deserialize(zstdDecompressSync(stored, { maxOutputLength: CONTENT_BYTES_MAX })) as Content
    return { ...content, pages: content.pages.map(([hash, page]) => [hash, withOwnBytes(page)]) }
  } catch {
    return undefined
  }
}

/** As they are read, all arrays are parts of one, and whoever sends one of them to another thread sends all. */
function withOwnBytes({ regions, lastUsed }: KeptPage): KeptPage {
  const own = (kept: KeptBytes): KeptBytes => ({ ...kept, bytes: Uint8Array.from(kept.bytes) })
  const entries = [...regions].map(([entry, region]): [number, KeptRegion] => [
    entry,
    { ...region, source: own(region.source), others: region.others.map(own) },
  ])
  return { regions: new Map(entries), lastUsed }
}

/** Removes files of other kinds of machines but the latest, and what writers that have died have left. */
function removeOld(directory: string): void {
  const msOf = (name: string): number => statSync(join(directory, name)).mtimeMs
  const names = readdirSync(directory)
  const files = names.filter((name) => /^[0-9a-f]{32}$/.test(name))
  files.sort((one, other) => msOf(other) - msOf(one))
  const left = names.filter((name) => name.endsWith('.tmp') && msOf(name) < Date.now() - LEFT_MS)
  for (const name of [...files.slice(FILES_MAX), ...left]) rmSync(join(directory, name), { force: true })
}

/** A number of 128 bits, in hexadecimal. */
function fingerprint({ layout, linkage, memories: { tablePages, ramPages } }: EmissionParts): string {
  const hash = createHash('sha256').update(JSON.stringify({ layout, linkage, tablePages, ramPages }))
  return hash.update(digestOfSources()).digest('hex').slice(0, 32)
}

let sources: Uint8Array | undefined

/** A digest of the programs that emission is done by; it takes some milliseconds, once. */
export function digestOfSources(): Uint8Array {
  if (sources !== undefined) return sources
  const hash = createHash('sha256')
  const root = fileURLToPath(new URL('..', import.meta.url))
  for (const folder of SOURCES) {
    const names = readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.[jt]s$/.test(entry.name) && !entry.name.includes('.test.'))
      .map((entry) => join(entry.parentPath, entry.name))
    for (const path of names.sort()) hash.update(readFileSync(path)).update('\0')
  }
  sources = hash.digest()
  return sources
}

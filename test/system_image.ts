/**
 * The guest image that whole-system tests boot, kept in build/test-home and built again when what it is made of has
 * changed. Building needs apt and the mirror. Where they are missing, tests are skipped and say so; under CI they fail.
 */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { UserError } from '../src/base/errors.ts'
import { LockFile } from '../src/host/lock_file.ts'
import { buildDebianImage } from '../src/image/debian.ts'
import { imageNames, openImage, removeImage } from '../src/image/store.ts'
import type { ImageFiles } from '../src/node/session.ts'

const PACKAGES = [
  ...['redis-server', 'redis-tools', 'sqlite3', 'python3-minimal', '7zip', 'openssl', 'stress-ng'],
] as const
const SIZE = '512M'
const LOCK_RETRY_MS = 1000

/** UNDERSTUDY_HOME of whole-system tests. */
export const testHome = fileURLToPath(new URL('../build/test-home', import.meta.url))

/** The environment of processes that use the image. */
export const testEnvironment: NodeJS.ProcessEnv = { ...process.env, UNDERSTUDY_HOME: testHome }

export interface SystemImage {
  readonly name: string
  readonly files: ImageFiles
}

/** The image, or why there is none: then tests are skipped. Under CI the reason is thrown. */
export async function systemImage(): Promise<SystemImage | { readonly missing: string }> {
  try {
    return await findOrBuild()
  } catch (error) {
    if (process.env['CI'] === 'true' || !(error instanceof UserError)) throw error
    const missing = `NOT TESTED: there is no guest image, and none can be built: ${error.message}`
    console.error(missing)
    return { missing }
  }
}

async function findOrBuild(): Promise<SystemImage> {
  const name = `system-${contentDigest()}`
  mkdirSync(testHome, { recursive: true })
  const lock = await lockHome()
  try {
    if (!imageNames(testEnvironment).includes(name)) {
      await buildDebianImage({ name, packages: PACKAGES, size: SIZE, environment: testEnvironment })
      const isOld = (other: string): boolean => other.startsWith('system-') && other !== name
      for (const other of imageNames(testEnvironment).filter(isOld)) removeImage(other, testEnvironment)
    }
  } finally {
    await lock.release()
  }
  const { kernel, initramfs, disk } = openImage(name, testEnvironment).paths
  return { name, files: { name, kernel, initramfs, disk } }
}

/** Test files run side by side, each in a process of its own: one builds, the others wait. */
async function lockHome(): Promise<LockFile> {
  for (;;) {
    try {
      return await LockFile.acquire(join(testHome, 'lock'), 'the guest image of the tests')
    } catch (error) {
      if (!(error instanceof UserError) || !existsSync(join(testHome, 'lock'))) throw error
      await setTimeout(LOCK_RETRY_MS)
    }
  }
}

/** A digest of what makes the image: its packages, its size, and the code that builds it. */
function contentDigest(): string {
  const hash = createHash('sha256').update(`${PACKAGES.join(' ')} ${SIZE}`)
  const folder = fileURLToPath(new URL('../src/image', import.meta.url))
  for (const file of readdirSync(folder).sort()) {
    if (file.endsWith('.ts') && !file.endsWith('.test.ts')) hash.update(readFileSync(join(folder, file)))
  }
  return hash.digest('hex').slice(0, 12)
}

/**
 * Building a guest image from Debian packages, as an ordinary user: fetch and verify, unpack, add what a small guest
 * needs (guest.ts), and make a kernel, an initramfs and a disk of it. A build that fails leaves nothing behind but
 * downloaded packages. With SOURCE_DATE_EPOCH set, equal packages give equal bytes on one machine; on another the order of
 * files on the disk may differ, because mke2fs takes it from the directory.
 */
import { createHash } from 'node:crypto'
import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { UserError } from '../base/errors.ts'
import { Apt, type ResolvedPackage } from './apt.ts'
import { diskFullError, endCommands, requireCommand } from './command.ts'
import { makeFileSystem, parseSize } from './ext4.ts'
import { makeInitramfs } from './initramfs.ts'
import { readKernel } from './kernel.ts'
import { ARCHITECTURE, BASE_PACKAGES, KERNEL_PACKAGE, parsePackageNames, SUITE } from './packages.ts'
import { makeRootDirectory } from './rootfs.ts'
import { chooseMirror, parseMirror, readSources } from './sources.ts'
import {
  cacheDirectory,
  commitImage,
  IMAGE_FILES,
  openImage,
  parseImageName,
  type StoredImage,
  startImage,
  writeManifest,
} from './store.ts'

/**
 * The kernel's self tests of its ciphers run beside the first seconds of user space and take more than half of the
 * instructions of a boot; they test the kernel's build, which Debian has done.
 */
const COMMAND_LINE = 'root=/dev/vda rw cryptomgr.notests'

export type BuildStage = 'index' | 'download' | 'unpack' | 'kernel' | 'disk' | 'manifest'

/** How far a build is: `done` of `total` parts of the stage. */
export interface BuildProgress {
  readonly stage: BuildStage
  readonly done: number
  readonly total: number
}

export interface BuildOptions {
  /** The name of the image; `debian` by default. One that exists is replaced when the new one is complete. */
  readonly name?: string
  /** Debian packages beyond the base, with `=version` if need be. */
  readonly packages?: readonly string[]
  /** The size of the guest's disk, as `1G`, which is the default. */
  readonly size?: string
  /** Address of a Debian archive; by default the one that this machine's own apt uses. */
  readonly mirror?: string
  readonly environment?: NodeJS.ProcessEnv
  readonly onProgress?: (progress: BuildProgress) => void
  /** Ends the build, which then leaves as little behind as one that has failed. */
  readonly signal?: AbortSignal
}

interface BuildPlan {
  readonly name: string
  readonly requested: readonly string[]
  readonly sizeBytes: number
  readonly mirror: string
  readonly epoch: number
  readonly environment: NodeJS.ProcessEnv
  readonly report: (stage: BuildStage, done: number, total: number) => void
}

/** Builds an image and stores it. Throws a UserError for everything that this machine or the mirror lacks. */
export async function buildDebianImage(options: BuildOptions = {}): Promise<StoredImage> {
  const plan = planBuild(options)
  let directory: string | undefined
  options.signal?.addEventListener('abort', endCommands)
  try {
    const packages = await fetchPackages(plan)
    directory = startImage(plan.environment)
    await buildInto(directory, plan, packages)
    commitImage(directory, plan.name, plan.environment)
  } catch (error) {
    if (directory !== undefined) rmSync(directory, { recursive: true, force: true })
    throw (error as NodeJS.ErrnoException).code === 'ENOSPC' ? diskFullError() : error
  } finally {
    options.signal?.removeEventListener('abort', endCommands)
  }
  return openImage(plan.name, plan.environment)
}

function planBuild(options: BuildOptions): BuildPlan {
  const environment = options.environment ?? process.env
  return {
    name: parseImageName(options.name ?? 'debian'),
    requested: parsePackageNames(options.packages ?? []),
    sizeBytes: parseSize(options.size ?? '1G'),
    mirror: options.mirror === undefined ? chooseMirror(readSources()) : parseMirror(options.mirror),
    epoch: buildEpoch(environment),
    environment,
    report: (stage, done, total) => {
      options.signal?.throwIfAborted()
      options.onProgress?.({ stage, done, total })
    },
  }
}

/** The time that the image says it was built at (reproducible-builds.org's SOURCE_DATE_EPOCH, or now), in seconds. */
function buildEpoch(environment: NodeJS.ProcessEnv): number {
  const text = environment['SOURCE_DATE_EPOCH']
  if (text === undefined || text === '') return Math.floor(Date.now() / 1000)
  if (/^\d{1,11}$/.test(text)) return Number(text)
  throw new UserError(`SOURCE_DATE_EPOCH is '${text}': expected seconds since 1970`)
}

async function fetchPackages(plan: BuildPlan): Promise<ResolvedPackage[]> {
  const apt = new Apt(join(cacheDirectory(plan.environment), 'apt'), plan.mirror)
  await apt.update((percent) => plan.report('index', percent, 100))
  plan.report('index', 100, 100)
  const names = [...BASE_PACKAGES, KERNEL_PACKAGE, ...plan.requested]
  const packages = await apt.fetch(names, (percent) => plan.report('download', percent, 100))
  plan.report('download', 100, 100)
  return packages
}

async function buildInto(
  directory: string,
  plan: BuildPlan,
  packages: readonly ResolvedPackage[],
): Promise<void> {
  // The kernel's files go beside the disk; on it only if the user asks for the package, as for more modules.
  const isKernel = (one: ResolvedPackage) => /^linux-image-/.test(one.name)
  const wantsKernel = plan.requested.some((name) => name.startsWith('linux-image-'))
  const rootPackages = packages.filter((one) => wantsKernel || !isKernel(one))
  const rootPath = join(directory, 'root')
  const root = await makeRootDirectory(rootPath, rootPackages, plan.name, (count) =>
    plan.report('unpack', count, rootPackages.length),
  )

  plan.report('kernel', 0, 1)
  const busybox = readFileSync(join(rootPath, 'usr/bin/busybox'))
  const kernelRelease = await writeKernel(directory, packages.filter(isKernel), busybox)
  plan.report('kernel', 1, 1)

  plan.report('disk', 0, 1)
  const disk = join(directory, IMAGE_FILES.disk)
  const { sizeBytes, epoch } = plan
  await makeFileSystem(disk, root, { sizeBytes, epoch, uuid: uuidOf(packages) })
  rmSync(rootPath, { recursive: true })
  plan.report('disk', 1, 1)

  plan.report('manifest', 0, 1)
  await writeManifest(directory, {
    name: plan.name,
    created: new Date(epoch * 1000).toISOString(),
    system: `Debian 13 (${SUITE}) ${ARCHITECTURE}`,
    kernelRelease,
    commandLine: COMMAND_LINE,
    requested: plan.requested,
    packages: packages.map(({ name, version }) => ({ name, version })),
  })
  plan.report('manifest', 1, 1)
}

/** Writes kernel and initramfs, and returns the kernel's release. */
async function writeKernel(
  directory: string,
  packages: readonly ResolvedPackage[],
  busybox: Uint8Array,
): Promise<string> {
  const unpacked = join(directory, 'kernel-package')
  for (const one of packages) await requireCommand('dpkg-deb', ['-x', one.path, unpacked])
  const kernel = await readKernel(unpacked)
  rmSync(unpacked, { recursive: true })
  writeFileSync(join(directory, IMAGE_FILES.kernel), kernel.image)
  writeFileSync(join(directory, IMAGE_FILES.initramfs), makeInitramfs(busybox, kernel.modules))
  chmodSync(directory, 0o755)
  return kernel.release
}

/** A UUID (RFC 9562, version 8) that is the same for the same packages. */
function uuidOf(packages: readonly ResolvedPackage[]): string {
  const list = packages.map((one) => `${one.name} ${one.version}\n`).join('')
  const hex = createHash('sha256').update(list).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}

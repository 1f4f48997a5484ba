/**
 * Where images are kept: a directory each, with the kernel, the initramfs, the disk and a manifest.
 *
 *     HOME/images/NAME/{kernel, initramfs, disk.ext4, manifest.json}
 *
 * HOME is UNDERSTUDY_HOME, or understudy/ below XDG_DATA_HOME (~/.local/share). An image is built in a directory beside
 * the others whose name starts with a dot, and moved to its name when it is complete: what has a name is whole.
 */
import { createHash } from 'node:crypto'
import {
  createReadStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { FormatError, UserError } from '../base/errors.ts'
import { allocatedBytes } from './ext4.ts'

const KIND = 'understudy-image'
const VERSION = 1
const MANIFEST_BYTES_MAX = 4 * 2 ** 20

/** The files of an image, by their part. */
export const IMAGE_FILES = { kernel: 'kernel', initramfs: 'initramfs', disk: 'disk.ext4' } as const
export type ImagePart = keyof typeof IMAGE_FILES

export interface FileRecord {
  readonly file: string
  readonly bytes: number
  /** In hexadecimal. */
  readonly sha256: string
}

/** What an image says about itself, in its manifest.json. */
export interface Manifest {
  readonly kind: typeof KIND
  readonly version: typeof VERSION
  readonly name: string
  /** When it was built, ISO 8601; SOURCE_DATE_EPOCH if that is set. */
  readonly created: string
  /** As `Debian 13 (trixie) riscv64`. */
  readonly system: string
  readonly kernelRelease: string
  /** Kernel parameters that it needs, but for the console. */
  readonly commandLine: string
  /** What the user asked for beyond the base. */
  readonly requested: readonly string[]
  readonly packages: readonly { readonly name: string; readonly version: string }[]
  readonly files: Readonly<Record<ImagePart, FileRecord>>
}

/** An image on this machine. */
export interface StoredImage {
  readonly name: string
  readonly directory: string
  readonly manifest: Manifest
  /** Bytes that it takes on this machine's disk; the guest's disk is a sparse file. */
  readonly allocatedBytes: number
  /** Paths of the kernel, the initramfs and the disk. */
  readonly paths: Readonly<Record<ImagePart, string>>
}

/** The directory that holds all images. */
export function imagesDirectory(environment: NodeJS.ProcessEnv = process.env): string {
  const data = environment['XDG_DATA_HOME'] || join(environment['HOME'] || homedir(), '.local/share')
  return join(environment['UNDERSTUDY_HOME'] || join(data, 'understudy'), 'images')
}

/** The directory for downloaded packages: understudy/ below XDG_CACHE_HOME (~/.cache). */
export function cacheDirectory(environment: NodeJS.ProcessEnv = process.env): string {
  return join(environment['XDG_CACHE_HOME'] || join(environment['HOME'] || homedir(), '.cache'), 'understudy')
}

/** Checks the name of an image. Throws a UserError. */
export function parseImageName(name: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(name)) return name
  throw new UserError(
    `'${name}' cannot be the name of an image: use up to 63 letters, digits, '.', '_' and '-'`,
  )
}

/** The names of all images, sorted. */
export function imageNames(environment?: NodeJS.ProcessEnv): string[] {
  const directory = imagesDirectory(environment)
  if (!existsSync(directory)) return []
  const names = readdirSync(directory).filter((name) => !name.startsWith('.'))
  return names.filter((name) => existsSync(join(directory, name, 'manifest.json'))).sort()
}

/** All images, sorted by name. Throws a FormatError if one is damaged. */
export function listImages(environment?: NodeJS.ProcessEnv): StoredImage[] {
  return imageNames(environment).map((name) => openImage(name, environment))
}

/** The image called `name`. Throws a UserError that lists those that exist, or a FormatError if it is damaged. */
export function openImage(name: string, environment?: NodeJS.ProcessEnv): StoredImage {
  const directory = existingDirectory(name, environment)
  const manifest = readManifest(join(directory, 'manifest.json'))
  const paths = Object.fromEntries(
    Object.entries(manifest.files).map(([part, record]) => [part, join(directory, record.file)]),
  ) as Record<ImagePart, string>
  for (const [part, record] of Object.entries(manifest.files)) {
    const found = statSync(paths[part as ImagePart], { throwIfNoEntry: false })
    if (found?.size === record.bytes) continue
    const what = found === undefined ? 'is missing' : `has ${found.size} bytes instead of ${record.bytes}`
    throw new FormatError(`image ${name} is damaged: ${join(directory, record.file)} ${what}: build it again`)
  }
  const allocated = Object.values(paths).reduce((sum, path) => sum + allocatedBytes(path), 0)
  return { name, directory, manifest, allocatedBytes: allocated, paths }
}

/** Reads the image's files whole. Throws a FormatError that names the first one whose digest is another. */
export async function verifyImage(image: StoredImage): Promise<void> {
  for (const [part, record] of Object.entries(image.manifest.files)) {
    const path = image.paths[part as ImagePart]
    if ((await sha256OfFile(path)) === record.sha256) continue
    throw new FormatError(
      `image ${image.name} is damaged: ${path} has changed since it was built: build it again`,
    )
  }
}

/** Removes an image. Throws a UserError if there is none of that name. */
export function removeImage(name: string, environment?: NodeJS.ProcessEnv): void {
  const directory = existingDirectory(name, environment)
  // Out of its name first, so that a removal cut short leaves no half of an image.
  const removed = join(imagesDirectory(environment), `.removed-${process.pid}`)
  renameSync(directory, removed)
  rmSync(removed, { recursive: true, force: true })
}

/** A new, empty directory to build an image in; what dead builds left behind is removed on the way. */
export function startImage(environment?: NodeJS.ProcessEnv): string {
  const images = imagesDirectory(environment)
  mkdirSync(images, { recursive: true })
  for (const name of readdirSync(images)) {
    const owner = /^\.(?:building|removed)-(\d+)$/.exec(name)?.[1]
    const isDead = owner !== undefined && (Number(owner) === process.pid || !existsProcess(Number(owner)))
    if (isDead) rmSync(join(images, name), { recursive: true, force: true })
  }
  const directory = join(images, `.building-${process.pid}`)
  mkdirSync(directory)
  return directory
}

/** Gives a completely built directory its name, in the place of the image that had it. */
export function commitImage(directory: string, name: string, environment?: NodeJS.ProcessEnv): string {
  const target = join(imagesDirectory(environment), name)
  const replaced = join(imagesDirectory(environment), `.removed-${process.pid}`)
  if (existsSync(target)) renameSync(target, replaced)
  renameSync(directory, target)
  rmSync(replaced, { recursive: true, force: true })
  return target
}

/** Writes the manifest of the files in `directory`. */
export async function writeManifest(
  directory: string,
  description: Omit<Manifest, 'kind' | 'version' | 'files'>,
): Promise<void> {
  const files: Partial<Record<ImagePart, FileRecord>> = {}
  for (const [part, file] of Object.entries(IMAGE_FILES)) {
    const path = join(directory, file)
    files[part as ImagePart] = { file, bytes: statSync(path).size, sha256: await sha256OfFile(path) }
  }
  const manifest = { kind: KIND, version: VERSION, ...description, files }
  writeFileSync(join(directory, 'manifest.json'), `${JSON.stringify(manifest, undefined, 2)}\n`)
}

/** Reads and checks a manifest. Throws a FormatError. */
export function parseManifest(text: string, where: string): Manifest {
  const fail = (what: string) => new FormatError(`${where} is not the manifest of an image: ${what}`)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw fail('it is not JSON')
  }
  if (!isRecord(value) || value['kind'] !== KIND) throw fail(`its kind is not ${KIND}`)
  if (value['version'] !== VERSION) {
    throw fail(`it has version ${String(value['version'])}, this program reads version ${VERSION}`)
  }
  const strings = ['name', 'created', 'system', 'kernelRelease', 'commandLine']
  const wrong = strings.find((field) => typeof value[field] !== 'string')
  if (wrong !== undefined) throw fail(`${wrong} is not a text`)
  if (!Array.isArray(value['requested']) || !value['requested'].every((name) => typeof name === 'string')) {
    throw fail('requested is not a list of names')
  }
  if (!Array.isArray(value['packages']) || !value['packages'].every(isPackage))
    throw fail('packages is not a list of packages')
  if (!isRecord(value['files'])) throw fail('files is missing')
  for (const [part, file] of Object.entries(IMAGE_FILES)) {
    if (!isFileRecord(value['files'][part], file)) throw fail(`files.${part} is not a record of ${file}`)
  }
  return value as unknown as Manifest
}

function readManifest(path: string): Manifest {
  const { size } = statSync(path)
  if (size > MANIFEST_BYTES_MAX)
    throw new FormatError(`${path} is not the manifest of an image: it has ${size} bytes`)
  return parseManifest(readFileSync(path, 'utf8'), path)
}

function existingDirectory(name: string, environment?: NodeJS.ProcessEnv): string {
  const names = imageNames(environment)
  if (names.includes(name)) return join(imagesDirectory(environment), name)
  const others = names.length === 0 ? 'there are none yet: build one' : `there are ${names.join(', ')}`
  throw new UserError(`there is no image '${name}' (${others})`)
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isPackage(value: unknown): boolean {
  return isRecord(value) && typeof value['name'] === 'string' && typeof value['version'] === 'string'
}

function isFileRecord(value: unknown, file: string): boolean {
  if (!isRecord(value) || value['file'] !== file) return false
  const bytes = value['bytes']
  return (
    Number.isSafeInteger(bytes) && (bytes as number) >= 0 && /^[0-9a-f]{64}$/.test(String(value['sha256']))
  )
}

function existsProcess(identifier: number): boolean {
  try {
    process.kill(identifier, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

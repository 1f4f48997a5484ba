/**
 * The kernel and its modules, taken out of a Debian kernel package. The modules that a guest needs before it has a
 * root file system are unpacked here, at build time, and put in the order in which they must be loaded: the package
 * has no modules.dep (its installation script would make it), so the order comes from the modules' own .modinfo.
 *
 * Their signatures are cut off. Checking one costs the guest hundreds of millions of instructions at every boot, and
 * the kernel is not configured to insist: it marks itself as tainted ('E') and loads the module.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { UserError } from '../base/errors.ts'
import { requireCommand } from './command.ts'

/** What the guest needs to reach its disk, its network and its entropy; a kernel may have some of it built in. */
const WANTED_MODULES: readonly string[] = [
  'virtio_mmio',
  // ext4 asks for this by its algorithm's name, which .modinfo does not tell.
  'crc32c_generic',
  'ext4',
  'virtio_blk',
  'virtio_net',
  'virtio_rng',
]

const SIGNATURE_MARK = Buffer.from('~Module signature appended~\n')
const SIGNATURE_INFORMATION_BYTES = 12

/** A kernel module as it goes into the initramfs: name without suffix, content without compression or signature. */
export interface KernelModule {
  readonly name: string
  readonly content: Uint8Array
}

export interface Kernel {
  /** The release, as `uname -r` prints it. */
  readonly release: string
  /** An Image that a RISC-V boot loader starts (Documentation/arch/riscv/boot-image-header.rst). */
  readonly image: Uint8Array
  /** In the order of loading. */
  readonly modules: readonly KernelModule[]
}

/** Reads the kernel out of an unpacked kernel package. */
export async function readKernel(root: string): Promise<Kernel> {
  const release = readdirSync(join(root, 'usr/lib/modules'))[0]
  if (release === undefined) throw new UserError('the kernel package holds no modules')
  const image = readFileSync(join(root, 'boot', `vmlinux-${release}`))
  if (image.toString('latin1', 0x38, 0x3c) !== 'RSC\x05') {
    throw new UserError(`the kernel ${release} is not an uncompressed RISC-V image`)
  }
  return { release, image, modules: await readModules(join(root, 'usr/lib/modules', release)) }
}

/** The dependencies that a module's .modinfo names. */
export function moduleDependencies(content: Uint8Array): string[] {
  const text = Buffer.from(content.buffer, content.byteOffset, content.byteLength).toString('latin1')
  const match = /(?:^|\0)depends=([^\0]*)\0/.exec(text)
  return (match?.[1] ?? '').split(',').filter(Boolean).map(canonicalName)
}

/** A module without the signature at its end (struct module_signature in the kernel's sources). */
export function withoutSignature(module: Uint8Array): Uint8Array {
  const content = Buffer.from(module.buffer, module.byteOffset, module.byteLength)
  const mark = content.length - SIGNATURE_MARK.length
  if (mark < SIGNATURE_INFORMATION_BYTES || !content.subarray(mark).equals(SIGNATURE_MARK)) return content
  const signatureBytes = content.readUInt32BE(mark - 4)
  return content.subarray(0, Math.max(0, mark - SIGNATURE_INFORMATION_BYTES - signatureBytes))
}

/** Orders `wanted` and all they need so that each module comes after its dependencies; names not found are left out. */
export async function loadOrder(
  wanted: readonly string[],
  read: (name: string) => Promise<Uint8Array | undefined>,
): Promise<KernelModule[]> {
  const ordered: KernelModule[] = []
  const seen = new Set<string>()
  const visit = async (name: string): Promise<void> => {
    if (seen.has(name)) return
    seen.add(name)
    const content = await read(name)
    if (content === undefined) return
    for (const dependency of moduleDependencies(content)) await visit(dependency)
    ordered.push({ name, content })
  }
  for (const name of wanted) await visit(canonicalName(name))
  return ordered
}

async function readModules(directory: string): Promise<KernelModule[]> {
  const paths = new Map<string, string>()
  for (const path of readdirSync(join(directory, 'kernel'), { recursive: true, encoding: 'utf8' })) {
    const name = /([^/]+)\.ko(\.xz)?$/.exec(path)?.[1]
    if (name !== undefined) paths.set(canonicalName(name), join(directory, 'kernel', path))
  }
  return loadOrder(WANTED_MODULES, async (name) => {
    const path = paths.get(name)
    if (path === undefined) return undefined
    const packed = path.endsWith('.xz')
    return withoutSignature(packed ? await requireCommand('xz', ['-dc', path]) : readFileSync(path))
  })
}

/** File names write '-' where the kernel says '_'. */
function canonicalName(name: string): string {
  return name.replaceAll('-', '_')
}

/** What a replica of a small machine is made of, in a directory of its own. */
import type { BaseImage } from '../../host/base_image.ts'
import { MachineProgress } from '../../host/heartbeat_memory.ts'
import { MachineDirectory } from '../../host/machine_directory.ts'
import type { OverlayDisk } from '../../host/overlay_disk.ts'
import { randomIdentity } from '../../host/overlay_files.ts'
import { digestsOf, type ImageFiles } from '../boot_files.ts'
import type { ReplicaOptions } from '../replica/replica.ts'

export type SmallReplica = Omit<
  ReplicaOptions,
  'give' | 'joinGeneration' | 'diskLimitMs' | 'onNotice' | 'onFailed'
>

let machines = 0

/** Makes a directory in `folder`, which has to be closed, with a disk in it if there is to be one. */
export async function smallReplica(
  folder: string,
  image: ImageFiles,
  base: BaseImage,
  hasDisk = true,
): Promise<SmallReplica> {
  const directory = await MachineDirectory.open(folder, `small${machines++}`, () => {})
  const disk: OverlayDisk | undefined = hasDisk
    ? await directory.createDisk(base, randomIdentity())
    : undefined
  const { kernel, initramfs } = digestsOf(image, base)
  const specification = {
    ...{ harts: 1, ramBytes: 64 * 2 ** 20, bootArguments: '', rngSeed: new Uint8Array(32) },
    diskSectors: base.sectors,
    mac: Uint8Array.of(0x52, 0x54, 0, 0, 0, 1),
  }
  const thread = {
    ...{ specification, image, kernelDigest: kernel, initramfsDigest: initramfs },
    ...{ flushMs: 1, progress: new MachineProgress(), translation: 'hot' as const },
  }
  return { thread, directory, base, disk }
}

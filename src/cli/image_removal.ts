/** `understudy image rm`: removes images, and what their guests have written. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { allocatedBytes } from '../image/ext4.ts'
import { imageNames, parseImageName, removeImage } from '../image/store.ts'
import { guestDisks, removeGuestDisk } from '../node/guest_disks.ts'
import { formatSize } from './arguments.ts'
import { EXIT_CODE } from './exit_codes.ts'
import { CommandError } from './failure.ts'
import { disksDirectory } from './image_files.ts'
import { printJson, writeOutput } from './standard_streams.ts'

interface RemovalOptions {
  readonly disks?: true
  readonly json?: true
}

const HELP = `
What the guests of an image have written is on a disk that is of no use without the image (see 'boot --help'). So an
image with such a disk is removed only together with it, and only if --disks says so. Disks of earlier builds of the
image are then removed as well; disks that were named with 'boot --disk' never are.

Examples:
  understudy image rm debian
  understudy image rm debian --disks`

/** Gives the command its arguments, options, help and action. */
export function defineRemoval(command: Command): void {
  command
    .description('Removes images.')
    .argument('<NAME...>', 'the images')
    .option('--disks', 'remove what their guests have written, too')
    .option('--json', 'print JSON')
    .addHelpText('after', HELP)
    .action(remove)
}

async function remove(names: readonly string[], options: RemovalOptions): Promise<void> {
  const [removed, disks]: [string[], string[]] = [[], []]
  for (const name of new Set(names)) {
    const found = guestDisks(disksDirectory(), parseImageName(name))
    if (options.disks !== true) requireNoDisks(name, found)
    // The disks first: one may be in use, and then the image is as well.
    for (const disk of found) {
      const size = formatSize(bytesOf(disk))
      await removeGuestDisk(disk)
      disks.push(disk)
      if (!options.json) writeOutput(`removed ${disk}, ${size}\n`)
    }
    // An image that is gone may have left disks behind.
    if (found.length > 0 && !imageNames().includes(name)) continue
    removeImage(name)
    removed.push(name)
    if (!options.json) writeOutput(`removed ${name}\n`)
  }
  if (options.json) printJson({ removed, disks })
}

function requireNoDisks(name: string, disks: readonly string[]): void {
  if (disks.length === 0) return
  const size = formatSize(disks.reduce((sum, disk) => sum + bytesOf(disk), 0))
  throw new CommandError(
    `guests of image ${name} have written ${size} to ${disks.join(' and ')}: give --disks to remove that as well`,
    EXIT_CODE.failure,
  )
}

/** What a disk takes here. */
function bytesOf(disk: string): number {
  return readdirSync(disk).reduce((sum, file) => sum + allocatedBytes(join(disk, file)), 0)
}

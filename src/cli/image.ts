/** `understudy image`: builds, lists, shows and removes guest images. */
import type { Command } from 'commander'
import type { BuildOptions, BuildProgress, BuildStage } from '../image/debian.ts'
import type { StoredImage } from '../image/store.ts'
import { formatSize } from './arguments.ts'
import { defineRemoval } from './image_removal.ts'
import { ProgressBar } from './progress_bar.ts'
import { printJson, writeOutput } from './standard_streams.ts'

interface JsonOption {
  readonly json?: true
}

interface BuildCommandOptions extends JsonOption {
  readonly name: string
  readonly packages?: readonly string[]
  readonly size: string
  readonly mirror?: string
}

const STAGES: Readonly<Record<BuildStage, string>> = {
  index: 'package index',
  download: 'packages',
  unpack: 'unpacking',
  kernel: 'kernel and initramfs',
  disk: 'disk',
  manifest: 'checksums',
}

/** What ends a build, after it has removed what is not complete. */
const ENDING_SIGNALS: readonly NodeJS.Signals[] = ['SIGHUP', 'SIGINT', 'SIGTERM']

const JSON_DESCRIPTION = 'print JSON'

const HELP = `
Images are kept in images/ below $UNDERSTUDY_HOME, or below understudy/ in $XDG_DATA_HOME (~/.local/share); what their
guests write, in disks/ there.

Examples:
  understudy image build debian --packages redis-server,python3
  understudy image ls
  understudy image info debian --json
  understudy image rm debian`

const BUILD_HELP = `
Fetches from the Debian mirror among this machine's apt sources; packages are verified by apt with the Debian archive
keyring, and cached. Needs no root. An image of the same name is replaced when the new one is complete. What guests of
the old one have written does not fit the new one; it stays on a disk of its own until 'image rm NAME --disks'.

Examples:
  understudy image build debian
  understudy image build debian --name database --packages postgresql,sqlite3 --size 4G
  understudy image build debian --mirror http://deb.example.org/debian`

export function define(command: Command): void {
  command.description('Builds and keeps guest images.').addHelpText('after', HELP)
  defineBuild(command.command('build').summary('build an image'))
  command
    .command('ls')
    .summary('list the images on this machine')
    .description('Lists the images on this machine.')
    .option('--json', JSON_DESCRIPTION)
    .addHelpText('after', '\nExamples:\n  understudy image ls\n  understudy image ls --json')
    .action(list)
  command
    .command('info')
    .summary('show an image')
    .description('Shows an image: its files, its kernel and its packages.')
    .argument('<NAME>', 'the image')
    .option('--verify', 'read its files and compare their checksums')
    .option('--json', JSON_DESCRIPTION)
    .addHelpText(
      'after',
      '\nExamples:\n  understudy image info debian\n  understudy image info debian --verify',
    )
    .action(info)
  defineRemoval(command.command('rm').summary('remove images'))
}

function defineBuild(command: Command): void {
  command
    .description('Builds an image.')
    .addHelpText(
      'after',
      '\nExamples:\n  understudy image build debian\n  understudy image build debian --help',
    )
  command
    .command('debian')
    .summary('build an image from Debian packages')
    .description('Builds an image of Debian 13 (trixie) for riscv64: kernel, initramfs and disk.')
    .option('--name <NAME>', 'what to call the image', 'debian')
    .option('--packages <NAME,...>', 'Debian packages beyond the base', splitNames)
    .option('--size <SIZE>', "the guest's disk", '1G')
    .option('--mirror <URL>', 'address of a Debian archive')
    .option('--json', JSON_DESCRIPTION)
    .addHelpText('after', BUILD_HELP)
    .action(build)
}

/** The names in a list divided by commas; the option may be given more than once. */
function splitNames(text: string, previous: readonly string[] = []): string[] {
  return [...previous, ...text.split(',').map((name) => name.trim())].filter((name) => name !== '')
}

/** Builds a Debian image, with a bar on the terminal. */
export async function buildWithProgress(request: BuildOptions): Promise<StoredImage> {
  const { buildDebianImage } = await import('../image/debian.ts')
  const bar = new ProgressBar(process.stderr)
  const interruption = new AbortController()
  let received: NodeJS.Signals | undefined
  const onSignal = (signal: NodeJS.Signals): void => {
    received ??= signal
    interruption.abort()
  }
  for (const signal of ENDING_SIGNALS) process.once(signal, onSignal)
  const onProgress = ({ stage, done, total }: BuildProgress): void => bar.update(STAGES[stage], done, total)
  try {
    return await buildDebianImage({ ...request, onProgress, signal: interruption.signal })
  } finally {
    for (const signal of ENDING_SIGNALS) process.off(signal, onSignal)
    bar.finish()
    // Everything is cleaned up: the signal does now what it does without us.
    if (received !== undefined) process.kill(process.pid, received)
  }
}

async function build(options: BuildCommandOptions): Promise<void> {
  const { name, packages, size, mirror } = options
  const request: BuildOptions = {
    name,
    size,
    ...(packages && { packages }),
    ...(mirror !== undefined && { mirror }),
  }
  const image = await buildWithProgress(request)
  if (options.json) printJson(description(image))
  else writeOutput(`built ${image.name}: ${summary(image)}, in ${image.directory}\n`)
}

async function list(options: JsonOption): Promise<void> {
  const { listImages } = await import('../image/store.ts')
  const images = listImages()
  if (options.json) return printJson(images.map(description))
  if (images.length === 0) writeOutput('no images yet: understudy image build debian\n')
  const width = Math.max(0, ...images.map((image) => image.name.length))
  for (const image of images) writeOutput(`${image.name.padEnd(width)}  ${summary(image)}\n`)
}

async function info(name: string, options: JsonOption & { readonly verify?: true }): Promise<void> {
  const { openImage, verifyImage } = await import('../image/store.ts')
  const image = openImage(name)
  if (options.verify) await verifyImage(image)
  if (options.json) return printJson(description(image))
  const { manifest, paths } = image
  const lines = [
    ['name', image.name],
    ['system', manifest.system],
    ['kernel', manifest.kernelRelease],
    ['created', manifest.created],
    ['disk size', formatSize(manifest.files.disk.bytes)],
    ['takes here', formatSize(image.allocatedBytes)],
    ['requested', manifest.requested.join(', ') || 'nothing beyond the base'],
    ['packages', `${manifest.packages.length}`],
    ...Object.entries(paths).map(([part, path]) => [`file ${part}`, path]),
    ...(options.verify ? [['verified', 'the files are as they were built']] : []),
  ]
  for (const [label, value] of lines) writeOutput(`${`${label}:`.padEnd(16)}${value}\n`)
}

function summary({ manifest, allocatedBytes }: StoredImage): string {
  const { system, kernelRelease, created, files } = manifest
  const sizes = `disk ${formatSize(files.disk.bytes)}, takes ${formatSize(allocatedBytes)}`
  return `${system}, kernel ${kernelRelease}, ${sizes}, built ${created.slice(0, 10)}`
}

/** An image as JSON: the paths of its files, and what its manifest says. */
function description(image: StoredImage): object {
  const { name, directory, allocatedBytes, paths, manifest } = image
  const { system, kernelRelease, commandLine, created, requested, packages, files } = manifest
  return {
    name,
    directory,
    ...paths,
    diskBytes: files.disk.bytes,
    allocatedBytes,
    system,
    kernelRelease,
    commandLine,
    created,
    requested,
    packages,
    sha256: { kernel: files.kernel.sha256, initramfs: files.initramfs.sha256, disk: files.disk.sha256 },
  }
}

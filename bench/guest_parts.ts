/** The parts of the bench that boot Debian and run no program in it: boot, idling, snapshots. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { imageFiles } from '../src/cli/image_files.ts'
import { buildDebianImage } from '../src/image/debian.ts'
import { imageNames, openImage, type StoredImage } from '../src/image/store.ts'
import type { Translation } from '../src/machine/machine_options.ts'
import { GUEST_FOLDER, imageWithFiles } from './guest_disk.ts'
import type { MachineNote } from './machine_process.ts'
import { cpuPercent, type GuestRun, type MachineRun, runOurs, runQemu } from './machines.ts'
import type { Mark } from './marks.ts'
import { type Figure, figure, type Goals } from './results.ts'
import { PACKAGES, QUIET_KERNEL } from './workloads.ts'

const IMAGE = 'bench'
const MB = 1e6
const MILLION = 1e6

/** What every part is given. */
export interface BenchOptions {
  /** Whether the same is measured on QEMU. */
  readonly withQemu: boolean
  /** Which code our machine translates, in the parts that do not measure both. */
  readonly translation: Translation
  /** The directory in which machines of a part keep what they have translated for the next round; without it each is as the first. */
  readonly translations?: string
  readonly repeat: number
  readonly say: (text: string) => void
}

/** The image of the bench; built on the first run, and again when it lacks a package. */
export async function benchImage({ say }: BenchOptions): Promise<StoredImage> {
  if (imageNames().includes(IMAGE)) {
    const image = openImage(IMAGE)
    if (PACKAGES.every((name) => image.manifest.requested.includes(name))) return image
  }
  say(`building image ${IMAGE} (once)`)
  return buildDebianImage({ name: IMAGE, packages: PACKAGES })
}

/** A guest of the bench's image that runs a command. */
async function guestOf(
  options: BenchOptions,
  {
    command,
    parameters = '',
    translation = options.translation,
  }: Pick<GuestRun, 'command'> & Partial<Pick<GuestRun, 'parameters' | 'translation'>>,
): Promise<GuestRun> {
  const image = await benchImage(options)
  const all = `${image.manifest.commandLine} ${parameters}`
  return { image: imageFiles(image), parameters: all, command, translation, ...keepOf(options) }
}

/** Where a guest's translations are kept. */
export const keepOf = ({ translations }: BenchOptions): Pick<GuestRun, 'translations'> =>
  translations === undefined ? {} : { translations }

/** One that runs a script, which is written into `folder`; the files `others` of that folder are beside it. */
export async function scriptGuest(
  options: BenchOptions,
  folder: string,
  script: string,
  others: readonly string[] = [],
): Promise<GuestRun> {
  const stored = await benchImage(options)
  writeFileSync(join(folder, 'script'), script)
  return {
    image: await imageWithFiles(imageFiles(stored), folder, ['script', ...others]),
    translation: options.translation,
    ...keepOf(options),
    parameters: `${stored.manifest.commandLine} ${QUIET_KERNEL}`,
    command: `cd /tmp;PATH=$PATH:/usr/lib/7zip:${GUEST_FOLDER} sh ${GUEST_FOLDER}/script`,
  }
}

/** Samples by name. */
export class Samples {
  readonly #lists = new Map<string, number[]>()

  add(name: string, value: number): void {
    this.#lists.set(name, [...this.of(name), value])
  }

  of(name: string): readonly number[] {
    return this.#lists.get(name) ?? []
  }
}

/** What machines said about their memory. */
export class MemorySamples {
  readonly #samples = new Samples()

  add(notes: readonly MachineNote[]): void {
    for (const note of notes) {
      if (!('rssBytes' in note)) continue
      this.#samples.add('rss', note.rssBytes / MB)
      if (note.guestBytes !== undefined) this.#samples.add('beyond', (note.rssBytes - note.guestBytes) / MB)
    }
  }

  figures(part: string, when = ''): Figure[] {
    const beyond = this.#samples.of('beyond')
    return [
      figure({ part, name: `resident memory${when}`, unit: 'MB' }, this.#samples.of('rss')),
      ...(beyond.length > 0
        ? [figure({ part, name: `of it not guest RAM${when}`, unit: 'MB' }, beyond)]
        : []),
    ]
  }
}

/** How fast the machine should be there; 1.2 would do. */
const BOOT_GOAL = { qemu: 1 }

/** From the start of the process to the first line of the command, and to the end of `--run true`. */
export async function measureBoot(options: BenchOptions): Promise<Figure[]> {
  const guest = await guestOf(options, { command: 'echo @up', translation: 'off' })
  const [interpreted, translated, qemu] = [new Samples(), new Samples(), new Samples()]
  for (let round = 1; round <= options.repeat; round++) {
    options.say(`boot, round ${round} of ${options.repeat}`)
    addBoot(interpreted, await runOurs('run', guest))
    addBoot(translated, await runOurs('run', { ...guest, translation: 'hot' }))
    if (options.withQemu) addBoot(qemu, await runQemu(guest))
  }
  const seconds = (name: string, key: string, tier: Samples, goals?: Goals): Figure =>
    figure({ part: 'boot', name, unit: 's', goals }, tier.of(key), { qemu: qemu.of(key) })
  return [
    seconds('to the first command', 'up', interpreted),
    seconds('to the first command, translated', 'up', translated, BOOT_GOAL),
    seconds('to power-off', 'end', interpreted),
    seconds('to power-off, translated', 'end', translated),
    figure({ part: 'boot', name: 'steps to the first command', unit: 'M' }, interpreted.of('steps')),
  ]
}

function addBoot(samples: Samples, { startMs, endMs, notes }: MachineRun<MachineNote | Mark>): void {
  const mark = notes.find((note) => 'mark' in note)!
  samples.add('up', (mark.ms - startMs) / 1000)
  samples.add('end', (endMs - startMs) / 1000)
  if ('steps' in mark) samples.add('steps', mark.steps / MILLION)
}

const IDLE_MS = 20_000
const SETTLE_MS = 3000

/** Percent of a core that an idle Debian takes, once. */
export async function measureIdle(options: BenchOptions): Promise<Figure[]> {
  options.say('idle Debian')
  const guest = await guestOf(options, { command: 'echo @idle; sleep 1000', parameters: QUIET_KERNEL })
  const { notes } = await runOurs('idle', guest)
  const ours = notes.flatMap((note) => ('idlePercent' in note ? [note.idlePercent] : []))
  const memory = new MemorySamples()
  memory.add(notes)
  const qemu: number[] = []
  if (options.withQemu) {
    await runQemu(guest, async (_mark, processId) => {
      await sleep(SETTLE_MS)
      qemu.push(await cpuPercent(processId, IDLE_MS))
      return 'end'
    })
  }
  const place = { part: 'idle', name: 'CPU time', unit: '% of a core' }
  return [figure(place, ours, { qemu }), ...memory.figures('idle')]
}

/** Saving and loading a booted Debian. */
export async function measureSnapshots(options: BenchOptions): Promise<Figure[]> {
  options.say('snapshots')
  const guest = await guestOf(options, { command: 'echo @ready; sleep 1000', parameters: QUIET_KERNEL })
  const { notes } = await runOurs('snapshot', guest)
  const snapshots = notes.filter((note) => 'saveSeconds' in note)
  const part = 'snapshot'
  const saves = snapshots.map(({ saveSeconds }) => saveSeconds)
  const loads = snapshots.map(({ loadSeconds }) => loadSeconds)
  const sizes = snapshots.map(({ bytes }) => bytes / MB)
  return [
    figure({ part, name: 'save', unit: 's' }, saves),
    figure({ part, name: 'load', unit: 's' }, loads),
    figure({ part, name: 'size', unit: 'MB' }, sizes),
  ]
}

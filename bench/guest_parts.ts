/** The parts of the bench that run Debian: programs, boot, idling, snapshots. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { buildDebianImage } from '../src/image/debian.ts'
import { imageNames, openImage, type StoredImage } from '../src/image/store.ts'
import { cpuPercent, isInstalled, marksOf, runOurs, runQemu } from './machines.ts'
import { secondsBetween } from './marks.ts'
import { type Figure, figure } from './results.ts'
import { guestScript, PACKAGES, PREPARE, QUIET_KERNEL, WORKLOADS } from './workloads.ts'

const IMAGE = 'bench'
const MB = 1e6
const MILLION = 1e6

/** What every part is given. */
export interface BenchOptions {
  /** Whether the same is measured on QEMU. */
  readonly withQemu: boolean
  readonly repeat: number
  readonly say: (text: string) => void
}

/** The image of the bench; built on the first run. */
async function benchImage({ say }: BenchOptions): Promise<StoredImage> {
  if (imageNames().includes(IMAGE)) return openImage(IMAGE)
  say(`building image ${IMAGE} (once)`)
  return buildDebianImage({ name: IMAGE, packages: PACKAGES })
}

/** Samples by name. */
class Samples {
  readonly #lists = new Map<string, number[]>()

  add(name: string, value: number): void {
    this.#lists.set(name, [...this.of(name), value])
  }

  of(name: string): readonly number[] {
    return this.#lists.get(name) ?? []
  }
}

/** Programs in Debian: their time next to QEMU and the host, and our steps a second. */
export async function measurePrograms(options: BenchOptions): Promise<Figure[]> {
  const guest = {
    ...{ image: await benchImage(options), parameters: QUIET_KERNEL },
    command: guestScript(WORKLOADS),
  }
  const [ours, speed, cpuSpeed] = [new Samples(), new Samples(), new Samples()]
  const [qemu, native, memory] = [new Samples(), new Samples(), new Samples()]
  for (let round = 1; round <= options.repeat; round++) {
    options.say(`programs in Debian, round ${round} of ${options.repeat}`)
    const { notes } = await runOurs('run', guest)
    const marks = marksOf(notes)
    for (const [name, seconds] of secondsBetween(marks)) ours.add(name, seconds)
    for (const [i, mark] of marks.slice(0, -1).entries()) {
      const next = marks[i + 1]!
      const busyMs = next.ms - mark.ms - (next.idleMs - mark.idleMs)
      speed.add(mark.mark, (next.steps - mark.steps) / busyMs / 1000)
      cpuSpeed.add(mark.mark, (next.steps - mark.steps) / (next.cpuMs - mark.cpuMs) / 1000)
    }
    addMemory(memory, notes)
    if (options.withQemu)
      for (const [name, seconds] of secondsBetween((await runQemu(guest)).notes)) qemu.add(name, seconds)
    runOnHost(native)
  }
  const figures = WORKLOADS.flatMap(({ name }, i) => {
    const place = { part: 'programs', name }
    const others = { qemu: qemu.of(`${i}`), native: native.of(`${i}`) }
    return [
      figure({ ...place, unit: 's' }, ours.of(`${i}`), others),
      figure({ ...place, unit: 'M steps/s', isRate: true }, speed.of(`${i}`)),
      figure({ ...place, unit: 'M steps/CPU s', isRate: true }, cpuSpeed.of(`${i}`)),
    ]
  })
  return [...figures, ...memoryFigures('programs', memory)]
}

/** The same commands on the host itself, as far as it has the programs. */
function runOnHost(native: Samples): void {
  const folder = mkdtempSync(join(tmpdir(), 'bench-host-'))
  const shell = (command: string): boolean =>
    spawnSync('/bin/sh', ['-c', command], { cwd: folder, stdio: 'ignore' }).status === 0
  try {
    shell(PREPARE)
    for (const [i, { program, command }] of WORKLOADS.entries()) {
      if (!isInstalled(program)) continue
      const start = performance.now()
      if (shell(command)) native.add(`${i}`, (performance.now() - start) / 1000)
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

type Notes = Awaited<ReturnType<typeof runOurs>>['notes']

function addMemory(memory: Samples, notes: Notes): void {
  for (const note of notes) {
    if (!('rssBytes' in note)) continue
    memory.add('rss', note.rssBytes / MB)
    if (note.guestBytes !== undefined) memory.add('beyond', (note.rssBytes - note.guestBytes) / MB)
  }
}

function memoryFigures(part: string, memory: Samples): Figure[] {
  const beyond = memory.of('beyond')
  return [
    figure({ part, name: 'resident memory', unit: 'MB' }, memory.of('rss')),
    ...(beyond.length > 0 ? [figure({ part, name: 'of it not guest RAM', unit: 'MB' }, beyond)] : []),
  ]
}

/** From the start of the process to the first line of the command, and to the end of `--run true`. */
export async function measureBoot(options: BenchOptions): Promise<Figure[]> {
  const image = await benchImage(options)
  const guest = { image, parameters: '', command: 'echo @up' }
  const [ours, qemu] = [new Samples(), new Samples()]
  for (let round = 1; round <= options.repeat; round++) {
    options.say(`boot, round ${round} of ${options.repeat}`)
    const own = await runOurs('run', guest)
    const [mark] = marksOf(own.notes)
    ours.add('up', (mark!.ms - own.startMs) / 1000)
    ours.add('steps', mark!.steps / MILLION)
    ours.add('end', (own.endMs - own.startMs) / 1000)
    if (!options.withQemu) continue
    const peer = await runQemu(guest)
    qemu.add('up', (peer.notes[0]!.ms - peer.startMs) / 1000)
    qemu.add('end', (peer.endMs - peer.startMs) / 1000)
  }
  return [
    figure({ part: 'boot', name: 'to the first command', unit: 's' }, ours.of('up'), { qemu: qemu.of('up') }),
    figure({ part: 'boot', name: 'to power-off', unit: 's' }, ours.of('end'), { qemu: qemu.of('end') }),
    figure({ part: 'boot', name: 'steps to the first command', unit: 'M' }, ours.of('steps')),
  ]
}

const IDLE_MS = 20_000
const SETTLE_MS = 3000

/** Percent of a core that an idle Debian takes, once. */
export async function measureIdle(options: BenchOptions): Promise<Figure[]> {
  options.say('idle Debian')
  const image = await benchImage(options)
  const guest = { image, parameters: QUIET_KERNEL, command: 'echo @idle; sleep 1000' }
  const { notes } = await runOurs('idle', guest)
  const ours = notes.flatMap((note) => ('idlePercent' in note ? [note.idlePercent] : []))
  const memory = new Samples()
  addMemory(memory, notes)
  const qemu: number[] = []
  if (options.withQemu) {
    const measure = async (processId: number, end: () => void): Promise<void> => {
      await sleep(SETTLE_MS)
      qemu.push(await cpuPercent(processId, IDLE_MS))
      end()
    }
    await runQemu(guest, (_name, processId, end) => void measure(processId, end))
  }
  const place = { part: 'idle', name: 'CPU time', unit: '% of a core' }
  return [figure(place, ours, { qemu }), ...memoryFigures('idle', memory)]
}

/** Saving and loading a booted Debian. */
export async function measureSnapshots(options: BenchOptions): Promise<Figure[]> {
  options.say('snapshots')
  const image = await benchImage(options)
  const guest = { image, parameters: QUIET_KERNEL, command: 'echo @ready; sleep 1000' }
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

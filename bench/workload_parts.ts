/**
 * The parts of the bench that run the same script on three machines, ours, QEMU's and the host itself, in turns: small
 * programs, what asks the kernel, and programs of Debian.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BenchOptions, MemorySamples, Samples, scriptGuest } from './guest_parts.ts'
import type { OwnMark } from './machine_process.ts'
import { type GuestRun, isInstalled, marksOf, runOnHost, runOurs, runQemu } from './machines.ts'
import type { Mark } from './marks.ts'
import { compileMicro } from './micro_program.ts'
import { type Figure, type Finding, figure, meanOf } from './results.ts'
import {
  MICRO_MEAN,
  MICRO_PROGRAM,
  MICRO_PROGRAMS,
  PROGRAMS,
  PROGRAMS_MEAN,
  resultsOf,
  SYSTEM_PROGRAMS,
  type Workload,
  type WorkloadResult,
  workloadScript,
} from './workloads.ts'

/** Small programs that compute. */
export async function measureMicro(options: BenchOptions): Promise<Finding[]> {
  const { times } = await runInTurns('micro', MICRO_PROGRAMS, options)
  return [...times, meanOf(times, MICRO_MEAN)]
}

/** System calls, pipes, processes. */
export async function measureSystem(options: BenchOptions): Promise<Finding[]> {
  return (await runInTurns('system', SYSTEM_PROGRAMS, options)).times
}

/** Programs of Debian, our steps a second in them, and memory. */
export async function measurePrograms(options: BenchOptions): Promise<Finding[]> {
  const { times, speeds, memory } = await runInTurns('programs', PROGRAMS, options)
  return [...times, meanOf(times, PROGRAMS_MEAN), ...speeds, ...memory.figures('programs')]
}

interface Turns {
  readonly times: Figure[]
  /** Our steps a second. */
  readonly speeds: Figure[]
  readonly memory: MemorySamples
}

type Peer = 'ours' | 'qemu' | 'native'

async function runInTurns(
  part: string,
  workloads: readonly Workload[],
  options: BenchOptions,
): Promise<Turns> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-'))
  try {
    const guest = await guestOf(workloads, folder, options)
    const samples = { ours: new Samples(), qemu: new Samples(), native: new Samples() }
    const checksums = new Checksums(workloads)
    const add = (peer: Peer, marks: readonly Mark[]): void => {
      if (marks.at(-1)?.mark !== 'end') throw new Error(`the script has not ended (${peer})`)
      for (const [i, result] of resultsOf(marks)) {
        samples[peer].add(`${i}`, result.seconds * (workloads[i]!.isCounted ? 1000 : 1))
        checksums.compare(i, peer, result)
      }
    }
    const [speed, cpuSpeed, memory] = [new Samples(), new Samples(), new MemorySamples()]
    for (let round = 1; round <= options.repeat; round++) {
      options.say(`${part}, round ${round} of ${options.repeat}`)
      const { notes } = await runOurs('run', guest)
      const marks = marksOf(notes)
      add('ours', marks)
      addSpeeds(marks, speed, cpuSpeed)
      memory.add(notes)
      if (options.withQemu) add('qemu', (await runQemu(guest)).notes)
      add('native', await runOnHost(hostScript(workloads), folder))
    }
    return { ...figuresOf(part, workloads, samples, { speed, cpuSpeed }), memory }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** A guest with the script and the small programs on its disk; the host's are left in the folder. */
async function guestOf(
  workloads: readonly Workload[],
  folder: string,
  options: BenchOptions,
): Promise<GuestRun> {
  const hasMicro = workloads.some(({ program }) => program === MICRO_PROGRAM)
  if (hasMicro) compileMicro('guest', join(folder, MICRO_PROGRAM))
  const others = hasMicro ? [MICRO_PROGRAM] : []
  const guest = await scriptGuest(options, folder, workloadScript(workloads), others)
  if (hasMicro) compileMicro('host', join(folder, MICRO_PROGRAM))
  return guest
}

/** The same as far as the host has the programs. */
function hostScript(workloads: readonly Workload[]): string {
  return workloadScript(workloads, ({ program }) => program === MICRO_PROGRAM || isInstalled(program))
}

/** What the workloads have computed: the same everywhere, in each round. */
class Checksums {
  readonly #workloads: readonly Workload[]
  readonly #first = new Map<number, { readonly peer: Peer; readonly checksum: string | undefined }>()

  constructor(workloads: readonly Workload[]) {
    this.#workloads = workloads
  }

  /** Throws if the workload has failed, or has computed something else than before or elsewhere. */
  compare(i: number, peer: Peer, { checksum, hasFailed, isCounted }: WorkloadResult): void {
    const { name, program, isCounted: mustCount = false } = this.#workloads[i]!
    const isSilent = program === MICRO_PROGRAM && checksum === undefined
    if (hasFailed || isSilent || isCounted !== mustCount) throw new Error(`${name} has failed (${peer})`)
    const first = this.#first.get(i)
    if (first === undefined) this.#first.set(i, { peer, checksum })
    else if (first.checksum !== checksum) {
      throw new Error(`${name}: ${first.peer} has computed ${first.checksum}, ${peer} ${checksum}`)
    }
  }
}

/** Our steps a second between the marks of two workloads. */
function addSpeeds(all: readonly OwnMark[], speed: Samples, cpuSpeed: Samples): void {
  const marks = all.filter(({ mark }) => /^(\d+|end)$/.test(mark))
  for (const [i, mark] of marks.slice(0, -1).entries()) {
    const next = marks[i + 1]!
    const busyMs = next.ms - mark.ms - (next.idleMs - mark.idleMs)
    speed.add(mark.mark, (next.steps - mark.steps) / busyMs / 1000)
    cpuSpeed.add(mark.mark, (next.steps - mark.steps) / (next.cpuMs - mark.cpuMs) / 1000)
  }
}

function figuresOf(
  part: string,
  workloads: readonly Workload[],
  { ours, qemu, native }: Record<Peer, Samples>,
  { speed, cpuSpeed }: Record<'speed' | 'cpuSpeed', Samples>,
): Pick<Turns, 'times' | 'speeds'> {
  const times = workloads.map(({ name, goals, isCounted }, i) =>
    figure({ part, name, unit: isCounted ? 'ms' : 's', goals }, ours.of(`${i}`), {
      ...{ qemu: qemu.of(`${i}`), native: native.of(`${i}`) },
    }),
  )
  const speeds = workloads.flatMap(({ name }, i) => [
    figure({ part, name, unit: 'M steps/s', isRate: true }, speed.of(`${i}`)),
    figure({ part, name, unit: 'M steps/CPU s', isRate: true }, cpuSpeed.of(`${i}`)),
  ])
  return { times, speeds }
}

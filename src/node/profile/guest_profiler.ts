/**
 * Finds out where a guest's time goes, while it runs on this thread: V8's profiler samples the time, the machine's own
 * counts tell the rest.
 */
import type { ElfFile } from '../../board/elf.ts'
import { type CallNode, CpuProfiler } from '../../host/cpu_profiler.ts'
import { type Machine, STATISTICS, type Statistics } from '../../machine/machine.ts'
import type { TranslatedRegion, TranslationObserver } from '../../machine/translator/observer.ts'
import { writeOutputFile } from '../files.ts'
import { type GuestProfile, guestProfile } from './guest_profile.ts'
import { kernelSymbols, programSymbols } from './symbol_table.ts'
import { TimeByTier } from './tiers.ts'

/** More addresses of interpreted code are not kept: the hottest are among the first. */
const ADDRESSES_MAX = 200_000

type Counts = Record<(typeof STATISTICS)[number], number>

export class GuestProfiler {
  readonly #sampler = new CpuProfiler((nodes) => this.#onPiece(nodes))
  readonly #time = new TimeByTier()
  readonly #regions = new Map<string, TranslatedRegion>()
  readonly #interpreted = new Map<bigint, number>()
  readonly #work = { ms: 0, longestMs: 0 }
  readonly #counters = zeroCounts()
  #last: Statistics = zeroCounts()
  #machine: Machine | undefined
  #program: ElfFile | undefined
  #start = 0n

  /** What the machine has to be made with. */
  readonly observer: TranslationObserver = {
    onWork: (work) => {
      const start = performance.now()
      work()
      const ms = performance.now() - start
      this.#work.ms += ms
      this.#work.longestMs = Math.max(this.#work.longestMs, ms)
    },
    onRegion: (region) => {
      this.#regions.set(region.name, region)
    },
    onInterpreted: (address, steps) => {
      const former = this.#interpreted.get(address)
      if (former === undefined && this.#interpreted.size >= ADDRESSES_MAX) return
      this.#interpreted.set(address, (former ?? 0) + steps)
    },
  }

  /** The machine is about to run: the program, if there is no operating system. */
  start(machine: Machine, program?: ElfFile): void {
    this.#machine = machine
    this.#program = program
    this.#start = machine.position
    this.#last = machine.statistics()
    this.#sampler.start()
  }

  /** It has run. Does nothing if it had not been started. */
  stop(): void {
    this.#sampler.stop()
  }

  /** What was found; names are those of the guest's Linux, or of the program that was started in its place. */
  profile(): GuestProfile {
    const machine = this.#machine!
    const program = this.#program
    const symbols = program === undefined ? kernelSymbols(machine.ram.bytes) : programSymbols(program)
    return guestProfile({
      ...{ time: this.#time, regions: this.#regions, interpreted: this.#interpreted },
      ...{ work: this.#work, counters: this.#counters },
      steps: Number(machine.position - this.#start),
      translated: machine.translatorCounts,
      ...{ symbols, hasKernel: program === undefined },
    })
  }

  /** Comes often enough for the machine's counts, which are modulo 2^32. */
  #onPiece(nodes: readonly CallNode[]): void {
    this.#time.add(nodes)
    const now = this.#machine!.statistics()
    for (const field of STATISTICS) this.#counters[field] += (now[field] - this.#last[field]) >>> 0
    this.#last = now
  }
}

function zeroCounts(): Counts {
  return Object.fromEntries(STATISTICS.map((field) => [field, 0])) as Counts
}

/** Writes the profile. Throws a UserError if that is not possible. */
export async function writeGuestProfile(path: string, profile: GuestProfile): Promise<void> {
  await writeOutputFile(path, `${JSON.stringify(profile, undefined, 2)}\n`)
}

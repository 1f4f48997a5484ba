/** The part of the bench that takes half an hour: whether a machine that works on and on slows down or grows. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BenchOptions, MemorySamples, scriptGuest } from './guest_parts.ts'
import type { MachineNote } from './machine_process.ts'
import { marksOf, runOurs } from './machines.ts'
import { type Figure, figure } from './results.ts'
import { markFailure, PREPARE, PROGRAMS } from './workloads.ts'

const PART = 'long'
/** So many rounds are taken together, at either end and in the middle. */
const ROUNDS_COMPARED = 5
/** The mark before the first round of programs, and at the end of each. */
const ROUND = 'round'

/** Debian's programs over and over, those with a fixed amount of work: the first rounds against the last. */
export async function measureLong(options: BenchOptions): Promise<Figure[]> {
  options.say('half an hour of programs')
  const folder = mkdtempSync(join(tmpdir(), 'bench-'))
  try {
    const { notes } = await runOurs('long', await scriptGuest(options, folder, script()))
    return figuresOf(notes)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function script(): string {
  const commands = PROGRAMS.filter(({ isCounted }) => !isCounted).map(({ command }) => command)
  const round = [...commands.map(markFailure), 'rm -f x.gz y.7z d', `echo @${ROUND}`]
  return [PREPARE, `echo @${ROUND}`, 'while :;do', ...round, 'done', ''].join('\n')
}

function figuresOf(notes: readonly MachineNote[]): Figure[] {
  const marks = marksOf(notes)
  if (marks.some(({ mark }) => mark !== ROUND)) throw new Error('a program has failed')
  const seconds = marks.slice(1).map(({ ms }, i) => (ms - marks[i]!.ms) / 1000)
  const speeds = marks.slice(1).map(({ steps, cpuMs }, i) => {
    const before = marks[i]!
    return (steps - before.steps) / (cpuMs - before.cpuMs) / 1000
  })
  if (seconds.length < 2 * ROUNDS_COMPARED) throw new Error(`only ${marks.length} rounds were made`)
  // The first was before any round.
  const memory = notes.filter((note) => 'rssBytes' in note).slice(1)
  const parts = [
    ['first', (all) => all.slice(0, ROUNDS_COMPARED)],
    ['middle', (all) => all.slice((all.length - ROUNDS_COMPARED) >> 1).slice(0, ROUNDS_COMPARED)],
    ['last', (all) => all.slice(-ROUNDS_COMPARED)],
  ] as const satisfies readonly (readonly [string, <T>(all: readonly T[]) => readonly T[]])[]
  return parts.flatMap(([which, pick]) => {
    const name = `${which} rounds`
    const samples = new MemorySamples()
    samples.add(pick(memory))
    return [
      figure({ part: PART, name, unit: 's' }, pick(seconds)),
      figure({ part: PART, name, unit: 'M steps/CPU s', isRate: true }, pick(speeds)),
      ...samples.figures(PART, ` in the ${which} rounds`),
    ]
  })
}

/**
 * Compares our machine with QEMU on random programs:
 *
 *     node test/differential/main.ts [--seed N] [--first N] [--count N] [--extension A,B] [--oracle]
 *
 * Every difference is explained, by block; the exit status is 1 if there is one. `--first` skips programs of the
 * seed, `--extension` names kinds of blocks (program.ts), `--oracle` compares QEMU with itself.
 */
import { parseArgs } from 'node:util'
import { differences, explain } from './compare.ts'
import { understudy } from './ours.ts'
import { kinds, makeProgram, traceArea } from './program.ts'
import { qemu, qemuMissing } from './qemu.ts'
import type { Subject } from './subject.ts'

/** Above what a program takes: blocks, and some 500 steps around each execution. */
export const STEPS_MAX = 100_000_000
const EXPLAINED_MAX = 3

export interface Outcome {
  /** Instructions of blocks that were compared. */
  readonly instructions: number
  readonly executions: number
  /** How many executions of blocks differed, and the first of them in words. */
  readonly differences: number
  readonly explanations: readonly string[]
}

/** Runs one program on both subjects. */
export function compareProgram(
  seed: number,
  number: number,
  names: readonly string[],
  [left, right]: readonly [Subject, Subject],
): Outcome {
  const program = makeProgram(seed, number, names)
  const areas = [traceArea(program)]
  const [expected] = left.run(program.image, STEPS_MAX, areas)
  const [found] = right.run(program.image, STEPS_MAX, areas)
  const all = [...differences(program, expected!, found!)]
  return {
    instructions: program.instructions,
    executions: program.executions.length,
    differences: all.length,
    explanations: all
      .slice(0, EXPLAINED_MAX)
      .map((difference) => explain(program, difference, [left.name, right.name])),
  }
}

function main(): number {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: '1' },
      first: { type: 'string', default: '0' },
      count: { type: 'string', default: '6' },
      extension: { type: 'string', default: Object.keys(kinds).join(',') },
      oracle: { type: 'boolean', default: false },
    },
  })
  const missing = qemuMissing()
  if (missing !== undefined) return fail(missing)
  const names = values.extension.split(',')
  const unknown = names.find((name) => !Object.hasOwn(kinds, name))
  if (unknown !== undefined) {
    return fail(`there is no kind of block '${unknown}'; there are ${Object.keys(kinds).join(', ')}`)
  }
  const [seed, first, count] = [values.seed, values.first, values.count].map(Number) as [
    number,
    number,
    number,
  ]
  if (![seed, first, count].every(Number.isSafeInteger))
    return fail('--seed, --first and --count take integers')
  let differing = 0
  let instructions = 0
  for (let number = first; number < first + count; number++) {
    const outcome = compareProgram(seed, number, names, [qemu, values.oracle ? qemu : understudy])
    differing += outcome.differences
    instructions += outcome.instructions
    for (const text of outcome.explanations) console.log(`${text}\n`)
    console.log(`program ${number} of seed ${seed}: ${outcome.differences} of ${outcome.executions} differ`)
  }
  console.log(`${instructions} instructions compared, ${differing} executions of blocks differ`)
  return differing === 0 ? 0 : 1
}

function fail(message: string): number {
  console.error(message)
  return 2
}

if (import.meta.main) process.exitCode = main()

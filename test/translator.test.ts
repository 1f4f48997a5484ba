/**
 * Translated code against the interpreter on the random programs that are also compared with QEMU: every extension, faults
 * at every kind of access, code and page tables that change, stopped at random positions, from one step on.
 */
import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import test from 'node:test'
import { Random } from '../src/base/prng.ts'
import { firstDifference } from '../src/base/state.ts'
import { BareComputer } from '../src/board/bare.ts'
import { nodeEngine } from '../src/host/engine.ts'
import type { Translation } from '../src/machine/machine_options.ts'
import { RAM, RAM_BYTES } from './differential/layout.ts'
import { kinds, makeProgram } from './differential/program.ts'

/** What `npm test` compares. */
const STEPS_MIN = 10_000_000n
const PIECE_STEPS_MAX = 20_000
/** Far fewer than there are: else nothing would be compared. */
const REGIONS_MIN = 1000
/** Of a program; each ends long before. */
const STEPS_MAX = 100_000_000n
const seed = Number(process.env['UNDERSTUDY_SEED'] ?? randomInt(2 ** 31))
console.error(`seed ${seed} (UNDERSTUDY_SEED=${seed} repeats it)`)

function computerFor(image: Uint8Array, translation: Translation): BareComputer {
  return new BareComputer({
    ...{ engine: nodeEngine, name: 'test program', ramBytes: RAM_BYTES, translation, print: () => {} },
    elf: {
      ...{ kind: 'executable', entry: BigInt(RAM), code: [], symbols: [] },
      segments: [{ address: RAM, bytes: image, memoryBytes: image.length }],
    },
  })
}

function requireSameState(one: BareComputer, other: BareComputer, program: number): void {
  const place = `program ${program} of seed ${seed}, position ${one.machine.position}`
  assert.equal(one.machine.position, other.machine.position, place)
  const difference = firstDifference(one.machine.saveState(), other.machine.saveState())
  if (difference) assert.fail(`${place}: ${difference.path} is ${difference.left} and ${difference.right}`)
  assert.equal(one.machine.digest(), other.machine.digest(), `RAM, ${place}`)
}

/** Runs a program both ways to its end. */
function compare(program: number): { readonly steps: bigint; readonly regions: number } {
  const { image } = makeProgram(seed, program, Object.keys(kinds))
  const interpreted = computerFor(image, 'off')
  const translated = computerFor(image, 'eager')
  const random = new Random(seed + program)
  for (;;) {
    const steps = random.chance(0.3) ? 1 + random.below(40) : 1 + random.below(PIECE_STEPS_MAX)
    const limit = interpreted.machine.position + BigInt(steps)
    assert.ok(limit < STEPS_MAX, `program ${program} of seed ${seed} does not end`)
    const ends = [interpreted.run(limit), translated.run(limit)]
    assert.deepEqual(ends[1], ends[0])
    requireSameState(translated, interpreted, program)
    if (ends[0]!.kind !== 'exit') continue
    const { regions } = translated.machine.translatorCounts!
    return { steps: interpreted.machine.position, regions }
  }
}

test('random programs do the same translated and interpreted, wherever they are stopped', () => {
  let [steps, regions] = [0n, 0]
  for (let program = 0; steps < STEPS_MIN; program++) {
    const compared = compare(program)
    steps += compared.steps
    regions += compared.regions
  }
  assert.ok(regions > REGIONS_MIN, `${regions} regions`)
})

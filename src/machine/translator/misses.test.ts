/** Places that regions lead to in vain, so briefly each time that no slice ends there: the stubs by which programs call libraries. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeEngine } from '../../host/engine.ts'
import { assemble } from '../../isa/assemble.ts'
import { DATA, Program } from '../testing/program.ts'

const STUBS = 20
const STUB_BYTES = 16
const FUNCTION = DATA + 0x2000

/** Calls `function` by each of the stubs in turn, which are on a page of their own; each does a little before. */
function program(stub: string): Program {
  const calls = Array.from({ length: STUBS }, (_, i) => `jalr ra, ${i * STUB_BYTES}(s2); add a1, a1, a0`)
  const made = new Program(
    nodeEngine,
    `li t0, 0x6000; csrs mstatus, t0; li s2, ${DATA}; li s3, ${FUNCTION}; next: ${calls.join('; ')}; j next`,
    {
      translation: 'hot',
    },
  )
  const put = (address: number, source: string): void =>
    made.machine.ram.write(address, assemble(source, BigInt(address)).bytes)
  for (let i = 0; i < STUBS; i++) put(DATA + i * STUB_BYTES, stub)
  put(
    FUNCTION,
    `${'addi a0, a0, 3; xor a0, a0, a1; slli a2, a0, 3; add a2, a2, a0; srli a2, a2, 1; '.repeat(20)} ret`,
  )
  return made
}

/** A batch that is not full is compiled after 128 slices of a million steps, which is the length of slices when most is translated. */
const WARM_UP = 300_000_000n
const MEASURED = 10_000_000n

/** How often chain finds nothing, and how many regions are made, while a warm program takes MEASURED steps. */
function missesOf(stub: string): {
  readonly misses: number
  readonly regions: number
  readonly share: number
} {
  const { machine } = program(stub)
  machine.run(WARM_UP)
  const before = { misses: machine.statistics().chainMisses, ...machine.translatorCounts! }
  machine.run(machine.position + MEASURED)
  return {
    misses: machine.statistics().chainMisses - before.misses,
    regions: machine.translatorCounts!.regions - before.regions,
    share: (machine.translatorCounts!.steps - before.steps) / Number(MEASURED),
  }
}

test('stubs of two instructions, twenty of them, are translated', () => {
  const { misses, share } = missesOf('addi a3, a3, 1; jr s3')
  assert.ok(misses < 100 && share > 0.99, `${misses} misses, ${share} of the steps are translated`)
})

test('what cannot be translated is left to the interpreter', () => {
  const { misses, regions } = missesOf('frrm a3; jr s3')
  assert.ok(misses > Number(MEASURED) / 200, `${misses} misses`)
  assert.ok(regions < 10, `${regions} regions`)
})
